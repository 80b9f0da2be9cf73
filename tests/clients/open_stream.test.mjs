// `streamguard-client` without AI SDK: its own reader, against tests/apps/client_chat.py and against answers that only a
// test can give.

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, test } from "node:test";
import { Cuts } from "./cuts.mjs";
import { APP, newcomer } from "./harness.mjs";
import { finish, refusing, scripted, start, streaming, who } from "./scripted.mjs";

const client = await import(process.env.STREAMGUARD_CLIENT);
const { AnswerFailedError, ConnectionLostError, EventSourceParser, ProtocolError, openStream, stopAnswer } = client;

const options = { timeout: 100_000 }; // for a test that hangs; a busy machine is no failure
const reconnect = { initialDelayMs: 1, maxDelayMs: 5, maxAttempts: 5 };

function asked({ user, chatId }, text, { base = APP, path = "/api/chat", ...more } = {}) {
  return openStream({
    api: base + path,
    routes: `${base}/api/chat`,
    sessionId: chatId,
    headers: { "x-user": user },
    question: { body: { id: chatId, messages: [{ id: "m1", role: "user", parts: [{ type: "text", text }] }] } },
    reconnect,
    ...more,
  });
}

const resumed = ({ user, chatId }, { base = APP, ...more } = {}) =>
  openStream({ api: `${base}/api/chat`, sessionId: chatId, headers: { "x-user": user }, reconnect, ...more });

async function all(stream, each = () => {}) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    await each(event, events);
  }
  return events;
}

const textOf = (events) => events.map(({ part }) => (part.type === "text-delta" ? part.delta : "")).join("");
const parts = (events) => events.map(({ part }) => part).filter(({ transient }) => !transient);

/** Parts without what names one answer. */
const anonymous = (events) => parts(events).map(({ messageId, ...part }) => part);

test("cut at random bytes, again and again, every part arrives once", options, async () => {
  const whole = await all(asked(newcomer(), "tools"));
  const ids = whole.map(({ id }) => id);
  let count = 0;
  assert.equal(new Set(ids).size, ids.length);
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let round = 0; round < 13; round += 1) {
        const plan = [2000, 200].map((most) => ({ bytes: Math.floor(Math.random() * most) }));
        const cuts = await Cuts.open(APP, plan);
        const stream = asked(newcomer(), "tools", { base: cuts.url });
        assert.deepEqual(anonymous(await all(stream)), anonymous(whole), JSON.stringify(plan));
        assert.equal(stream.outcome, "completed");
        count += cuts.count;
        cuts.close();
      }
    }),
  );
  assert.equal(count, 2 * 8 * 13);

});

test("several readers of one answer, from its start and from a cursor", options, async () => {
  const who = newcomer();
  const first = asked(who, "words 30");
  const others = [];
  const events = await all(first, async (_, seen) => {
    if (seen.length === 3) others.push(all(resumed(who)), all(resumed(who, { cursor: first.cursor })));
  });
  const [second, third] = await Promise.all(others);
  assert.deepEqual(parts(second), parts(events));
  assert.deepEqual(third, events.slice(3));
  assert.equal(first.messageId, events[0].part.messageId);
});

test("a reader that leaves comes back by its cursor", options, async () => {
  const who = newcomer();
  const first = asked(who, "words 20");
  const before = [];
  for await (const event of first) {
    before.push(event);
    if (before.length === 5) break;
  }
  const rest = await all(resumed(who, { cursor: first.cursor }));
  assert.equal(textOf([...before, ...rest]), Array.from({ length: 20 }, (_, n) => `wörd${n} `).join(""));
});

test("after a lost connection it is resumed, or asked again if nothing had arrived", options, async () => {
  const cuts = await Cuts.open(APP, [{ blocks: 4 }]);
  cuts.loseReplies = 1;
  const unheard = asked(newcomer(), "words 5", { base: cuts.url, reconnect: { maxAttempts: 0 } });
  await assert.rejects(all(unheard), ConnectionLostError);
  const cut = unheard.resume();
  const before = [];
  await assert.rejects(all(cut, (event) => before.push(event)), ConnectionLostError);
  assert.equal(before.length, 4);
  const rest = await all(cut.resume());
  assert.equal(textOf([...before, ...rest]), "wörd0 wörd1 wörd2 wörd3 wörd4 ");
  assert.equal(cuts.requests.filter((line) => line.startsWith("POST")).length, 2);
});

