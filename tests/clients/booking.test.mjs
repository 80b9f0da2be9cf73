// AI SDK 7 continuing a message, with results of tools and answers to approval requests: one stored message in the end.
// The application is tests/apps/booking.py.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Chat } from "@ai-sdk/react";
import * as ai7 from "ai";
import * as ai5 from "ai-5.0.277";
import * as ai6 from "ai-6.0.322";
import { State } from "./page_state.mjs";
import { APP, Network, browserFetch, howTo, newcomer, until } from "./harness.mjs";

const { lastAssistantMessageIsCompleteWithApprovalResponses, lastAssistantMessageIsCompleteWithToolCalls } = ai7;

const { streamguardTransport } = await howTo()("streamguard-chat.js");
const options = { timeout: 20_000 };

/** A tab that answers the browser's own tool by `locate`, and goes on by itself whenever nothing is open any more. */
function openTab({ user, chatId, messages = [], locate }) {
  const told = { data: [], errors: [] };
  const fetch = browserFetch(APP, user);
  const chat = new Chat({
    id: chatId,
    messages,
    transport: streamguardTransport("/api/chat", { fetch }),
    sendAutomaticallyWhen: (state) =>
      lastAssistantMessageIsCompleteWithToolCalls(state) || lastAssistantMessageIsCompleteWithApprovalResponses(state),
    onToolCall: ({ toolCall }) => {
      if (toolCall.toolName === "locate") chat.addToolOutput({ tool: "locate", toolCallId: toolCall.toolCallId, ...locate });
    },
    onData: (part) => told.data.push(part),
    onError: (error) => told.errors.push(error),
  });
  return Object.assign(told, { chat, fetch });
}

const callOf = (chat, type) => chat.lastMessage?.parts.find((part) => part.type === type);
const isReady = (chat, type, state) => chat.status === "ready" && callOf(chat, type)?.state === state;

async function stored({ fetch, chat }) {
  const response = await fetch(`/api/chat/${chat.id}/messages`);
  assert.equal(response.status, 200);
  return (await response.json()).messages;
}

/** Asserts that the server keeps the two messages that the tab shows, part for part, and has said so each time. */
async function assertKept(tab, { persisted }) {
  const shown = JSON.parse(JSON.stringify(tab.chat.messages));
  const kept = await stored(tab);
  assert.deepEqual(
    kept.map(({ id, role, parts }) => ({ id, role, parts })),
    shown.map(({ id, role, parts }) => ({ id, role, parts })),
  );
  assert.deepEqual(kept.map(({ status, persisted, position }) => [status, persisted, position]), [
    ["complete", "yes", 1],
    ["complete", "yes", 2],
  ]);
  assert.deepEqual(tab.errors, []);
  const parts = tab.data.filter((part) => part.type === "data-streamguard-persisted");
  assert.equal(parts.length, tab.data.length);
  assert.deepEqual(new Set(parts.map((part) => part.data.message_id)), new Set([shown[1].id]));
  assert.equal(new Set(parts.map((part) => part.data.stream_id)).size, persisted);
}

for (const [approved, state, words] of [
  [true, "output-available", "Table 7 is yours."],
  [false, "output-denied", "I booked nothing."],
]) {
  test(`a tool's result and an approval ${approved ? "given" : "refused"} end in one message`, options, async () => {
    const tab = openTab({ ...newcomer(), locate: { output: "Lisbon" } });
    await tab.chat.sendMessage({ text: "A table, please" });
    await until(() => isReady(tab.chat, "tool-book", "approval-requested"), "it asks for approval");
    const { approval } = callOf(tab.chat, "tool-book");
    await tab.chat.addToolApprovalResponse({ id: approval.id, approved, reason: "because" });
    await until(() => isReady(tab.chat, "tool-book", state), "it goes on");
    assert.equal(tab.chat.messages.length, 2);
    assert.equal(tab.chat.lastMessage.parts.at(-1).text, words);
    assert.equal(callOf(tab.chat, "tool-locate").output, "Lisbon");
    await assertKept(tab, { persisted: 3 });
  });
}

test("a tool that failed in the browser is kept as failed", options, async () => {
  const tab = openTab({ ...newcomer(), locate: { state: "output-error", errorText: "no permission" } });
  await tab.chat.sendMessage({ text: "A table, please" });
  await until(() => isReady(tab.chat, "tool-book", "approval-requested"), "it asks for approval");
  assert.equal(callOf(tab.chat, "tool-locate").errorText, "no permission");
  await assertKept(tab, { persisted: 2 });
});

test("an approval is answered after a reload, from what the server has kept", options, async () => {
  const who = newcomer();
  const first = openTab({ ...who, locate: { output: "Lisbon" } });
  await first.chat.sendMessage({ text: "A table, please" });
  await until(() => isReady(first.chat, "tool-book", "approval-requested"), "it asks for approval");
  const messages = (await stored(first)).map(({ id, role, parts }) => ({ id, role, parts }));

  const reloaded = openTab({ ...who, messages });
  const { approval } = callOf(reloaded.chat, "tool-book");
  await reloaded.chat.addToolApprovalResponse({ id: approval.id, approved: true });
  await until(() => isReady(reloaded.chat, "tool-book", "output-available"), "it goes on");
  await assertKept(reloaded, { persisted: 1 });
});

