// `streamguard-client`, as npm packs it, as the transport of AI SDK 5, 6 and 7: whatever happens to the connection, the
// page after a reload shows what the page before it showed. The application is tests/apps/client_chat.py.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { APP, newcomer, until } from "./harness.mjs";
import { Cuts } from "./cuts.mjs";
import { State } from "./page_state.mjs";
import { RELEASES } from "./releases.mjs";

const client = await import(process.env.STREAMGUARD_CLIENT);
const { AnswerFailedError, ConnectionLostError, RequestRefusedError, ResumeFailedError, StreamguardTransport } = client;

const FIRST = new Set(["5.0.0", "6.0.0", "7.0.0"].map((version) => RELEASES[version]));
const options = { timeout: 100_000 }; // for a test that hangs; a busy machine is no failure
const reconnect = { initialDelayMs: 1, maxDelayMs: 20, maxAttempts: 6 };

/** A tab that is opened, or opened again: it shows what the server has saved, and resumes. */
async function openTab(ai, { user, chatId }, { base = APP, resume = false, ...more } = {}) {
  const told = { faults: [], saved: [], quotas: [], reconnecting: [], errors: [] };
  const transport = new StreamguardTransport({
    api: `${base}/api/chat`,
    headers: () => ({ "x-user": user }),
    reconnect,
    onFault: (fault) => told.faults.push(fault.code),
    onPersisted: (saved) => told.saved.push(saved.message_id),
    onQuota: (fault) => told.quotas.push(fault.code),
    onReconnect: ({ attempt }) => told.reconnecting.push(attempt),
    ...more,
  });
  const known = (await transport.savedMessages(chatId)).map(({ id, role, parts }) => ({ id, role, parts }));
  class Tab extends ai.AbstractChat {}
  const chat = new Tab({ id: chatId, state: new State(known), transport, onError: (error) => told.errors.push(error) });
  if (resume) await chat.resumeStream();
  return Object.assign(told, { ai, chat, transport, user, chatId });
}

/** Who says what, without what has nothing to show. */
function seen(messages) {
  const plain = JSON.parse(JSON.stringify(messages));
  const said = plain.map(({ id, role, parts }) => ({ id, role, parts: parts.filter(({ type }) => type !== "step-start") }));
  return said.filter(({ parts }) => parts.length > 0);
}

/** The first release of each version keeps fewer fields of a part than the server. */
const essence = ({ id, role, parts }) => ({ id, role, parts: parts.map(({ rawInput, id: _, ...part }) => part) });

const textOf = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");

async function assertReloadShowsTheSame(tab) {
  await until(async () => (await tab.transport.status(tab.chatId)).active === null, "the answer has ended");
  const reloaded = await openTab(tab.ai, tab, { resume: true });
  const shown = ({ chat }) => (FIRST.has(tab.ai) ? seen(chat.messages).map(essence) : seen(chat.messages));
  assert.deepEqual(shown(reloaded), shown(tab));
  const errors = reloaded.errors.map(({ code }) => code);
  if (errors.length > 0) assert.deepEqual(errors, [tab.chat.error.code]);
  return reloaded;
}

const begun = (tab, text = "It ") => until(() => tab.chat.messages.some((message) => textOf(message).startsWith(text)), "it has begun");