test("Stop by the stream's own name", options, async () => {
  const who = newcomer();
  const stream = asked(who, "long");
  let stopped;
  const events = await all(stream, async ({ part }) => {
    if (part.type === "text-delta") stopped = await stream.stop();
  });
  assert.deepEqual([stopped, stream.outcome, events.at(-1).type], ["stopping", "stopped", "abort"]);
  assert.equal(await stream.stop(), "nothing_runs");
  const stranger = { api: `${APP}/api/chat`, sessionId: who.chatId, streamId: stream.streamId };
  await assert.rejects(stopAnswer(stranger), { name: "RequestRefusedError", code: "unauthenticated", status: 401, retryable: false });
});

test("a failed answer throws after its last part", options, async () => {
  const told = [];
  const stream = asked(newcomer(), "fail", { onFault: (fault, { streamId }) => told.push([fault.code, streamId]) });
  const events = [];
  await assert.rejects(
    (async () => {
      for await (const event of stream) events.push(event);
    })(),
    (error) => error instanceof AnswerFailedError && error.code === "provider_error" && error.streamId === stream.streamId,
  );
  assert.ok(textOf(events).startsWith("It begins "));
  assert.deepEqual(told.filter(([code]) => code !== "persistence_pending"), [["provider_error", stream.streamId]]);
  assert.equal(stream.outcome, null);
});

test("a plain endpoint is read as the same parts", options, async () => {
  const cuts = await Cuts.open(APP, [{ blocks: 2 }, { blocks: 1 }]);
  const stream = asked(newcomer(), "words 6", { base: cuts.url, path: "/api/plain", protocol: "plain" });
  const events = await all(stream);
  assert.equal(textOf(events), "wörd0 wörd1 wörd2 wörd3 wörd4 wörd5 ");
  assert.deepEqual([stream.outcome, events.at(-1).part], ["completed", { type: "finish" }]);
  assert.equal(cuts.count, 2);
});

test("nothing to read is no error, and no event", options, async () => {
  const stream = resumed(newcomer());
  assert.equal(await stream.open(), false);
  assert.deepEqual(await all(stream), []);
  assert.equal(stream.outcome, "nothing");
});

test("an aborted signal ends the iteration with its reason, and close() without one", options, async () => {
  const controller = new AbortController();
  const aborted = asked(newcomer(), "long", { signal: controller.signal });
  await assert.rejects(all(aborted, ({ part }) => part.type === "text-delta" && controller.abort()), { name: "AbortError" });
  const closed = asked(newcomer(), "long");
  const events = await all(closed, ({ part }) => part.type === "text-delta" && closed.close());
  assert.equal(textOf(events), "It goes on ");
});

// -- answers that only a test can give ---------------------------------------------------------------------------------

