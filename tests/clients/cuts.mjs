// A TCP proxy before an application whose connections break as planned.

import { after } from "node:test";
import net from "node:net";

/** Each entry of the plan cuts one response: after so many of its blocks, or of its bytes. What comes later passes. */
export class Cuts {
  #server;
  #sockets = new Set();
  #plan;
  /** How many connections were cut. */
  count = 0;
  /** The first line of each request. */
  requests = [];
  /** Connections are reset when they are made, and others with their next request. */
  refusing = false;
  /** So many responses to POST are swallowed, with their connection. */
  loseReplies = 0;
  whenCut = () => {};

  static async open(target, plan) {
    const cuts = new Cuts();
    cuts.#plan = [...plan];
    const { hostname, port } = new URL(target);
    cuts.#server = net.createServer((client) => cuts.#serve(client, Number(port), hostname));
    await new Promise((resolve) => cuts.#server.listen(0, "127.0.0.1", resolve));
    cuts.url = `http://127.0.0.1:${cuts.#server.address().port}`;
    after(() => cuts.close());
    return cuts;
  }

  #serve(client, port, hostname) {
    client.on("error", () => {});
    if (this.refusing) {
      client.resetAndDestroy();
      return;
    }
    const upstream = net.connect(port, hostname);
    let lines = [];
    let streams = false;
    let left = null;
    const drop = () => [client, upstream].forEach((socket) => socket.destroy());
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket) && drop());
      socket.on("error", drop);
    }
    client.on("data", (chunk) => {
      if (this.refusing) {
        drop();
        return;
      }
      const text = chunk.toString("latin1");
      const line = /^(GET|POST) [^ ]+ HTTP/.test(text) ? text.slice(0, text.indexOf(" HTTP")) + " " : null;
      if (line !== null) {
        this.requests.push(line);
        lines = [line];
        streams = false;
        left = null;
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk) => {
      const asked = lines[0] ?? "";
      if (asked.startsWith("POST") && this.loseReplies > 0) {
        this.loseReplies -= 1;
        drop();
        return;
      }
      if (!streams) {
        const head = chunk.toString("latin1");
        streams = /content-type: text\/event-stream/i.test(head);
        if (streams) {
          left = this.#plan.shift() ?? null;
          const end = chunk.indexOf("\r\n\r\n") + 4;
          client.write(chunk.subarray(0, end));
          chunk = chunk.subarray(end);
        }
      }
      if (left === null || chunk.length === 0) {
        client.write(chunk);
        return;
      }
      const end = endOf(chunk, left);
      if (end === null) {
        client.write(chunk);
        return;
      }
      left = null;
      this.count += 1;
      this.whenCut();
      client.write(chunk.subarray(0, end), drop);
    });
  }

  /** Cuts everything that is open, once. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  close() {
    this.#server.close();
    this.cut();
  }
}

/** Where `chunk` is to be cut, or null; `left` counts down. Within the block after the last that passes. */
function endOf(chunk, left) {
  if (left.bytes !== undefined) {
    if (chunk.length > left.bytes) return left.bytes;
    left.bytes -= chunk.length;
    return null;
  }
  let from = 0;
  while (left.blocks > 0) {
    const end = chunk.indexOf("\n\n", from);
    if (end < 0) return null;
    from = end + 2;
    left.blocks -= 1;
  }
  return from < chunk.length ? Math.min(from + 9, chunk.length) : null;
}
