// What `streamguard-client` makes of its connections: clean ends, silence, a `fetch` of one's own, clocks, a Stop without room.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "./harness.mjs";
import { finish, refusing, scripted, start, streaming, who } from "./scripted.mjs";

const client = await import(process.env.STREAMGUARD_CLIENT);
const { AnswerFailedError, ConnectionLostError, openStream, sessionStatus, stopAnswer } = client;

const options = { timeout: 60_000 }; // for a test that hangs; a busy machine is no failure
const reconnect = { initialDelayMs: 1, maxDelayMs: 5, maxAttempts: 3 };
const ours = (base, more = {}) => openStream({ api: `${base}/api/chat`, sessionId: who.chatId, reconnect, ...more });
const question = { body: { id: who.chatId, messages: [] } };
const withoutCursor = start.replace(/^id.*\n/, "");

/** A page to be in, until the test is over. */
function pageOf(t, { visibilityState = "visible", location } = {}) {
  const page = Object.assign(new EventTarget(), { visibilityState, baseURI: "http://page.test/" });
  Object.assign(globalThis, { document: page, window: new EventTarget(), location });
  t.after(() => (delete globalThis.document, delete globalThis.window, delete globalThis.location));
  return page;
}

async function all(stream, each = () => {}) {
  const events = [];
  for await (const event of stream) events.push(event), await each(event);
  return events;
}

describe("a clean end of what an upstream sends", () => {
  const block = (number, data = `{"n":${number}}`) => `id: 1.s.1.${number}\ndata: ${data}\n\n`;
  const passedOn = (text) => streaming(text, { ui: false });
  const empty = (response) => response.writeHead(204).end();
  const status = (outcome, stream_id = "s1") => (response) =>
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ session_id: "c", active: null, last: { stream_id, outcome } }));
  const numbers = (events) => events.map(({ part }) => part.data.n);

  test("is asked about: what follows arrives, and the server says how it ended", options, async () => {
    const { base, seen } = await scripted(passedOn(block(1)), passedOn(block(2)), empty, status("stopped"));
    const told = [];
    const stream = ours(base, { question, onReconnect: () => told.push("cut") });
    assert.deepEqual(numbers(await all(stream)), [1, 2]);
    assert.deepEqual([stream.outcome, told], ["stopped", []]);
    const paths = seen.map(({ method, url }) => `${method} ${url}`);
    assert.deepEqual(paths, ["POST /api/chat?ids=1", ...Array(2).fill("GET /api/chat/c%2F1/stream?ids=1"), "GET /api/chat/c%2F1"]);
    assert.deepEqual(seen.map(({ headers }) => headers["last-event-id"]), [undefined, "1.s.1.1", "1.s.1.2", undefined]);
  });

  test("of an answer that failed, or was interrupted, is no success", options, async () => {
    for (const outcome of ["failed", "interrupted"]) {
      const { base } = await scripted(passedOn(block(1)), empty, status(outcome));
      await assert.rejects(all(ours(base)), AnswerFailedError);
    }
    const { base, seen } = await scripted(passedOn(`${block(1)}event: error\ndata: {"error":{"message":"Overloaded"}}\n\n`), empty, refusing(503, null));
    const events = [];
    await assert.rejects(all(ours(base), (event) => events.push(event)), { name: "AnswerFailedError", message: "Overloaded" });
    assert.deepEqual([events.length, seen.length], [2, 3]);
  });

  test("is one where the server cannot be asked, and a cut where the answer is being written", options, async () => {
    const unknown = await scripted(passedOn(block(1)), empty, refusing(404, null));
    const stream = ours(unknown.base);
    assert.equal((await all(stream)).length, 1);
    assert.equal(stream.outcome, "completed");
    const { base, seen } = await scripted(passedOn(block(1)), (response, { url }) => (url.includes("/stream") ? passedOn("") : status(null))(response));
    await assert.rejects(all(ours(base)), ConnectionLostError);
    assert.equal(seen.filter(({ url }) => url.includes("/stream")).length, 2 + reconnect.maxAttempts);
  });

  test("without cursors needs no second reading, and without a guard no question", options, async () => {
    const { base, seen } = await scripted(passedOn('data: {"n":1}\n\n'), status("completed"));
    assert.deepEqual(numbers(await all(ours(base))), [1]);
    assert.equal(seen.length, 2);
    const bare = await scripted((response) => response.writeHead(200, { "content-type": "text/event-stream" }).end('data: {"n":1}\n\n'));
    assert.deepEqual(numbers(await all(ours(bare.base))), [1]);
    assert.equal(bare.seen.length, 1);
  });

  test("after a provider's last event is the end; `[DONE]` among a model's words is not", options, async () => {
    for (const last of ["event: message_stop\ndata: {}\n\n", "event: response.completed\ndata: {}\n\n", "data: [DONE]\n\n"]) {
      const { base, seen } = await scripted(passedOn(block(1) + last));
      await all(ours(base));
      assert.equal(seen.length, 1);
    }
    const { base } = await scripted(passedOn("data: say\n\ndata: [DONE]\n\ndata: twice\n\n"), status("completed"));
    assert.deepEqual((await all(ours(base))).map(({ part }) => part.data), ["say", "[DONE]", "twice"]);
  });

  test("notices come as comments, and what they say of the failure is kept", options, async () => {
    const fault = (code, severity, more) => ({ code, severity, phase: "provider", message: code, fault_id: code, ...more });
    const comment = (value) => `: streamguard ${JSON.stringify(value)}\n`;
    const error = JSON.stringify({ error: { type: "streamguard_error", code: "provider_timeout", message: "Slow." } });
    const told = [];
    const { base } = await scripted(
      passedOn(
        block(1) + comment(fault("persistence_pending", "warning")) + comment(fault("provider_timeout", "fatal", { retryable: true })) +
          `id: 1.s.1.2\nevent: error\ndata: ${error}\n\n`,
      ),
    );
    const failed = { name: "AnswerFailedError", code: "provider_timeout", retryable: true };
    await assert.rejects(all(ours(base, { onFault: ({ code }) => told.push(code) })), failed);
    assert.deepEqual(told, ["persistence_pending", "provider_timeout"]);
  });
});