describe("each release of ai", { concurrency: 6 }, () => {
  for (const [version, ai] of Object.entries(RELEASES)) {
    const strict = FIRST.has(ai) ? { clientVersion: version } : {};
    const open = (who, more) => openTab(ai, who, { ...strict, ...more });

    test(`${version}: cut after every block, the page has every part once`, options, async () => {
      for (const question of FIRST.has(ai) ? ["words 3"] : ["tools", "words 3"]) {
        const whole = await open(newcomer());
        await whole.chat.sendMessage({ text: question });
        assert.equal(whole.chat.status, "ready");
        const expected = seen(whole.chat.messages)[1].parts;
        for (let blocks = 0, cut = 1; cut > 0; blocks += 1) {
          const cuts = await Cuts.open(APP, [{ blocks }]);
          const tab = await open(newcomer(), { base: cuts.url });
          await tab.chat.sendMessage({ text: question });
          assert.equal(tab.chat.status, "ready", `after ${blocks}`);
          assert.deepEqual(seen(tab.chat.messages)[1].parts, expected, `after ${blocks}`);
          cut = cuts.count;
          if (blocks % 4 === 0) await assertReloadShowsTheSame(tab);
          cuts.close();
        }
      }
    });

    test(`${version}: a fault is typed, and what broke off does not spin`, options, async () => {
      const tab = await open(newcomer());
      await tab.chat.sendMessage({ text: "fail" });
      assert.equal(tab.chat.status, "error");
      assert.ok(tab.errors[0] instanceof AnswerFailedError);
      assert.equal(tab.errors[0].code, "provider_error");
      assert.equal(tab.errors[0].retryable, true);
      assert.equal(tab.errors[0].streamId, tab.transport.streamId(tab.chatId));
      assert.deepEqual(tab.faults.filter((code) => code !== "persistence_pending"), ["provider_error"]);
      const [text, call] = seen(tab.chat.messages)[1].parts;
      assert.deepEqual([text.state ?? "done", call.state], ["done", "output-error"]);
      await until(async () => (await tab.transport.status(tab.chatId)).last.persisted === "yes", "what was said is saved");
      await assertReloadShowsTheSame(tab);
    });

    test(`${version}: Stop ends the answer that is shown, in every tab`, options, async () => {
      const tab = await open(newcomer());
      const sent = tab.chat.sendMessage({ text: "long" });
      await begun(tab);
      const second = await openTab(ai, tab, strict);
      const resumed = second.chat.resumeStream();
      await until(() => second.chat.messages.length === 2, "the second tab shows it");
      assert.equal(await second.transport.stop(tab.chatId), "stopping");
      await Promise.all([sent, resumed]);
      assert.deepEqual([tab.chat.status, second.chat.status], ["ready", "ready"]);
      assert.deepEqual(seen(second.chat.messages), seen(tab.chat.messages));
      assert.equal(await tab.transport.stop(tab.chatId), "nothing_runs");
      await assertReloadShowsTheSame(tab);
    });

    test(`${version}: questions are edited and answers written again, with cuts`, options, async () => {
      const cuts = await Cuts.open(APP, [{ blocks: 3 }, { blocks: 2 }, { blocks: 4 }, { blocks: 1 }]);
      const tab = await open(newcomer(), { base: cuts.url });
      await tab.chat.sendMessage({ text: "words 4" });
      await tab.chat.sendMessage({ text: "one" });
      await tab.chat.regenerate();
      assert.deepEqual(tab.errors, []);
      await assertReloadShowsTheSame(tab);
      await tab.chat.sendMessage({ text: "two", messageId: tab.chat.messages[2].id });
      assert.deepEqual(tab.errors, []);
      assert.equal(seen(tab.chat.messages).length, 4);
      await assertReloadShowsTheSame(tab);
      await tab.chat.sendMessage({ text: "words 2", messageId: tab.chat.messages[0].id });
      assert.equal(seen(tab.chat.messages).length, 2);
      await assertReloadShowsTheSame(tab);
      cuts.close();
    });

    if (FIRST.has(ai)) continue; // the first releases append a replay to what a tab has shown

    test(`${version}: a lost connection is an error after its bound, and a resume shows the whole answer`, options, async () => {
      const cuts = await Cuts.open(APP, [{ blocks: 12 }]);
      const tab = await open(newcomer(), { base: cuts.url });
      cuts.whenCut = () => (cuts.refusing = true);
      await tab.chat.sendMessage({ text: "tools" });
      assert.equal(tab.chat.status, "error");
      assert.ok(tab.errors[0] instanceof ConnectionLostError);
      assert.equal(tab.errors[0].attempts, reconnect.maxAttempts);
      assert.deepEqual(tab.reconnecting, [1, 2, 3, 4, 5, 6]);
      cuts.refusing = false;
      await tab.chat.resumeStream();
      assert.equal(tab.chat.status, "ready");
      const reloaded = await assertReloadShowsTheSame(tab);
      assert.equal(textOf(reloaded.chat.lastMessage), "It is 21° 🌊 there.");
      cuts.close();
    });

    test(`${version}: while the connection is lost, no part spins`, options, async () => {
      const cuts = await Cuts.open(APP, [{ blocks: 5 }]);
      const tab = await open(newcomer(), { base: cuts.url });
      cuts.whenCut = () => (cuts.refusing = true);
      await tab.chat.sendMessage({ text: "open" });
      assert.ok(tab.errors[0] instanceof ConnectionLostError);
      const [text, call] = seen(tab.chat.messages)[1].parts;
      assert.deepEqual([text.state, call.state], ["done", "output-error"]);
      cuts.refusing = false;
      const resumed = tab.chat.resumeStream();
      await until(() => tab.chat.lastMessage.parts[1]?.state === "input-streaming", "it goes on");
      await tab.transport.stop(tab.chatId);
      await resumed;
      await assertReloadShowsTheSame(tab);
      cuts.close();
    });
  }
});

const { "7.0.173": current } = RELEASES;