describe("refusals", () => {
  for (const [status, code] of [[400, "cursor_invalid"], [401, "unauthenticated"], [403, "forbidden_origin"], [404, "not_found"],
    [409, "resume_failed"], [410, "resume_failed"], [413, "payload_too_large"]]) {
    test(`${status} ${code} is final: one request, one typed error`, options, async () => {
      const { base, seen } = await scripted(refusing(status, code));
      const error = await resumed(who, { base }).open().then(assert.fail, (reason) => reason);
      assert.deepEqual([error.code, error.status, error.retryable, error.sessionId], [code, status, false, "c/1"]);
      assert.equal(error instanceof client.ResumeFailedError, code === "resume_failed" || code === "cursor_invalid");
      assert.equal(seen.length, 1);
      assert.ok(seen[0].url.startsWith("/api/chat/c%2F1/stream?"));
    });
  }

  test("429 and 503 are asked again after Retry-After, within the bound", options, async () => {
    const told = [];
    const wait = { retryable: true, headers: { "retry-after": "1" } };
    const { base, seen } = await scripted(refusing(503, "store_unavailable", wait), refusing(429, "limit_rate", wait), streaming(start + finish));
    const onReconnect = ({ attempt, cause }) => told.push([attempt, cause.code]);
    const onReconnected = ({ streamId }) => told.push(streamId);
    const events = await all(resumed(who, { base, onReconnect, onReconnected }));
    assert.equal(events.length, 2);
    assert.equal(seen.length, 3);
    assert.deepEqual(told, [[1, "store_unavailable"], [2, "limit_rate"], "s1"]);
    for (const index of [1, 2]) assert.ok(seen[index].at - seen[index - 1].at >= 990);
  });

  test("a 503 that stays is the server's own error, after the bound", options, async () => {
    const { base, seen } = await scripted(refusing(503, "store_unavailable", { retryable: true }));
    await assert.rejects(resumed(who, { base }).open(), { name: "RequestRefusedError", code: "store_unavailable", retryable: true });
    assert.equal(seen.length, 1 + reconnect.maxAttempts);
  });

  test("a server that asks to wait for an hour is not waited for", options, async () => {
    const { base, seen } = await scripted(refusing(429, "limit_rate", { retryable: true, headers: { "retry-after": "3600" } }));
    await assert.rejects(resumed(who, { base }).open(), { code: "limit_rate", retryAfterSeconds: 3600 });
    assert.equal(seen.length, 1);
  });

  test("a proxy's page is an error by its status", options, async () => {
    const { base } = await scripted(refusing(404, null));
    await assert.rejects(resumed(who, { base }).open(), { code: "http_404", fault: null });
  });

  for (const status of [409, 429, 500, 503]) {
    test(`a question that is refused with ${status} is not sent again`, options, async () => {
      const { base, seen } = await scripted(refusing(status, "limit_streams", { retryable: true }));
      await assert.rejects(asked(who, "one", { base }).open(), { status });
      assert.equal(seen.length, 1);
      assert.match(seen[0].headers["idempotency-key"], /^[0-9a-f-]{36}$/);
    });
  }

  test("JSON with status 200, and a part that is none, are protocol errors", options, async () => {
    const { base } = await scripted((response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end("{}");
    });
    await assert.rejects(resumed(who, { base }).open(), ProtocolError);
    const broken = await scripted(streaming("data: nonsense\n\n"));
    await assert.rejects(all(resumed(who, { base: broken.base })), ProtocolError);
  });
});

