// AI SDK 7 against an endpoint that keeps its messages: what the client holds in the end is what is stored.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Chat } from "@ai-sdk/react";
import { lastAssistantMessageIsCompleteWithApprovalResponses, lastAssistantMessageIsCompleteWithToolCalls } from "ai";
import { browserFetch, howTo, newcomer, until } from "./harness.mjs";

const { faultOfPart, streamguardTransport } = await howTo()("streamguard-chat.js");
const SAVING = process.env.SAVING_URL;
const options = { timeout: 20_000 };

function openTab({ user, chatId, ...more }) {
  const told = { data: [], errors: [] };
  const fetch = browserFetch(SAVING, user);
  const chat = new Chat({
    id: chatId,
    transport: streamguardTransport("/api/chat", { fetch }),
    onData: (part) => told.data.push(part),
    onError: (error) => told.errors.push(error),
    ...more,
  });
  const stored = async () => (await (await fetch(`/api/chat/${chatId}/messages`)).json()).messages;
  return Object.assign(told, { chat, fetch, stored });
}

function textOf(message) {
  return message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

/** As it travels: without what is undefined. */
function plain(value) {
  return JSON.parse(JSON.stringify(value));
}

/** Asserts that what is stored is what the client holds. */
async function assertKept(tab) {
  const stored = await tab.stored();
  assert.deepEqual(
    stored.map(({ id, role, parts }) => ({ id, role, parts })),
    plain(tab.chat.messages.map(({ id, role, parts }) => ({ id, role, parts }))),
  );
  assert.deepEqual(stored.map(({ persisted }) => persisted), stored.map(() => "yes"));
}

test("a saved answer is said to be saved, and kept as the client has it", options, async () => {
  const tab = openTab(newcomer());
  await tab.chat.sendMessage({ text: "Hello" });
  assert.equal(tab.chat.status, "ready");
  const told = tab.data.filter((part) => part.type === "data-streamguard-persisted");
  assert.equal(told.length, 1);
  assert.equal(told[0].data.message_id, tab.chat.lastMessage.id);
  assert.deepEqual(tab.errors, []);
  assert.equal(tab.chat.lastMessage.parts.some((part) => part.type.startsWith("data-")), false);
  await assertKept(tab);
});

test("an answer that could not be saved is shown, and the client told", options, async () => {
  const { user, chatId } = newcomer();
  const tab = openTab({ user, chatId: `unsaved-${chatId}` });
  await tab.chat.sendMessage({ text: "Hello" });
  assert.equal(tab.chat.status, "ready");
  assert.equal(textOf(tab.chat.lastMessage), "An answer.");
  assert.deepEqual(tab.errors, []);
  const [fault, ...more] = tab.data.map(faultOfPart).filter(Boolean);
  assert.deepEqual(more, []);
  assert.equal(fault.code, "persistence_failed");
  assert.equal(fault.phase, "persistence");
  assert.equal(fault.retryable, true);
  assert.deepEqual(fault.actions, ["resend", "download"]);
  assert.equal(fault.message_id, tab.chat.lastMessage.id);
  assert.equal(fault.user_message_id, tab.chat.messages[0].id);
  assert.equal(tab.data.some((part) => part.type === "data-streamguard-persisted"), false);
  const [question, reply] = await tab.stored();
  assert.deepEqual([question.persisted, reply.persisted], ["yes", "pending"]);
  const raw = await tab.fetch(`/api/chat/unsaved-${chatId}/streams/${fault.stream_id}/raw`);
  assert.equal(await raw.text(), "An answer.");
});

test("a tool of the browser's: its result and the rest of the answer are one message", options, async () => {
  const tab = openTab({
    ...newcomer(),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall: ({ toolCall }) => {
      tab.chat.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output: "at home" });
    },
  });
  await tab.chat.sendMessage({ text: "where" });
  await until(() => tab.chat.status === "ready" && textOf(tab.chat.lastMessage).includes("You are"), "it is answered");
  assert.equal(tab.chat.messages.length, 2);
  assert.equal(textOf(tab.chat.lastMessage), "Let me see. You are at home.");
  assert.equal(tab.chat.lastMessage.parts.find((part) => part.type === "tool-where").output, "at home");
  await assertKept(tab);
});

test("an approval: the question, the answer and the result are one message", options, async () => {
  const tab = openTab({
    ...newcomer(),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  await tab.chat.sendMessage({ text: "delete" });
  assert.equal(tab.chat.lastMessage.parts.at(-1).state, "approval-requested");
  await assertKept(tab);
  await tab.chat.addToolApprovalResponse({ id: "approval-1", approved: true });
  await until(() => tab.chat.status === "ready" && textOf(tab.chat.lastMessage) === "It is gone.", "it is answered");
  assert.equal(tab.chat.messages.length, 2);
  const [tool] = tab.chat.lastMessage.parts.filter((part) => part.type === "tool-delete");
  assert.deepEqual([tool.state, tool.output], ["output-available", "gone"]);
  await assertKept(tab);
});
