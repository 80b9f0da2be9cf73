// What AI SDK's own client makes of the golden logs is the message that is saved.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { DefaultChatTransport, readUIMessageStream } from "ai";

/** For each log: the bytes of each of its streams as they are sent, and the message they fold to. */
const LOGS = JSON.parse(readFileSync(process.env.GOLDEN, "utf8"));

/** The message that `previous` becomes, for a client that reads `text`. */
async function read(text, previous) {
  const transport = new DefaultChatTransport({
    fetch: async () => new Response(text, { headers: { "content-type": "text/event-stream" } }),
  });
  const stream = await transport.reconnectToStream({ chatId: "c" });
  let message = previous;
  for await (const state of readUIMessageStream({ message: structuredClone(previous), stream, onError: () => {} })) {
    message = state;
  }
  return message;
}

for (const { name, streams, message } of LOGS) {
  test(`${name}: the client holds what is saved`, { timeout: 20_000 }, async () => {
    let held;
    for (const text of streams) held = await read(text, held);
    // As JSON: a field that is undefined is a field that is not there.
    assert.deepEqual(JSON.parse(JSON.stringify(held)), message);
  });
}