describe("ends", () => {
  test("a clean end of the connection in mid-answer is a cut, never success", options, async () => {
    const { base, seen } = await scripted(streaming(start));
    await assert.rejects(all(resumed(who, { base })), ConnectionLostError);
    assert.equal(seen.length, 1 + reconnect.maxAttempts);
    assert.equal(seen[1].headers["last-event-id"], "1.s.1.1");
  });

  test("204 to a cursor: all was seen, only the end was cut off", options, async () => {
    const { base } = await scripted(streaming(start), (response) => response.writeHead(204).end());
    const told = [];
    const stream = resumed(who, { base, onReconnect: () => told.push("cut"), onReconnected: () => told.push("again") });
    assert.equal((await all(stream)).length, 1);
    assert.deepEqual([stream.outcome, told], ["completed", ["cut", "again"]]);
  });

  test("a callback that throws ends nothing", options, async (t) => {
    const said = t.mock.method(console, "error", () => {});
    const fault = { code: "not_resumable", severity: "warning", phase: "resume", message: "x", fault_id: "f" };
    const notice = `data: ${JSON.stringify({ type: "data-streamguard-error", id: "f", data: fault })}\n\n`;
    const { base } = await scripted(streaming(start + notice + notice + finish));
    const onFault = t.mock.fn(() => assert.fail("the page's own mistake"));
    assert.equal((await all(resumed(who, { base, onFault }))).length, 4);
    assert.deepEqual([onFault.mock.callCount(), said.mock.callCount()], [1, 1]);
  });

  test("an upstream's parts may end without [DONE]", options, async () => {
    const { base, seen } = await scripted(streaming(`${start}data: {"type":"finish"}\n\n`));
    await all(resumed(who, { base }));
    assert.equal(seen.length, 1);
  });

  test("a silent connection counts as broken", options, async () => {
    const { base, seen } = await scripted(streaming(start, { end: false }), streaming(finish));
    await all(resumed(who, { base, reconnect: { ...reconnect, idleTimeoutMs: 500 } }));
    assert.equal(seen.length, 2);
  });

  test("events of a provider are passed on, and streamguard's error among them is one", options, async () => {
    const fault = { type: "streamguard_error", code: "interrupted", message: "Cut.", severity: "fatal", retryable: true, fault_id: "f" };
    const error = `event: error\ndata: ${JSON.stringify({ type: "error", error: fault })}\n\n`;
    const { base } = await scripted(streaming(`event: delta\ndata: {"x":1}\n\ndata: [DONE]\n\n`, { ui: false }), streaming(`data: {"x":2}\n\n${error}`, { ui: false }));
    const events = await all(resumed(who, { base }));
    assert.deepEqual(events, [{ id: null, type: "message", part: { type: "message", event: "delta", data: { x: 1 } } }]);
    await assert.rejects(all(resumed(who, { base })), { name: "AnswerFailedError", code: "interrupted", retryable: true });
  });

  test("without ids, a replay is told from what was seen", options, async () => {
    const text = 'data: {"type":"start"}\n\ndata: {"type":"text-start","id":"t"}\n\n';
    const { base } = await scripted(streaming(text), streaming(text + finish));
    const events = await all(asked(who, "one", { base }));
    assert.deepEqual(events.map(({ type }) => type), ["start", "text-start", "finish"]);
  });
});

