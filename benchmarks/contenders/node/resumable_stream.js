// node resumable_stream.js <directory of node_modules> <contender> <socket fd> <store url>: the server of `npm_resumable_stream.py`.
import { createServer } from "node:http";
import { setImmediate, setTimeout } from "node:timers/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createRequire } from "node:module";

const [modules, contender, fd, url] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);

// The source of source.py: it gives up the loop after each event.
async function* source(query) {
  const stream = query.get("stream").padStart(5, "0");
  const events = Number(query.get("events"));
  const gap = Number(query.get("gap")) * 1000;
  let due = performance.now();
  for (let seq = 1; seq <= events; seq++) {
    // On Linux this is the clock of Python's time.monotonic_ns.
    const made = process.hrtime.bigint().toString().padStart(19, "0");
    yield `data: s${stream} e${String(seq).padStart(6, "0")} t${made} the quick brown fox jump\n\n`;
    if (gap && seq < events) {
      due += gap;
      await setTimeout(Math.max(0, due - performance.now()));
    } else {
      await setImmediate();
    }
  }
}

let context;
if (contender !== "node-bare") {
  const { createClient } = require("redis");
  const { createResumableStreamContext } = require("resumable-stream");
  const publisher = createClient({ url });
  const subscriber = createClient({ url });
  for (const client of [publisher, subscriber]) client.on("error", () => {});
  await Promise.all([publisher.connect(), subscriber.connect()]);
  context = createResumableStreamContext({ waitUntil: null, publisher, subscriber });
}

async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://bench");
  const headers = { "content-type": "text/event-stream", "cache-control": "no-cache" };
  let body;
  if (request.method === "POST" && pathname === "/chat") {
    const make = () => Readable.toWeb(Readable.from(source(searchParams)));
    body = context
      ? await context.createNewResumableStream(request.headers["x-session"], make)
      : Readable.from(source(searchParams));
  } else if (request.method === "GET" && context && pathname.startsWith("/chat/")) {
    const skip = Number(request.headers["x-characters"] ?? 0);
    body = await context.resumeExistingStream(pathname.slice("/chat/".length), skip);
  }
  if (!body) {
    response.writeHead(body === null ? 422 : 404).end();
    return;
  }
  response.writeHead(200, headers);
  await pipeline(body instanceof Readable ? body : Readable.fromWeb(body), response);
}

createServer((request, response) => {
  answer(request, response).catch(() => response.destroy());
}).listen({ fd: Number(fd) });