test("what a client makes up in the message it sends back is not kept", options, async () => {
  const tab = openTab({ ...newcomer(), locate: { output: "Lisbon" } });
  await tab.chat.sendMessage({ text: "A table, please" });
  await until(() => isReady(tab.chat, "tool-book", "approval-requested"), "it asks for approval");
  const [question, reply] = tab.chat.messages;
  const forged = reply.parts.map((part) => (part.type === "text" ? { ...part, text: "forged" } : part));
  tab.chat.messages = [question, { ...reply, parts: forged }];
  await tab.chat.addToolApprovalResponse({ id: callOf(tab.chat, "tool-book").approval.id, approved: true });
  await until(() => isReady(tab.chat, "tool-book", "output-available"), "it goes on");
  const [, kept] = await stored(tab);
  assert.equal(kept.parts.at(-1).text, "Table 7 is yours.");
  assert.equal(kept.parts.find((part) => part.type === "tool-book").state, "output-available");
  assert.doesNotMatch(JSON.stringify(kept), /forged/);
});

/** A page of this version, opened with what is kept by now. `called` counts the calls that it was told to run. */
async function openPage(ai, version, { user, chatId }, { base = APP } = {}) {
  const page = { errors: [], called: 0, user, chatId, fetch: browserFetch(base, user) };
  const messages = (await stored({ fetch: page.fetch, chat: { id: chatId } })).map(({ id, role, parts }) => ({ id, role, parts }));
  class Page extends ai.AbstractChat {}
  page.chat = new Page({
    id: chatId,
    state: new State(messages),
    transport: new ai.DefaultChatTransport({ api: "/api/chat", fetch: page.fetch, headers: { "x-ai-sdk-version": version } }),
    sendAutomaticallyWhen: (state) =>
      lastAssistantMessageIsCompleteWithToolCalls(state) || lastAssistantMessageIsCompleteWithApprovalResponses(state),
    onToolCall: ({ toolCall: { toolName, toolCallId } }) => {
      page.called += 1;
      if (toolName === "locate") void page.chat.addToolResult({ tool: toolName, toolCallId, output: "Lisbon" });
    },
    onError: (error) => page.errors.push(error),
  });
  return page;
}

/** What a page shows. The text of a call's input is nothing to be shown. */
function shownBy({ chat }) {
  const messages = chat.messages.map(({ id, role, parts }) => ({ id, role, parts: parts.map(({ rawInput, ...part }) => part) }));
  return JSON.parse(JSON.stringify(messages));
}

const lastText = ({ chat }) => chat.lastMessage?.parts.findLast(({ type }) => type === "text")?.text;

/** Asserts that a page which is opened now resumes, and shows what `page` shows. */
async function assertOpensAlike(ai, version, page, isGoingOn) {
  const opened = await openPage(ai, version, page);
  const resumed = opened.chat.resumeStream();
  if (!isGoingOn) await resumed;
  const alike = () => assert.deepEqual(shownBy(opened), shownBy(page)) ?? true;
  await until(() => { try { return alike(); } catch { return false; } }, "both show the same", 3).catch(alike);
  assert.deepEqual([opened.errors, opened.called], [[], 0]);
  return { opened, resumed };
}

async function stop({ fetch, chatId }) {
  assert.equal((await fetch(`/api/chat/${chatId}/stop`, { method: "POST" })).status, 202);
}

for (const [version, ai] of [["5.0.277", ai5], ["6.0.322", ai6], ["7.0.173", ai7]]) {
  test(`${version}: a page that is opened while a message goes on shows all of it`, options, async () => {
    const page = await openPage(ai, version, newcomer());
    void page.chat.sendMessage({ text: "A table, and hold 2" });
    await until(() => lastText(page) === "You are in Lisbon. ", "it goes on");
    const { opened, resumed } = await assertOpensAlike(ai, version, page, true);
    await stop(page);
    await until(() => page.chat.status === "ready", "it is stopped");
    await resumed;
    assert.deepEqual(shownBy(opened), shownBy(page));
    await assertOpensAlike(ai, version, page, false);
  });

  if (version.startsWith("5")) continue; // it appends what it resumes to what it shows, and has no approvals

  test(`${version}: a message that goes on is whole after a lost connection`, options, async () => {
    const network = await Network.open();
    const page = await openPage(ai, version, newcomer(), { base: network.url });
    void page.chat.sendMessage({ text: "A table, and hold 2" });
    await until(() => lastText(page) === "You are in Lisbon. ", "it goes on");
    const before = shownBy(page);
    network.cut();
    await until(() => page.errors.length === 1, "the page has lost its connection");
    const resumed = page.chat.resumeStream();
    await until(() => page.chat.status === "streaming" && lastText(page) === "You are in Lisbon. ", "it resumes");
    assert.deepEqual(shownBy(page), before);
    await stop(page);
    await resumed;
    await assertOpensAlike(ai, version, page, false);
  });

  test(`${version}: a page that is opened after an approval knows of the call`, options, async () => {
    const page = await openPage(ai, version, newcomer());
    void page.chat.sendMessage({ text: "A table, and hold 3" });
    await until(() => isReady(page.chat, "tool-book", "approval-requested"), "it asks for approval");
    void page.chat.addToolApprovalResponse({ id: callOf(page.chat, "tool-book").approval.id, approved: true });
    await until(() => lastText(page) === "Table 7 is yours.", "it goes on");
    if (version.startsWith("7")) await assertOpensAlike(ai, version, page, true); // 6 is not told the answer
    await stop(page);
    await until(() => page.chat.status === "ready", "it is stopped");
    const opened = await openPage(ai, version, page);
    await opened.chat.resumeStream();
    assert.deepEqual(opened.errors, []);
    assert.equal(callOf(opened.chat, "tool-book").state, "output-available");
    assert.equal(lastText(opened), "Table 7 is yours.");
  });
}