describe("what an attempt may cost", () => {
  const notResumable = { "x-streamguard-notice": "not_resumable" };
  const unlogged = (response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "x-vercel-ai-ui-message-stream": "v1", "x-stream-id": "s1", ...notResumable });
    response.write('data: {"type":"start"}\n\n', () => response.destroy());
  };

  test("an answer that is in no log is not asked for a second time", options, async () => {
    const { base, seen } = await scripted(unlogged, streaming(finish));
    await assert.rejects(all(asked(who, "one", { base })), { name: "ResumeFailedError", code: "not_resumable" });
    assert.equal(seen.length, 1);
  });

  test("204 without a cursor, after a cut: the answer is gone, not complete", options, async () => {
    const { base, seen } = await scripted(streaming(": hb\n"), (response) => response.writeHead(204).end());
    const stream = resumed(who, { base });
    await assert.rejects(all(stream), { name: "ResumeFailedError", code: "resume_failed" });
    assert.deepEqual([stream.outcome, seen.length], [null, 2]);
  });

  test("a log that cannot be read for a while is read again, and one that is gone is an error", options, async () => {
    const told = [];
    const fault = { code: "store_unavailable", phase: "resume", severity: "fatal", message: "Away.", fault_id: "f", retryable: true, status: 503 };
    const part = (data) => `data: ${JSON.stringify({ type: "data-streamguard-error", id: "f", transient: true, data })}\n\n`;
    const broken = (data) => `${start}${part(data)}data: {"type":"error","errorText":"x"}\n\ndata: [DONE]\n\n`;
    const onFault = ({ code }) => told.push(code);
    const { base, seen } = await scripted(streaming(broken(fault)), streaming(finish));
    const events = await all(resumed(who, { base, onFault }));
    assert.deepEqual([events.map(({ type }) => type), told, seen.length], [["start", "finish"], [], 2]);
    const away = await scripted(streaming(broken(fault)));
    await assert.rejects(all(resumed(who, { base: away.base, onFault })), { name: "RequestRefusedError", code: "store_unavailable" });
    assert.deepEqual([told, away.seen.length], [["store_unavailable"], 1 + reconnect.maxAttempts]);
    const gone = await scripted(streaming(broken({ ...fault, code: "resume_failed" })));
    await assert.rejects(all(resumed(who, { base: gone.base })), { name: "ResumeFailedError" });
    assert.equal(gone.seen.length, 1);
  });

  test("events with ids of an upstream's own are not repeated, and are no cursor", options, async () => {
    const foreign = 'id: 2\ndata: {"type":"start-step"}\n\n';
    const { base, seen } = await scripted(streaming(start + foreign), streaming(foreign + finish));
    const events = await all(resumed(who, { base }));
    assert.deepEqual(events.map(({ type }) => type), ["start", "start-step", "finish"]);
    assert.equal(seen[1].headers["last-event-id"], "1.s.1.1");
  });

  test("bounds that are not given are the defaults, and infinite ones never pass", options, async () => {
    const { base } = await scripted(streaming(start, { end: false }));
    const stream = resumed(who, { base, reconnect: { maxAttempts: 0, idleTimeoutMs: Infinity } });
    assert.equal((await all(stream, () => stream.close())).length, 1);
    const cut = await scripted((response) => response.destroy());
    const told = [];
    const onReconnect = (how) => (told.push(how), unset.close());
    const unset = resumed(who, { base: cut.base, reconnect: { maxAttempts: undefined, initialDelayMs: undefined }, onReconnect });
    await assert.rejects(unset.open(), { name: "AbortError" });
    assert.equal(told[0].maxAttempts, 8);
    assert.ok(told[0].delayMs >= 150 && told[0].delayMs <= 300);
    assert.throws(() => resumed(who, { base, reconnect: { maxAttempts: NaN } }), RangeError);
  });

  test("a request that there cannot be is an error at once", options, async () => {
    await assert.rejects(resumed({ user: "u", chatId: ".." }).open(), { name: "StreamguardError", code: "session_invalid" });
    const circular = {};
    circular.body = circular;
    const stream = openStream({ api: APP, sessionId: "c", question: { body: circular }, reconnect });
    await assert.rejects(stream.open(), { code: "request_invalid" });
  });

  test("headers that cannot be had are asked for again, unless there will be none", options, async () => {
    let asked = 0;
    const failing = (error) => resumed({ user: "u", chatId: "c" }, { headers: () => ((asked += 1), Promise.reject(error)) });
    await assert.rejects(failing(new TypeError("no network")).open(), { name: "ConnectionLostError" });
    assert.equal(asked, 1 + reconnect.maxAttempts);
    asked = 0;
    const signedOut = new client.StreamguardError("unauthenticated", "Please sign in.");
    await assert.rejects(failing(signedOut).open(), (error) => error === signedOut);
    assert.equal(asked, 1);
  });

  test("the body of a refusal that never ends is not waited for", options, async () => {
    const { base } = await scripted((response) => response.writeHead(403).write("<html>"));
    await assert.rejects(resumed(who, { base, reconnect: { ...reconnect, idleTimeoutMs: 100 } }).open(), { code: "http_403" });
  });

  test("a browser of 2022, and a page without TLS, lack two functions", options, async (t) => {
    const size = Object.getOwnPropertyDescriptor(URLSearchParams.prototype, "size");
    delete URLSearchParams.prototype.size;
    Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
    t.after(() => (Object.defineProperty(URLSearchParams.prototype, "size", size), delete crypto.randomUUID));
    const { base, seen } = await scripted(streaming(start + finish));
    await all(asked(who, "one", { base }));
    await all(resumed(who, { base }));
    assert.match(seen[0].headers["idempotency-key"], /^[0-9a-f]{32}$/);
    assert.ok(seen[1].url.endsWith("/stream?ids=1"));
  });

  test("a plain endpoint that was not named does not pass for one that succeeds", options, async () => {
    const end = 'event: streamguard.end\ndata: {"outcome":"failed"}\n\n';
    const { base } = await scripted(streaming(`data: half\n\n${end}`, { ui: false }));
    await assert.rejects(all(resumed(who, { base })), AnswerFailedError);
  });

  test("a signal is let go of when nothing follows, and an aborted one ends no further stream", options, async () => {
    const { signal } = new AbortController();
    const listeners = () => getEventListeners(signal, "abort").length;
    const { base } = await scripted((response) => response.writeHead(204).end(), refusing(403, "forbidden_origin"), streaming(start + finish));
    assert.equal(await resumed(who, { base, signal }).open(), false);
    await assert.rejects(resumed(who, { base, signal }).open(), { status: 403 });
    assert.equal(listeners(), 0);
    await all(resumed(who, { base, signal }));
    assert.equal(listeners(), 0);

    const controller = new AbortController();
    const long = await scripted(streaming(start, { end: false }), streaming(finish));
    const left = resumed(who, { base: long.base, signal: controller.signal });
    await assert.rejects(all(left, () => controller.abort()), { name: "AbortError" });
    assert.deepEqual((await all(left.resume())).map(({ type }) => type), ["finish"]);
  });

  test("a page in place of JSON is a protocol error", options, async () => {
    const { base } = await scripted((response) => response.writeHead(200, { "content-type": "text/html" }).end("<html>"));
    for (const ask of [client.sessionStatus, client.savedMessages]) {
      await assert.rejects(ask({ api: `${base}/api/chat`, sessionId: "c" }), ProtocolError);
    }
  });

  test("so is JSON of something else", options, async () => {
    for (const messages of [null, {}, [null], ["m1"]]) {
      const { base } = await scripted((response) => response.writeHead(200).end(JSON.stringify({ messages, next: null })));
      await assert.rejects(client.savedMessages({ api: `${base}/api/chat`, sessionId: "c" }), ProtocolError);
    }
  });
});

