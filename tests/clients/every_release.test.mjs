// The chat of each release of `ai`, its own state machine and transport, against an example application.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ANSWERS, APP, newcomer, until } from "./harness.mjs";
import { State } from "./page_state.mjs";
import { RELEASES } from "./releases.mjs";

const PROMPT = "Tell me of streams";
const options = { timeout: 30_000 };

/** A tab with a chat of this release, and what its callbacks were told. */
function openTab({ AbstractChat, DefaultChatTransport }, { user, chatId }, messages = []) {
  class Chat extends AbstractChat {}
  const told = { data: [], errors: [] };
  const chat = new Chat({
    id: chatId,
    state: new State(messages),
    transport: new DefaultChatTransport({ api: `${APP}/api/chat`, headers: { "x-user": user } }),
    onData: (part) => told.data.push(part),
    onError: (error) => told.errors.push(error),
  });
  return Object.assign(told, { chat });
}

function textsOf({ messages }) {
  return messages.map(({ parts }) => parts.map((part) => (part.type === "text" ? part.text : "")).join(""));
}

describe("every release of ai", { concurrency: 6 }, () => {
  for (const [version, release] of Object.entries(RELEASES)) {
    test(`${version}: an answer arrives whole, and again after a reload`, options, async () => {
      const visitor = newcomer();
      const { chat, errors } = openTab(release, visitor);
      await chat.sendMessage({ text: PROMPT });
      assert.equal(chat.status, "ready");
      assert.deepEqual(textsOf(chat), [PROMPT, ANSWERS[PROMPT]]);
      const reloaded = openTab(release, visitor, chat.messages.slice(0, 1));
      await reloaded.chat.resumeStream();
      assert.equal(reloaded.chat.status, "ready");
      assert.deepEqual(textsOf(reloaded.chat), [PROMPT, ANSWERS[PROMPT]]);
      assert.equal(reloaded.chat.messages[1].id, chat.messages[1].id);
      assert.deepEqual([...errors, ...reloaded.errors], []);
    });

    test(`${version}: a reload in the middle of an answer shows all of it`, options, async () => {
      const visitor = newcomer();
      const first = openTab(release, visitor);
      const sent = first.chat.sendMessage({ text: PROMPT });
      await until(() => textsOf(first.chat)[1]?.length > 20, "the answer has begun");
      const second = openTab(release, visitor, first.chat.messages.slice(0, 1));
      await second.chat.resumeStream();
      assert.deepEqual(textsOf(second.chat), [PROMPT, ANSWERS[PROMPT]]);
      await sent;
      assert.deepEqual(textsOf(first.chat), [PROMPT, ANSWERS[PROMPT]]);
    });

    test(`${version}: a model that breaks is an error, with the fault before it`, options, async () => {
      const { chat, data, errors } = openTab(release, newcomer());
      await chat.sendMessage({ text: "!crash" });
      assert.equal(chat.status, "error");
      assert.equal(errors.length, 1);
      assert.doesNotMatch(errors[0].message, /validation|sk-secret/i);
      // A save that takes its time is told of too, and is another test's.
      const codes = data.map((part) => part.data.code).filter(Boolean);
      assert.deepEqual(codes.filter((code) => code !== "persistence_pending"), ["provider_error"]);
      assert.equal(textsOf(chat)[1], ANSWERS["!crash"]);
    });
  }
});
