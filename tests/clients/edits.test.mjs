// AI SDK 5, 6 and 7: questions that are edited, answers that are written again, stopped and asked again. After each the
// page shows the same before a reload and after it, and every message of it is stored once.
// The application is tests/apps/editing.py, on one worker or two, which take turns.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as ai7 from "ai";
import * as ai5 from "ai5";
import * as ai6 from "ai6";
import { browserFetch, newcomer, until } from "./harness.mjs";

const WORKERS = JSON.parse(process.env.WORKERS);
const options = { timeout: 20_000 };

/** What a framework keeps of a chat, for clients without one. */
class PlainState {
  status = "ready";
  error = undefined;

  constructor(messages) {
    this.messages = messages;
  }

  pushMessage = (message) => {
    this.messages = [...this.messages, message];
  };

  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };

  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, message);
  };

  snapshot = (value) => structuredClone(value);
}

let turn = 0;

/** `fetch` of a page whose requests reach the workers in turn. It notes the stream that each answer is. */
function page(user) {
  const of = WORKERS.map((base) => browserFetch(base, user));
  const fetch = async (...request) => {
    turn += 1;
    const response = await of[turn % of.length](...request);
    fetch.stream = response.headers.get("x-stream-id") ?? fetch.stream;
    return response;
  };
  return fetch;
}

async function openTab(ai, { user, chatId }) {
  const fetch = page(user);
  const response = await fetch(`/api/chat/${chatId}/messages`);
  const known = (await response.json()).messages.map(({ id, role, parts }) => ({ id, role, parts }));
  const errors = [];
  class Tab extends ai.AbstractChat {}
  const chat = new Tab({
    id: chatId,
    state: new PlainState(known),
    transport: new ai.DefaultChatTransport({ api: "/api/chat", fetch }),
    onError: (error) => errors.push(error),
  });
  return { chat, fetch, errors, chatId, user };
}