describe("the transport's answers", () => {
  const asking = { trigger: "submit-message", chatId: "c", messageId: undefined, messages: [], abortSignal: undefined };

  async function chunks(stream) {
    const read = [];
    const failure = await stream.pipeTo(new WritableStream({ write: (chunk) => void read.push(chunk.type) })).catch((error) => error);
    return [read, failure];
  }

  test("one that is resumed late does not take the place of a newer question", options, async () => {
    let asked, answer;
    const held = new Promise((resolve) => (asked = resolve));
    const { base } = await scripted(
      (response) => ((answer = () => streaming(start + finish)(response)), asked()),
      (response) => (response.writeHead(200, { "content-type": "text/event-stream", "x-stream-id": "s2" }), response.write(start)),
    );
    const transport = new client.StreamguardTransport({ api: `${base}/api/chat`, reconnect });
    const late = transport.reconnectToStream({ chatId: "c" });
    await held;
    const stream = await transport.sendMessages(asking);
    answer();
    assert.equal(await late, null);
    assert.equal(transport.streamId("c"), "s2");
    await stream.cancel();
  });

  test("a resend that does not reach it is not made up for by a later resume", options, async () => {
    const { base, seen } = await scripted(streaming(start, { end: false }), streaming(start + finish));
    const transport = new client.StreamguardTransport({ api: `${base}/api/chat`, reconnect });
    await transport.sendMessages(asking);
    await transport.resend({ id: "c", resumeStream: async () => {} });
    await (await transport.reconnectToStream({ chatId: "c", abortSignal: undefined })).cancel();
    assert.deepEqual(seen.map(({ method }) => method), ["POST", "GET"]);
  });

  test("after a cursor that is refused for good, the next resume is one without", options, async () => {
    const { base, seen } = await scripted(streaming(start), refusing(410, "resume_failed"), streaming(start + finish));
    const transport = new client.StreamguardTransport({ api: `${base}/api/chat`, reconnect: { maxAttempts: 0 } });
    await chunks(await transport.sendMessages(asking));
    const again = () => transport.reconnectToStream({ chatId: "c", abortSignal: undefined });
    await assert.rejects(again(), { name: "ResumeFailedError" });
    assert.deepEqual(await chunks(await again()), [["start", "finish"], undefined]);
    assert.deepEqual(seen.map(({ headers }) => headers["last-event-id"]), [undefined, "1.s.1.1", undefined]);
  });

  test("what a page gets again after a lost connection is as little as it can be", options, async () => {
    const part = (number, value) => `id: 1.s.1.${number}\ndata: ${JSON.stringify(value)}\n\n`;
    const deltas = (from, id, count) => Array.from({ length: count }, (_, n) => part(from + n, { type: "text-delta", id, delta: `${n} ` })).join("");
    const call = [1, 2].map((n) => part(70 + n, { type: "tool-input-delta", toolCallId: "c", inputTextDelta: `${n}` })).join("");
    const { base } = await scripted(streaming(start + deltas(2, "a", 30) + deltas(40, "b", 20) + call), streaming(finish));
    const transport = new client.StreamguardTransport({ api: `${base}/api/chat`, reconnect: { maxAttempts: 0 } });
    await chunks(await transport.sendMessages(asking));
    const texts = [];
    const again = await transport.reconnectToStream({ chatId: "c", abortSignal: undefined });
    for await (const { id, delta, inputTextDelta } of again) texts.push([id, delta ?? inputTextDelta]);
    const said = (count) => Array.from({ length: count }, (_, n) => `${n} `).join("");
    assert.deepEqual(texts.slice(1, 4), [["a", said(30)], ["b", said(20)], [undefined, "12"]]);
  });

  test("when all of one was seen, a call that waits for the page's own tool goes on waiting", options, async () => {
    const call = 'id: 1.s.1.2\ndata: {"type":"tool-input-available","toolCallId":"t","toolName":"ask","input":{}}\n\n';
    const { base } = await scripted(streaming(start + call), (response) => response.writeHead(204).end());
    const transport = new client.StreamguardTransport({ api: `${base}/api/chat`, reconnect: { maxAttempts: 0 } });
    const [, lost] = await chunks(await transport.sendMessages(asking));
    assert.ok(lost instanceof ConnectionLostError);
    const again = await chunks(await transport.reconnectToStream({ chatId: "c", abortSignal: undefined }));
    assert.deepEqual(again, [["start", "tool-input-available"], undefined]);
  });
});