describe("a fetch that takes no notice of its signal", () => {
  const deaf = (first, then = fetch) => {
    const calls = [];
    const own = (url, { signal: _, ...init }) => (calls.push(url), calls.length === 1 ? first(url, init) : then(url, init));
    return { fetch: own, calls };
  };
  const silent = { ...reconnect, idleTimeoutMs: 200 };

  test("does not outlast the silence: neither before the response nor in it", options, async () => {
    const { base, seen } = await scripted(streaming(start + finish));
    const never = deaf(() => new Promise(() => {}));
    assert.equal((await all(ours(base, { fetch: never.fetch, reconnect: silent }))).length, 2);
    assert.equal(never.calls.length, 2);
    const cancelled = [];
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode(start)),
      cancel: (reason) => void cancelled.push(reason),
    });
    const headers = { "content-type": "text/event-stream", "x-vercel-ai-ui-message-stream": "v1" };
    const stuck = deaf(async () => new Response(body, { headers }));
    assert.deepEqual((await all(ours(base, { fetch: stuck.fetch, reconnect: silent }))).map(({ type }) => type), ["start", "finish"]);
    assert.equal(cancelled.length, 1);
    assert.equal(seen.length, 2);
  });

  test("is let go of by an abort, a break and close(), with its body", options, async () => {
    for (const leave of ["abort", "break", "close"]) {
      const controller = new AbortController();
      let cancelled = 0;
      const body = () => new ReadableStream({ start: (it) => it.enqueue(new TextEncoder().encode(start)), cancel: () => void (cancelled += 1) });
      const own = async () => new Response(body(), { headers: { "content-type": "text/event-stream", "x-vercel-ai-ui-message-stream": "v1" } });
      const stream = ours("http://nowhere.test", { fetch: own, signal: controller.signal });
      const reading = (async () => {
        for await (const _ of stream) {
          if (leave === "break") break;
          setImmediate(() => (leave === "abort" ? controller.abort() : stream.close()));
        }
      })();
      if (leave === "abort") await assert.rejects(reading, { name: "AbortError" });
      else await reading;
      assert.equal(cancelled, 1, leave);
    }
  });

  test("a response that comes too late is not kept open", options, async () => {
    let cancelled = 0;
    let answer;
    const late = deaf(() => new Promise((resolve) => (answer = resolve)));
    const stream = ours((await scripted(streaming(start + finish))).base, { fetch: late.fetch, reconnect: silent });
    await all(stream);
    answer(new Response(new ReadableStream({ cancel: () => void (cancelled += 1) })));
    await until(() => cancelled === 1, "its body is cancelled");
  });

  test("does not hold a Stop or a status whose caller has left", options, async () => {
    const own = () => new Promise(() => {});
    for (const ask of [stopAnswer, sessionStatus]) {
      const controller = new AbortController();
      const asking = ask({ sessionId: "c", fetch: own, signal: controller.signal });
      controller.abort();
      await assert.rejects(asking, { name: "AbortError" });
      await assert.rejects(ask({ sessionId: "c", fetch: assert.fail, signal: controller.signal }), { name: "AbortError" });
    }
  });

  test("pages of messages that lead nowhere end", options, async () => {
    const { base, seen } = await scripted((response) =>
      response.writeHead(200, { "content-type": "application/json" }).end('{"messages": [], "next": 2}'),
    );
    await assert.rejects(client.savedMessages({ api: `${base}/api/chat`, sessionId: "c" }), { name: "ProtocolError" });
    assert.equal(seen.length, 2);
  });

  test("an endless refusal is its status, after a megabyte", options, async () => {
    const endless = () => new ReadableStream({ pull: (it) => it.enqueue(new Uint8Array(65_536)) });
    const own = async () => new Response(endless(), { status: 403 });
    await assert.rejects(ours("http://nowhere.test", { fetch: own }).open(), { code: "http_403" });
    await assert.rejects(sessionStatus({ sessionId: "c", fetch: own }), { code: "http_403" });
  });
});

