// What the client tests share: the example application's address, a network that can be cut, the how-to's own code.

import { after } from "node:test";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { transform } from "sucrase";

const nodeFetch = globalThis.fetch; // a test may put another one in its place
const HERE = dirname(fileURLToPath(import.meta.url));

/** The example application, and the same with a store that cannot be reached; pytest starts both. */
export const APP = required("APP_URL");
export const APP_WITHOUT_STORE = required("APP_WITHOUT_STORE_URL");

/** The scripted model's whole answers, by prompt. */
export const ANSWERS = JSON.parse(required("ANSWERS"));

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are run by pytest tests/clients`);
  return value;
}

/** A user and a chat of one test's own. */
export function newcomer() {
  return { user: `user-${randomUUID()}`, chatId: randomUUID() };
}

export function body(chatId, prompt) {
  return { id: chatId, messages: [{ id: "m1", role: "user", parts: [{ type: "text", text: prompt }] }] };
}

export function post(chatId, user, prompt, { base = APP } = {}) {
  return nodeFetch(`${base}/api/chat`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-user": user },
    body: JSON.stringify(body(chatId, prompt)),
  });
}

/** Waits until `predicate` returns something true; fails after `seconds`. */
export async function until(predicate, description, seconds = 10) {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    const result = await predicate();
    if (result) return result;
    if (performance.now() > deadline) throw new Error(`not within ${seconds} s: ${description}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A TCP proxy before the application that resets the connection after so many of the answer's blocks. */
export class Network {
  #server;
  #sockets = new Set();
  #blocksLeft = Infinity;
  cuts = 0;

  static async open(target = APP) {
    const network = new Network();
    const { hostname, port } = new URL(target);
    network.#server = net.createServer((client) => {
      const upstream = net.connect(Number(port), hostname);
      const drop = () => [client, upstream].forEach((socket) => socket.destroy());
      for (const socket of [client, upstream]) {
        network.#sockets.add(socket);
        socket.on("close", () => network.#sockets.delete(socket) && drop());
        socket.on("error", drop);
      }
      client.pipe(upstream);
      upstream.on("data", (chunk) => network.#forward(chunk, client, drop));
    });
    await new Promise((resolve) => network.#server.listen(0, "127.0.0.1", resolve));
    network.url = `http://127.0.0.1:${network.#server.address().port}`;
    after(() => network.close());
    return network;
  }

  /** Cuts once, in the middle of the block after the next `blocks`; from then on everything passes. */
  cutAfter(blocks) {
    this.#blocksLeft = blocks;
  }

  /** Resets every connection that is open. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  #forward(chunk, client, drop) {
    let end = chunk.indexOf("\n\n");
    while (end >= 0 && this.#blocksLeft > 0) {
      this.#blocksLeft -= 1;
      if (this.#blocksLeft <= 0) break;
      end = chunk.indexOf("\n\n", end + 2);
    }
    if (this.#blocksLeft > 0) {
      client.write(chunk);
      return;
    }
    this.#blocksLeft = Infinity;
    this.cuts += 1;
    // The first line of the next block still passes: a half-received block must not count as seen.
    client.write(chunk.subarray(0, end + 9), drop);
  }

  close() {
    this.#server.close();
    this.cut();
  }
}

/** `fetch` as a page at `base` has it: relative addresses, the user's cookie (here X-User), a broken body as a network error. */
export function browserFetch(base, user) {
  return async (input, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("x-user", user);
    const response = await nodeFetch(new URL(input, base), { ...init, headers });
    if (response.body === null) return response;
    const reader = response.body.getReader();
    const stream = new ReadableStream({
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          // Node says "terminated"; browsers say "network error", and AI SDK looks for that word.
          controller.error(error instanceof TypeError ? new TypeError("network error", { cause: error }) : error);
        }
      },
      cancel: (reason) => reader.cancel(reason),
    });
    return new Response(stream, { status: response.status, headers: response.headers });
  };
}

/** Writes the how-to's titled code blocks where their imports resolve, and gives back a function that imports one. */
export function howTo() {
  const page = readFileSync(join(HERE, "../../docs/how-to/use-with-usechat.md"), "utf8");
  const modules = join(HERE, "node_modules");
  mkdirSync(modules, { recursive: true });
  const directory = mkdtempSync(join(modules, ".how-to-"));
  after(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, "package.json"), '{"type": "module"}');
  for (const [, title, code] of page.matchAll(/^```jsx? title="([^"]+)"\n(.*?)^```$/gms)) {
    const script = title.endsWith(".jsx")
      ? transform(code, { transforms: ["jsx"], jsxRuntime: "automatic", production: true }).code
      : code;
    writeFileSync(join(directory, title.replace(/\.jsx$/, ".js")), script);
  }
  return (name) => import(pathToFileURL(join(directory, name)));
}