// -- the parser --------------------------------------------------------------------------------------------------------

const bytes = (text) => new TextEncoder().encode(text);

function parse(chunks) {
  const parser = new EventSourceParser();
  return { events: chunks.flatMap((chunk) => parser.push(chunk)), retryMs: parser.retryMs };
}

test("events are the same wherever the bytes are split, whatever ends their lines", options, () => {
  const lines = ["\uFEFF: comment \0", "id: 1", "data: é東🌊", "", "event: x", "data", "data:  two", "retry: 70", "retry: 7x", "", "id: a\0b",
    "data:\u2028", "", ": hb", "id: 3", "data: {}", "nonsense: 1", "", "", "data: never ended"];
  const expected = [
    { id: "1", event: "message", data: "é東🌊" },
    { id: null, event: "x", data: "\n two" },
    { id: null, event: "message", data: "\u2028" },
    { id: "3", event: "message", data: "{}" },
  ];
  for (const end of ["\n", "\r", "\r\n"]) {
    const whole = bytes(lines.join(end));
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const { events, retryMs } = parse([whole.subarray(0, cut), whole.subarray(cut)]);
      assert.deepEqual([events, retryMs], [expected, 70], `${JSON.stringify(end)} at ${cut}`);
    }
    assert.deepEqual(parse(Array.from(whole, (byte) => new Uint8Array([byte]))).events, expected);
  }
});

test("a second byte order mark is part of a field's name", options, () => {
  assert.deepEqual(parse([bytes("\uFEFF\uFEFFdata: a\n\ndata: b\n\n")]).events.map(({ data }) => data), ["b"]);
});

test("a line without an end is bounded, and read in linear time", options, () => {
  const parser = new EventSourceParser();
  const chunk = new Uint8Array(65_536).fill(120);
  parser.push(bytes("data: "));
  for (let count = 0; count < 255; count += 1) assert.deepEqual(parser.push(chunk), []);
  assert.throws(() => [parser.push(chunk), parser.push(chunk)], ProtocolError);
});