test("a request that there cannot be is an error at once, and no lost connection", options, async () => {
  const invalid = { name: "StreamguardError", code: "request_invalid" };
  const onReconnect = () => assert.fail("it is not tried again");
  await assert.rejects(openStream({ sessionId: "c", onReconnect }).open(), invalid); // "/api/chat", of no page
  await assert.rejects(ours("http://nowhere.test", { headers: { "x-name": "東" }, onReconnect }).open(), invalid);
  for (const wrong of [{ body: undefined }, { body: () => {} }, { body: {}, headers: { "a b": "c" } }]) {
    await assert.rejects(ours("http://nowhere.test", { question: wrong, onReconnect }).open(), invalid);
  }
  await assert.rejects(sessionStatus({ sessionId: "c" }), invalid);
});

describe("time", () => {
  test("a date in Retry-After is read by the server's clock, and nonsense is none", options, async () => {
    const date = (milliseconds) => new Date(milliseconds).toUTCString();
    const server = Date.now() + 3_600_000;
    const asking = (value) => refusing(503, "store_unavailable", { retryable: true, headers: { date: date(server), "retry-after": value } });
    for (const [value, seconds] of [[date(server + 2000), 2], [date(server - 9000), 0], ["-1", undefined], ["1.5", undefined], ["soon", undefined], ["9".repeat(400), Infinity]]) {
      const { base } = await scripted(asking(value));
      await assert.rejects(ours(base, { reconnect: { maxAttempts: 0 } }).open(), { retryAfterSeconds: seconds }, value);
    }
  });

  test("a keep-alive is a sign of life: a slow answer behind a proxy that cuts is not given up", options, async () => {
    const quiet = Array(6).fill(streaming(": hb\n"));
    const { base } = await scripted(streaming(start), ...quiet, streaming(finish));
    assert.equal((await all(ours(base))).length, 2);
  });

  test("a device that slept through the silence finds out when the page is shown", options, async (t) => {
    const page = pageOf(t);
    const { base, seen } = await scripted(streaming(start, { end: false }), streaming(finish));
    const reading = all(ours(base, { reconnect: { ...reconnect, maxHiddenConnections: Infinity } }));
    await until(() => seen.length === 1, "it is read");
    page.dispatchEvent(new Event("visibilitychange"));
    window.dispatchEvent(new Event("online"));
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(seen.length, 1);
    const now = Date.now;
    t.mock.method(Date, "now", () => now() + 46_000);
    page.dispatchEvent(new Event("visibilitychange"));
    assert.equal((await reading).length, 2);
    assert.equal(seen.length, 2);
  });
});

