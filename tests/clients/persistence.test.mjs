// AI SDK 7 against the example application while its database works, fails for a while, is slow, or fails for good. The
// test of the last comes last: the example's guard then spares its database for a moment.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Chat } from "@ai-sdk/react";
import { ANSWERS, APP, browserFetch, howTo, newcomer, until } from "./harness.mjs";

const { faultOfPart, streamguardTransport } = await howTo()("streamguard-chat.js");
const options = { timeout: 20_000 };
const PROMPT = "Tell me of streams";

/** Asks, waits for the whole answer, and gives back what came of it. */
async function ask(prompt, { user, chatId } = newcomer(), messages = []) {
  const fetch = browserFetch(APP, user);
  const told = { data: [], errors: [], finishes: [] };
  const chat = new Chat({
    id: chatId,
    messages,
    transport: streamguardTransport("/api/chat", { fetch }),
    onData: (part) => told.data.push(part),
    onError: (error) => told.errors.push(error),
    onFinish: (event) => told.finishes.push(event),
  });
  await chat.sendMessage({ text: prompt });
  return Object.assign(told, { chat, fetch, user });
}

/** The answer is shown whole, and nothing that is said of saving it becomes a part of it. */
function assertShown({ chat, errors, finishes }, prompt) {
  assert.equal(chat.status, "ready");
  assert.deepEqual(errors, []);
  assert.equal(finishes.length, 1);
  assert.equal(chat.messages.length, 2);
  assert.deepEqual(chat.lastMessage.parts.map((part) => part.type), ["text"]);
  assert.equal(chat.lastMessage.parts[0].text, ANSWERS[prompt]);
}

async function get({ chat, fetch }, tail = "") {
  const response = await fetch(`/api/chat/${chat.id}${tail}`);
  assert.equal(response.status, 200);
  return response.json();
}

/** The server has the two messages that are shown, once each. */
async function assertKept(tab) {
  const { messages } = await get(tab, "/messages");
  assert.deepEqual(
    messages.map(({ id, role, parts, persisted }) => [id, role, parts.map((part) => part.text).join(""), persisted]),
    tab.chat.messages.map(({ id, role, parts }) => [id, role, parts.map((part) => part.text).join(""), "yes"]),
  );
}

for (const prompt of [PROMPT, "!persist-flaky"]) {
  test(`saved: ${prompt}`, options, async () => {
    const tab = await ask(prompt);
    assertShown(tab, prompt);
    const [part, ...more] = tab.data;
    assert.deepEqual(more, []);
    const { last } = await get(tab);
    assert.deepEqual(part, {
      type: "data-streamguard-persisted",
      id: `sgp_${last.stream_id}`,
      transient: true,
      data: { message_id: tab.chat.lastMessage.id, stream_id: last.stream_id, session_id: tab.chat.id },
    });
    assert.equal(last.persisted, "yes");
    await assertKept(tab);
  });
}

test("a chat that was kept goes on from what the server has", options, async () => {
  const who = newcomer();
  const first = await ask(PROMPT, who);
  const { messages } = await get(first, "/messages");
  const again = await ask(PROMPT, who, messages.map(({ id, role, parts }) => ({ id, role, parts })));
  assert.equal(again.chat.messages.length, 4);
  await assertKept(again);
});

test("a slow save: a warning, and later it is saved", options, async () => {
  const tab = await ask("!persist-slow 2500");
  assertShown(tab, "!persist-slow 2500");
  const faults = tab.data.map(faultOfPart);
  assert.deepEqual(
    faults.map(({ code, severity, phase, message_id }) => [code, severity, phase, message_id]),
    [["persistence_pending", "warning", "persistence", tab.chat.lastMessage.id]],
  );
  await until(async () => (await get(tab)).last.persisted === "yes", "it is saved after all");
  await assertKept(tab);
});

test("a save that fails: the answer is shown, and onData is told what to do about it", options, async () => {
  const tab = await ask("!persist-fail");
  assertShown(tab, "!persist-fail");
  const [fault, ...more] = tab.data.map(faultOfPart);
  assert.deepEqual(more, []);
  const { code, severity, phase, retryable, actions, message_id, user_message_id } = fault;
  assert.deepEqual(
    { code, severity, phase, retryable, actions, message_id, user_message_id },
    {
      code: "persistence_failed",
      severity: "error",
      phase: "persistence",
      retryable: true,
      actions: ["resend", "download"],
      message_id: tab.chat.lastMessage.id,
      user_message_id: tab.chat.messages[0].id,
    },
  );
  assert.equal(tab.data[0].transient, true);
  assert.doesNotMatch(JSON.stringify(tab.data), /persist-fail said so/);
  const { last } = await get(tab);
  assert.deepEqual([last.outcome, last.persisted], ["completed", "pending"]);
  const raw = await tab.fetch(`/api/chat/${tab.chat.id}/streams/${last.stream_id}/raw`);
  assert.equal(await raw.text(), ANSWERS["!persist-fail"]);
});
