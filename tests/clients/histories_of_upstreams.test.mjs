// What is saved of providers' streams: messages that every release of `ai` takes as a history.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { RELEASES } from "./releases.mjs";

/** By name, the message that is saved. */
const MESSAGES = JSON.parse(readFileSync(process.env.MESSAGES, "utf8"));

const question = { id: "q", role: "user", parts: [{ type: "text", text: "?" }] };

for (const [version, { convertToModelMessages, validateUIMessages }] of Object.entries(RELEASES)) {
  describe(`ai ${version}`, () => {
    for (const [name, message] of Object.entries(MESSAGES)) {
      test(name, async () => {
        const messages = [question, message];
        if (validateUIMessages) await validateUIMessages({ messages });
        const history = await convertToModelMessages(messages);
        assert.deepEqual(history[0].role, "user");
        const texts = message.parts.filter((part) => part.type === "text").map((part) => part.text);
        const said = JSON.stringify(history.slice(1));
        for (const text of texts) assert.ok(said.includes(JSON.stringify(text).slice(1, -1)), text);
      });
    }
  });
}