for (const [version, ai] of Object.entries(RELEASES)) {
  if (FIRST.has(ai)) continue;

  test(`${version}: a question whose answer was lost is sent again by its key, and answered once`, options, async () => {
    const cuts = await Cuts.open(APP, []);
    const tab = await openTab(ai, newcomer(), { base: cuts.url, reconnect: { maxAttempts: 0 } });
    cuts.loseReplies = 1;
    await tab.chat.sendMessage({ text: "words 3" });
    assert.ok(tab.errors[0] instanceof ConnectionLostError);
    await tab.transport.resend(tab.chat);
    assert.equal(tab.chat.status, "ready");
    assert.equal(textOf(tab.chat.lastMessage), "wörd0 wörd1 wörd2 ");
    const reloaded = await assertReloadShowsTheSame(tab);
    assert.equal(reloaded.chat.messages.length, 2);
    cuts.close();
  });

  test(`${version}: a question whose answer was lost is sent again by itself, within the bound`, options, async () => {
    const cuts = await Cuts.open(APP, []);
    const tab = await openTab(ai, newcomer(), { base: cuts.url });
    cuts.loseReplies = 2;
    await tab.chat.sendMessage({ text: "words 3" });
    assert.deepEqual(tab.errors, []);
    assert.deepEqual(tab.reconnecting, [1, 2]);
    await assertReloadShowsTheSame(tab);
    cuts.close();
  });

  test(`${version}: a tab that comes back never sends its question again`, options, async () => {
    const cuts = await Cuts.open(APP, []);
    const tab = await openTab(ai, newcomer(), { base: cuts.url });
    const sent = tab.chat.sendMessage({ text: "long" });
    await begun(tab);
    cuts.cut();
    await until(() => tab.reconnecting.length > 0, "it comes back");
    await tab.transport.stop(tab.chatId);
    await sent;
    assert.deepEqual(cuts.requests.filter((line) => line.startsWith("POST /api/chat ")).length, 1);
    await assertReloadShowsTheSame(tab);
    cuts.close();
  });

  test(`${version}: a used-up quota is a typed refusal, told once, and not asked again`, options, async () => {
    const cuts = await Cuts.open(APP, []);
    const tab = await openTab(ai, newcomer(), { base: cuts.url, routes: `${cuts.url}/api/chat`, api: `${cuts.url}/api/limited` });
    await tab.chat.sendMessage({ text: "one" });
    await tab.chat.sendMessage({ text: "two" });
    assert.deepEqual(tab.errors, []);
    await tab.chat.sendMessage({ text: "three" });
    const [error] = tab.errors;
    assert.ok(error instanceof RequestRefusedError);
    assert.deepEqual([error.code, error.status], ["quota_exceeded", 429]);
    assert.ok(error.retryAfterSeconds > 0);
    assert.deepEqual(tab.quotas, ["quota_exceeded"]);
    assert.equal(cuts.requests.filter((line) => line.startsWith("POST /api/limited ")).length, 3);
    assert.equal((await tab.transport.status(tab.chatId)).quota.limits[0].remaining, 0);
    cuts.close();
  });
}

test("a failed resume is an error, and nothing to resume is none", options, async () => {
  const tab = await openTab(current, newcomer(), { resume: true });
  assert.deepEqual([tab.chat.status, tab.errors], ["ready", []]);
  await tab.chat.sendMessage({ text: "words 2" });
  const stream = client.openStream({
    api: `${APP}/api/chat`,
    sessionId: tab.chatId,
    headers: { "x-user": tab.user },
    cursor: `1.${"0".repeat(24)}.7.5`,
    reconnect,
  });
  await assert.rejects(stream.open(), (error) => error instanceof ResumeFailedError && error.status === 410);
});

test("useChat's own stop stops the answer on the server, where it is to", options, async () => {
  const tab = await openTab(current, newcomer(), { stopOnAbort: true });
  void tab.chat.sendMessage({ text: "long" });
  await begun(tab);
  await tab.chat.stop();
  const last = async () => (await tab.transport.status(tab.chatId)).last;
  await until(async () => (await last()).outcome === "stopped", "it is stopped");
  await until(() => tab.chat.status === "ready", "the tab is ready");
});

test("a new question begins with nothing of the one before", options, async () => {
  const tab = await openTab(current, newcomer());
  const sent = tab.chat.sendMessage({ text: "long" });
  await begun(tab);
  const [question, old] = tab.chat.messages;
  await tab.chat.sendMessage({ text: "words 2", messageId: question.id });
  await sent;
  assert.deepEqual(tab.chat.messages.map(textOf), ["words 2", "wörd0 wörd1 "]);
  assert.notEqual(tab.chat.lastMessage.id, old.id);
  assert.deepEqual([tab.errors, tab.reconnecting, tab.faults], [[], [], []]);
  await assertReloadShowsTheSame(tab);
});

test("only the last message is sent, with fields of one's own", options, async () => {
  const tab = await openTab(current, newcomer(), {
    onlyLastMessage: true,
    body: () => ({ id: "is not replaced", model: "m" }),
    fetch: (url, init) => {
      if (init.method === "POST") bodies.push(JSON.parse(init.body));
      return fetch(url, init);
    },
  });
  const bodies = [];
  await tab.chat.sendMessage({ text: "one" });
  await tab.chat.sendMessage({ text: "two" }, { body: { temperature: 1 } });
  assert.deepEqual(tab.errors, []);
  const [, second] = bodies;
  assert.deepEqual([second.messages.length, second.id, second.model, second.temperature], [1, tab.chatId, "m", 1]);
  await assertReloadShowsTheSame(tab);
});

test("saved messages and their being saved are told", options, async () => {
  const tab = await openTab(current, newcomer());
  await tab.chat.sendMessage({ text: "one" });
  assert.deepEqual(tab.saved, [tab.chat.lastMessage.id]);
});
