// What `useChat` shows of recorded answers, in each release of `ai`: its class `AbstractChat` reads them.
//
// Reads a file of [{name, status, contentType, body}], and writes {release: {name: {status, error, message}}} to another.

import { readFileSync, writeFileSync } from "node:fs";
import { RELEASES } from "./releases.mjs";

const [, , recorded, written] = process.argv;

/** A chat as `useChat` makes one, without React. */
function chatOf({ AbstractChat, DefaultChatTransport }, fetch) {
  class Chat extends AbstractChat {
    constructor() {
      const state = {
        status: "ready",
        error: undefined,
        messages: [],
        pushMessage: (message) => (state.messages = [...state.messages, message]),
        popMessage: () => (state.messages = state.messages.slice(0, -1)),
        replaceMessage: (index, message) => (state.messages = state.messages.with(index, structuredClone(message))),
        snapshot: structuredClone,
      };
      super({ id: "c1", transport: new DefaultChatTransport({ fetch }), state, onError: () => {} });
    }
  }
  return new Chat();
}

const shown = {};
for (const [release, sdk] of Object.entries(RELEASES)) {
  shown[release] = {};
  for (const { name, status, contentType, body } of JSON.parse(readFileSync(recorded, "utf8"))) {
    const chat = chatOf(sdk, async () => new Response(body, { status, headers: { "content-type": contentType } }));
    await chat.sendMessage({ text: "The weather?" });
    const [, message] = chat.messages;
    shown[release][name] = { status: chat.status, error: chat.error?.message ?? null, message: message ?? null };
  }
}
writeFileSync(written, JSON.stringify(shown));
