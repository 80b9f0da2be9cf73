// Releases of `ai` that differ in what their clients take: the first of each major version is strict.

import * as ai7_0_173 from "ai";
import * as ai5_0_277 from "ai-5.0.277";
import * as ai6_0_322 from "ai-6.0.322";
import * as ai7_0_0 from "ai-7.0.0";
import * as ai5_0_0 from "ai5";
import * as ai6_0_0 from "ai6";

export const RELEASES = {
  "5.0.0": ai5_0_0,
  "5.0.277": ai5_0_277,
  "6.0.0": ai6_0_0,
  "6.0.322": ai6_0_322,
  "7.0.0": ai7_0_0,
  "7.0.173": ai7_0_173,
};

/** The parts that this release's own transport reads from `text`; it refuses what its schema does not know. */
export async function readWith({ DefaultChatTransport }, text) {
  const transport = new DefaultChatTransport({
    fetch: async () => new Response(text, { headers: { "content-type": "text/event-stream" } }),
  });
  const parts = [];
  for await (const part of await transport.reconnectToStream({ chatId: "c" })) parts.push(part);
  return parts;
}

/** The message that this release's own client holds at the end of `text`, going on from `message`. */
export async function messageOf({ DefaultChatTransport, readUIMessageStream }, text, message) {
  const transport = new DefaultChatTransport({
    fetch: async () => new Response(text, { headers: { "content-type": "text/event-stream" } }),
  });
  const stream = await transport.reconnectToStream({ chatId: "c" });
  let held = message;
  for await (const state of readUIMessageStream({ message, stream })) held = state;
  return held;
}