function textOf(message) {
  return message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

/** Who says what. A message that has nothing to show is none: AI SDK makes one for an answer that was stopped at once. */
function seen(messages) {
  const plain = JSON.parse(JSON.stringify(messages));
  const said = plain.map(({ id, role, parts }) => ({ id, role, parts: parts.filter(({ type }) => type !== "step-start") }));
  return said.filter(({ parts }) => parts.length > 0);
}

async function stored({ fetch, chatId }, query = "") {
  const response = await fetch(`/api/chat/${chatId}/messages${query}`);
  assert.equal(response.status, 200);
  return (await response.json()).messages;
}

/** The fault behind an error: AI SDK 5 and 6 put the answer into its message, 7 beside it. */
const faultOf = (error) => JSON.parse(error.responseBody ?? error.message).error;

const ended = async ({ fetch, chatId }) => (await (await fetch(`/api/chat/${chatId}`)).json()).active === null;

/** Asserts that a reload shows what `tab` shows: these questions, each with its answer unless the count says otherwise. */
async function assertSame(tab, questions, { answers = questions.length } = {}) {
  await until(() => ended(tab), "what ran has ended");
  const shown = seen(tab.chat.messages);
  const kept = await stored(tab);
  assert.deepEqual(seen(kept), shown);
  assert.deepEqual(shown.filter(({ role }) => role === "user").map(textOf), questions);
  assert.equal(shown.filter(({ role }) => role === "assistant").length, answers);
  assert.deepEqual(kept.map(({ persisted }) => persisted), kept.map(() => "yes"));
  // One branch, and in it one row each; old branches have the rest, at positions that nobody else has.
  const all = await stored(tab, "?branches=1");
  const visible = all.filter(({ superseded_by }) => superseded_by === null);
  assert.deepEqual(new Set(visible.map(({ id }) => id)), new Set(kept.map(({ id }) => id)));
  assert.equal(visible.length, kept.length);
  assert.deepEqual(all.map(({ position }) => position), all.map((_, index) => index + 1));
  assert.deepEqual(seen((await openTab(tab.ai, tab)).chat.messages), shown);
}

async function stop({ fetch, chatId }, query = "") {
  return fetch(`/api/chat/${chatId}/stop${query}`, { method: "POST" });
}

/** Asks what goes on until it is stopped, and waits until that has said its first piece. */
async function begun(tab, ask) {
  const before = tab.chat.lastMessage.id;
  void ask();
  const last = () => tab.chat.lastMessage;
  const says = () => last().role === "assistant" && last().id !== before && textOf(last()).startsWith("Answer");
  await until(says, "it has begun");
}

/** Questions that have been answered. */
async function conversation(ai, ...questions) {
  const tab = Object.assign(await openTab(ai, newcomer()), { ai });
  for (const text of questions) await tab.chat.sendMessage({ text });
  return tab;
}

const idOf = ({ chat }, index) => chat.messages[index].id;

for (const [version, ai] of [["5", ai5], ["6", ai6], ["7", ai7]]) {
  test(`ai ${version}: the last question is edited, and edited again`, options, async () => {
    const tab = await conversation(ai, "one", "two");
    await tab.chat.sendMessage({ text: "two!", messageId: idOf(tab, 2) });
    await assertSame(tab, ["one", "two!"]);
    await tab.chat.sendMessage({ text: "two", messageId: idOf(tab, 2) }); // back again
    await assertSame(tab, ["one", "two"]);
    await tab.chat.sendMessage({ text: "three" });
    await assertSame(tab, ["one", "two", "three"]);
  });

  test(`ai ${version}: a question in the middle is edited`, options, async () => {
    const tab = await conversation(ai, "one", "two", "three");
    await tab.chat.sendMessage({ text: "two!", messageId: idOf(tab, 2) });
    await assertSame(tab, ["one", "two!"]);
    await tab.chat.sendMessage({ text: "one!", messageId: idOf(tab, 0) });
    await assertSame(tab, ["one!"]);
  });

  test(`ai ${version}: answers are written again`, options, async () => {
    const tab = await conversation(ai, "one", "two");
    const [first, second] = [textOf(tab.chat.messages[1]), textOf(tab.chat.messages[3])];
    await tab.chat.regenerate();
    await assertSame(tab, ["one", "two"]);
    assert.notEqual(textOf(tab.chat.lastMessage), second);
    assert.equal(textOf(tab.chat.messages[1]), first);
    await tab.chat.regenerate({ messageId: idOf(tab, 2) }); // a question's id: its answer
    await assertSame(tab, ["one", "two"]);
    await tab.chat.regenerate({ messageId: idOf(tab, 1) }); // in the middle
    await assertSame(tab, ["one"]);
    assert.notEqual(textOf(tab.chat.lastMessage), first);
  });

  test(`ai ${version}: a question that failed is sent again`, options, async () => {
    const tab = await conversation(ai, "one", "crash");
    assert.equal(tab.errors.length, 1);
    await assertSame(tab, ["one", "crash"], { answers: 1 });
    while (tab.chat.status === "error") await tab.chat.regenerate(); // each worker fails once
    await assertSame(tab, ["one", "crash"]);
    await tab.chat.sendMessage({ text: "crash", messageId: idOf(tab, 2) }); // as it was
    await assertSame(tab, ["one", "crash"]);
  });

  test(`ai ${version}: an answer is stopped late, when it is over`, options, async () => {
    const tab = await conversation(ai, "one");
    assert.equal((await stop(tab, `?stream_id=${tab.fetch.stream}`)).status, 204);
    await tab.chat.sendMessage({ text: "two" });
    await assertSame(tab, ["one", "two"]);
  });

  test(`ai ${version}: an answer is stopped early, before its first word`, options, async () => {
    const tab = await conversation(ai, "one");
    const asked = tab.chat.sendMessage({ text: "quiet" });
    await until(async () => !(await ended(tab)), "it runs");
    await until(async () => (await stored(tab)).length === 3, "its question is saved");
    assert.equal((await stop(tab)).status, 202);
    await asked;
    await assertSame(tab, ["one", "quiet"], { answers: 1 });
    await tab.chat.sendMessage({ text: "loud", messageId: tab.chat.messages.findLast(({ role }) => role === "user").id });
    await assertSame(tab, ["one", "loud"]);
  });

  test(`ai ${version}: an answer is stopped and asked for again`, options, async () => {
    const tab = await conversation(ai, "one");
    await begun(tab, () => tab.chat.sendMessage({ text: "long" }));
    await stop(tab, `?stream_id=${tab.fetch.stream}`);
    await until(() => tab.chat.status === "ready", "it ends");
    await assertSame(tab, ["one", "long"]);
    await tab.chat.sendMessage({ text: "short", messageId: idOf(tab, 2) });
    await assertSame(tab, ["one", "short"]);
  });

  test(`ai ${version}: what still runs is edited away`, options, async () => {
    const tab = await conversation(ai, "one");
    await begun(tab, () => tab.chat.sendMessage({ text: "long" }));
    await tab.chat.stop(); // this tab reads no more; the server goes on
    await until(() => tab.chat.status === "ready", "it reads no more");
    await tab.chat.sendMessage({ text: "short", messageId: idOf(tab, 2) });
    await assertSame(tab, ["one", "short"]);
  });

  test(`ai ${version}: of two tabs that edit, the last one wins`, options, async () => {
    const first = await conversation(ai, "one", "two");
    const second = Object.assign(await openTab(ai, first), { ai });
    await begun(first, () => first.chat.sendMessage({ text: "long", messageId: idOf(first, 2) }));
    await second.chat.sendMessage({ text: "two!", messageId: idOf(second, 2) });
    await until(() => first.chat.status === "ready", "the first tab's answer was stopped");
    await assertSame(second, ["one", "two!"]);
    await first.chat.regenerate(); // the answer to a question that is another by now
    assert.equal(faultOf(first.errors.at(-1)).code, "save_conflict");
    await assertSame(second, ["one", "two!"]);
    first.chat.messages = seen(await stored(first));
    await first.chat.regenerate();
    await assertSame(first, ["one", "two!"]);
  });
}