describe("Stop", () => {
  test("gets the place of its stream's own connection, if it is not answered", options, async () => {
    let room;
    const open = (response) => (streaming(start, { end: false })(response), response.on("close", () => room()));
    const { base, seen } = await scripted(
      open,
      (response) => (room = () => response.writeHead(202).end("{}")),
      streaming('data: {"type":"abort"}\n\ndata: [DONE]\n\n'),
    );
    const stream = ours(base, { reconnect: { maxAttempts: 0 } });
    let stopped;
    const events = await all(stream, ({ type }) => void (stopped ??= type === "start" ? stream.stop() : undefined));
    assert.equal(await stopped, "stopping");
    assert.deepEqual([events.map(({ type }) => type), stream.outcome], [["start", "abort"], "stopped"]);
    assert.equal(seen[2].headers["last-event-id"], "1.s.1.1");
  });

  test("gets another's place where its own answer could not be resumed", options, async () => {
    let room, first, stopped;
    const { base, seen } = await scripted(
      (response) => (streaming(withoutCursor, { end: false })(response), (first = response)),
      (response) => (streaming(start, { end: false })(response), response.on("close", () => room())),
      (response) => (room = () => (response.writeHead(202).end("{}"), first.end(finish))),
      streaming(finish),
    );
    const [stream, another] = [ours(base), ours(base)];
    await stream.open();
    const beside = all(another, () => void (stopped ??= stream.stop()));
    assert.deepEqual([(await all(stream)).length, (await beside).length, await stopped], [2, 2, "stopping"]);
    assert.equal(seen[3].headers["last-event-id"], "1.s.1.1");
  });

  test("that nobody answers holds a stream for so long as silence may last, and not when it is left", options, async () => {
    let isGivenUp = false;
    const open = (response) => (streaming(start, { end: false })(response), response.on("close", () => (isGivenUp = true)));
    const left = await scripted(open, () => {});
    const stream = ours(left.base);
    const reading = all(stream, () => void stream.stop().catch(() => {}));
    await until(() => isGivenUp, "its connection is given up");
    stream.close();
    assert.equal((await reading).length, 1);
    const { base, seen } = await scripted(open, () => {}, streaming(finish));
    const patient = ours(base, { reconnect: { ...reconnect, idleTimeoutMs: 1500 } });
    const events = await all(patient, ({ type }) => void (type === "start" && patient.stop().catch(() => {})));
    assert.deepEqual([events.length, seen.length], [2, 3]);
  });

  const late = (text) => {
    let first;
    return scripted(
      (response) => (streaming(text, { end: false })(response), (first = response)),
      (response) => setTimeout(() => (response.writeHead(202).end("{}"), first.end(finish)), 1200),
    );
  };

  test("of an answer without a cursor ends no connection", options, async () => {
    const { base, seen } = await late(withoutCursor);
    const stream = ours(base);
    await all(stream, ({ type }) => void (type === "start" && stream.stop()));
    assert.equal(seen.length, 2);
  });

  test("that is answered late ends no connection of a page that came by HTTP/2", options, async (t) => {
    const { base, seen } = await late(start);
    pageOf(t, { location: { origin: base, href: base } });
    t.mock.method(performance, "getEntriesByType", () => [{ nextHopProtocol: "h2" }]);
    const stream = ours(base);
    await all(stream, ({ type }) => void (type === "start" && stream.stop()));
    assert.equal(seen.length, 2);
  });
});

describe("a hidden tab", () => {
  test("makes room as soon as its answer can be resumed", options, async (t) => {
    const page = pageOf(t, { visibilityState: "hidden" });
    let first;
    let isClosed = false;
    const { base, seen } = await scripted(
      (response) => (streaming(": it thinks\n", { end: false })(response), (first = response).on("close", () => (isClosed = true))),
      streaming(finish),
    );
    const others = new BroadcastChannel(`streamguard-client ${base}`);
    t.after(() => others.close());
    let questions = 0;
    others.onmessage = ({ data: { question } }) => {
      if (question !== undefined) others.postMessage({ answer: question, connections: (questions += 1) === 1 ? 0 : 5 });
    };
    const reading = all(ours(base));
    await until(() => questions === 1, "it asks what the others hold");
    first.write(start);
    await until(() => isClosed, "it makes room");
    page.visibilityState = "visible";
    page.dispatchEvent(new Event("visibilitychange"));
    assert.deepEqual((await reading).map(({ type }) => type), ["start", "finish"]);
    assert.deepEqual([questions, seen[1].headers["last-event-id"]], [2, "1.s.1.1"]);
  });

  test("reads on where nothing is known of the others: cookies are blocked, or the browser is an imitation", options, async (t) => {
    const { BroadcastChannel } = globalThis;
    t.after(() => [(globalThis.BroadcastChannel = BroadcastChannel), delete performance.getEntriesByType]);
    const { base } = await scripted(streaming(start + finish));
    pageOf(t, { visibilityState: "hidden", location: { origin: base, href: base } });
    Object.defineProperty(performance, "getEntriesByType", { value: undefined, configurable: true });
    assert.equal((await all(ours(base))).length, 2);
    globalThis.BroadcastChannel = class {
      constructor() {
        throw new DOMException("The operation is insecure.", "SecurityError");
      }
    };
    assert.equal((await all(ours(base))).length, 2);
  });
});
