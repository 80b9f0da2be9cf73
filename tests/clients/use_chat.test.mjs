// AI SDK 7 against the example application, with the how-to's transport.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Chat } from "@ai-sdk/react";
import { ANSWERS, APP, APP_WITHOUT_STORE, browserFetch, howTo, Network, newcomer, until } from "./harness.mjs";

const { faultOfError, faultOfPart, stopAnswer, streamguardTransport } = await howTo()("streamguard-chat.js");
const PROMPT = "Tell me of streams";
const options = { timeout: 20_000 };

/** A tab: a chat with everything its callbacks were told. */
function openTab({ user, chatId, base = APP, messages = [], api = "/api/chat", transport = {} }) {
  const told = { data: [], errors: [], finishes: [] };
  const fetch = browserFetch(base, user);
  const chat = new Chat({
    id: chatId,
    messages,
    transport: streamguardTransport(api, { fetch, ...transport }),
    onData: (part) => told.data.push(part),
    onError: (error) => told.errors.push(error),
    onFinish: (event) => told.finishes.push(event),
  });
  return Object.assign(told, { chat, fetch });
}

function textOf(message) {
  return message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

function answersOf(chat) {
  return chat.messages.filter((message) => message.role === "assistant");
}

const question = { id: "m1", role: "user", parts: [{ type: "text", text: PROMPT }] };

test("an answer arrives whole", options, async () => {
  const tab = openTab(newcomer());
  await tab.chat.sendMessage({ text: PROMPT });
  assert.equal(tab.chat.status, "ready");
  assert.equal(textOf(tab.chat.lastMessage), ANSWERS[PROMPT]);
  assert.deepEqual(tab.errors, []);
});

test("an open tab whose connection is cut resumes, and shows the text once", options, async () => {
  const network = await Network.open();
  const tab = openTab({ ...newcomer(), base: network.url });
  network.cutAfter(15);
  await tab.chat.sendMessage({ text: PROMPT });
  assert.equal(network.cuts, 1);
  assert.equal(tab.chat.status, "error");
  assert.equal(tab.errors.length, 1);
  assert.equal(faultOfError(tab.errors[0]), null);
  assert.equal(tab.finishes.at(-1).isDisconnect, true);
  const before = textOf(tab.chat.lastMessage);
  assert.ok(before.length > 0 && ANSWERS[PROMPT].startsWith(before) && before !== ANSWERS[PROMPT]);

  await tab.chat.resumeStream();
  assert.equal(tab.chat.status, "ready");
  assert.equal(answersOf(tab.chat).length, 1);
  assert.equal(textOf(tab.chat.lastMessage), ANSWERS[PROMPT]);
});

test("a tab cut off again and again still gets the whole answer", options, async () => {
  const network = await Network.open();
  const tab = openTab({ ...newcomer(), base: network.url });
  network.cutAfter(10);
  await tab.chat.sendMessage({ text: PROMPT });
  for (const blocks of [1, 20, 35]) {
    network.cutAfter(blocks);
    await tab.chat.resumeStream();
    assert.equal(tab.chat.status, "error");
  }
  await tab.chat.resumeStream();
  assert.equal(network.cuts, 4);
  assert.equal(answersOf(tab.chat).length, 1);
  assert.equal(textOf(tab.chat.lastMessage), ANSWERS[PROMPT]);
});

test("a reloaded page, knowing only the question, gets the whole answer under the same message id", options, async () => {
  const who = newcomer();
  const network = await Network.open();
  const first = openTab({ ...who, base: network.url });
  network.cutAfter(12);
  await first.chat.sendMessage({ text: PROMPT });

  const reloaded = openTab({ ...who, messages: [question] });
  await reloaded.chat.resumeStream();
  assert.equal(reloaded.chat.status, "ready");
  assert.equal(answersOf(reloaded.chat).length, 1);
  assert.equal(textOf(reloaded.chat.lastMessage), ANSWERS[PROMPT]);
  assert.equal(reloaded.chat.lastMessage.id, first.chat.lastMessage.id);
});

test("a page that comes back just after the end gets the whole answer too", options, async () => {
  const who = newcomer();
  await openTab(who).chat.sendMessage({ text: PROMPT });
  const late = openTab({ ...who, messages: [question] });
  await late.chat.resumeStream();
  assert.equal(textOf(late.chat.lastMessage), ANSWERS[PROMPT]);
});

test("a chat id with a slash, a per cent sign and other scripts is sent and resumed", options, async () => {
  const { user, chatId } = newcomer();
  const who = { user, chatId: `a/b %2F 東京 ${chatId}` };
  const network = await Network.open();
  const tab = openTab({ ...who, base: network.url });
  network.cutAfter(8);
  await tab.chat.sendMessage({ text: PROMPT });
  await tab.chat.resumeStream();
  assert.equal(textOf(tab.chat.lastMessage), ANSWERS[PROMPT]);
});

test("nothing to resume leaves the chat ready and says nothing", options, async () => {
  const tab = openTab({ ...newcomer(), messages: [question] });
  await tab.chat.resumeStream();
  assert.equal(tab.chat.status, "ready");
  assert.deepEqual(tab.errors, []);
  assert.deepEqual(tab.data, []);
  assert.equal(tab.chat.messages.length, 1);
});

test("another user's chat looks like one that never was", options, async () => {
  const { user, chatId } = newcomer();
  await openTab({ user, chatId }).chat.sendMessage({ text: PROMPT });
  const stranger = openTab({ user: newcomer().user, chatId });
  await stranger.chat.resumeStream();
  assert.equal(stranger.chat.status, "ready");
  assert.equal(stranger.chat.messages.length, 0);
});

test("an answer that is gone is reported, not passed over", options, async () => {
  const gone = `1.${"0".repeat(24)}.7.5`;
  const prepareReconnectToStreamRequest = ({ id }) => ({ api: `/api/chat/${id}/stream?cursor=${gone}` });
  const who = newcomer();
  const fetch = browserFetch(APP, who.user);
  const { DefaultChatTransport } = await import("ai");
  const errors = [];
  const chat = new Chat({
    id: who.chatId,
    messages: [question],
    transport: new DefaultChatTransport({ fetch, prepareReconnectToStreamRequest }),
    onError: (error) => errors.push(error),
  });
  await chat.resumeStream();
  assert.equal(chat.status, "error");
  assert.equal(errors[0].statusCode, 410);
  assert.equal(faultOfError(errors[0]).code, "resume_failed");
});

test("a store that is down is reported as worth another try", options, async () => {
  const tab = openTab({ ...newcomer(), base: APP_WITHOUT_STORE, messages: [question] });
  await tab.chat.resumeStream();
  assert.equal(tab.chat.status, "error");
  assert.equal(tab.errors[0].statusCode, 503);
  const fault = faultOfError(tab.errors[0]);
  assert.equal(fault.code, "store_unavailable");
  assert.equal(fault.retryable, true);
});

test("without a store the answer still comes, with a warning that it cannot be resumed", options, async () => {
  const tab = openTab({ ...newcomer(), base: APP_WITHOUT_STORE });
  await tab.chat.sendMessage({ text: PROMPT });
  assert.equal(tab.chat.status, "ready");
  assert.equal(textOf(tab.chat.lastMessage), ANSWERS[PROMPT]);
  const faults = tab.data.map(faultOfPart).filter(Boolean);
  assert.deepEqual(
    faults.map(({ code, severity, phase }) => [code, severity, phase]),
    [["not_resumable", "warning", "resume"]],
  );
});

test("a model that breaks: first its fault, then the error, the text so far stays", options, async () => {
  const tab = openTab(newcomer());
  await tab.chat.sendMessage({ text: "!crash" });
  assert.equal(tab.chat.status, "error");
  const [fault] = tab.data.map(faultOfPart).filter(Boolean);
  assert.equal(fault.severity, "fatal");
  assert.equal(fault.phase, "provider");
  assert.equal(tab.errors.length, 1);
  assert.equal(tab.errors[0].message, fault.message);
  assert.equal(textOf(tab.chat.lastMessage), ANSWERS["!crash"]);
  assert.doesNotMatch(JSON.stringify([tab.data, tab.chat.messages, tab.errors[0].message]), /sk-secret|4711|10\.0\.0/);
});

test("a failed answer, resumed after a reload, fails again in the same words", options, async () => {
  const who = newcomer();
  const first = openTab(who);
  await first.chat.sendMessage({ text: "!crash" });
  const reloaded = openTab({ ...who, messages: [question] });
  await reloaded.chat.resumeStream();
  assert.equal(reloaded.chat.status, "error");
  assert.equal(textOf(reloaded.chat.lastMessage), ANSWERS["!crash"]);
  assert.deepEqual(reloaded.data, first.data);
});

test("a model that breaks before its first piece is an HTTP error with its fault", options, async () => {
  const tab = openTab(newcomer());
  await tab.chat.sendMessage({ text: "!error-first" });
  assert.equal(tab.chat.status, "error");
  const fault = faultOfError(tab.errors[0]);
  assert.equal(fault.phase, "provider");
  assert.equal(tab.errors[0].statusCode, fault.status);
  assert.doesNotMatch(tab.errors[0].responseBody, /sk-secret|4711|10\.0\.0/);
});

test("Stop ends the answer for every reader, with what was written so far", options, async () => {
  const who = newcomer();
  const tab = openTab(who);
  const other = openTab({ ...who, messages: [question] });
  const sent = tab.chat.sendMessage({ text: "!slow 50" });
  await until(() => answersOf(tab.chat).length && textOf(tab.chat.lastMessage).length > 20, "the answer begins");
  const resumed = other.chat.resumeStream();
  await until(() => answersOf(other.chat).length, "the other tab reads along");
  await stopAnswer(who.chatId, { fetch: tab.fetch });
  await Promise.all([sent, resumed]);
  assert.equal(tab.chat.status, "ready");
  assert.equal(other.chat.status, "ready");
  const text = textOf(tab.chat.lastMessage);
  assert.ok(ANSWERS["!slow 50"].startsWith(text) && text !== ANSWERS["!slow 50"]);
  assert.equal(textOf(other.chat.lastMessage), text);
  const { active, last } = await (await tab.fetch(`/api/chat/${who.chatId}`)).json();
  assert.equal(active, null);
  assert.equal(last.outcome, "stopped");
});

test("Stop with nothing to stop is not an error", options, async () => {
  const who = newcomer();
  await stopAnswer(who.chatId, { fetch: browserFetch(APP, who.user) });
});

test("leaving does not stop the answer: `stop()` is a disconnect, the rest can still be read", options, async () => {
  const tab = openTab(newcomer());
  const sent = tab.chat.sendMessage({ text: PROMPT });
  await until(() => answersOf(tab.chat).length, "the answer begins");
  await tab.chat.stop();
  await sent;
  await tab.chat.resumeStream();
  assert.equal(textOf(tab.chat.lastMessage), ANSWERS[PROMPT]);
});

test("a chat goes on after a failure", options, async () => {
  const tab = openTab(newcomer());
  await tab.chat.sendMessage({ text: "!crash" });
  await tab.chat.sendMessage({ text: PROMPT });
  assert.equal(tab.chat.status, "ready");
  assert.equal(textOf(tab.chat.lastMessage), ANSWERS[PROMPT]);
});
