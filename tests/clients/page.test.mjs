// The example page's own modules: its SSE parser, the loop that follows an answer through lost connections, and what it
// makes of the messages that the server has saved.

import assert from "node:assert/strict";
import { test } from "node:test";
import { conversation, savedMessages } from "../../examples/shared/static/history.mjs";
import { SseParser } from "../../examples/shared/static/sse.mjs";
import {
  applyPart,
  ConnectionLost,
  emptyAnswer,
  follow,
  ServerFault,
} from "../../examples/shared/static/stream.mjs";

// -- the parser --------------------------------------------------------------------------------------------------------

function parse(...chunks) {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

test("however a stream is cut into chunks, its blocks are the same", () => {
  const stream = "id: 1\r\ndata: a\r\n\r\n: hb\n\rdata:b\ndata:  c\r\rid: 2\n\ndata\n\nevent: x\ndata: d: é\n\n";
  const whole = [
    { id: "1", data: "a" },
    { id: null, data: "b\n c" },
    { id: null, data: "" },
    { id: null, data: "d: é" },
  ];
  assert.deepEqual(parse(stream), whole);
  assert.deepEqual(parse(...stream), whole);
  for (let first = 0; first <= stream.length; first += 1) {
    for (let second = first; second <= stream.length; second += 1) {
      const chunks = [stream.slice(0, first), stream.slice(first, second), stream.slice(second)];
      assert.deepEqual(parse(...chunks), whole, `cut at ${first} and ${second}`);
    }
  }
});

test("an unfinished block is not a block, and an id with NUL is none", () => {
  assert.deepEqual(parse("data: a\n"), []);
  assert.deepEqual(parse("id: a\0b\ndata: a\n\n"), [{ id: null, data: "a" }]);
  assert.deepEqual(parse("Data: a\n data: b\n\n"), []);
});

// -- the loop ----------------------------------------------------------------------------------------------------------

const PARTS = [
  { type: "start", messageId: "m" },
  { type: "text-start", id: "t" },
  ...Array.from("streams", (delta) => ({ type: "text-delta", id: "t", delta })),
  { type: "text-end", id: "t" },
  { type: "finish" },
];
const BLOCKS = [...PARTS.map((part) => JSON.stringify(part)), "[DONE]"].map(
  (data, index) => `id: 1.s.7.${index + 1}\ndata: ${data}\n\n`,
);

/** A response that sends `text` and then ends, or breaks. */
function response(text, { broken = false, ...init } = {}) {
  const stream = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text));
      if (!broken) controller.close();
    },
    pull(controller) {
      controller.error(new TypeError("network error"));
    },
  });
  return new Response(stream, init);
}

function fault(status, headers = {}) {
  return Response.json({ error: { type: "streamguard_error", code: "some_code", message: "Words." } }, { status, headers });
}

/** Follows an answer whose requests are answered by `script`, in turn; what was asked, shown and told. */
async function run(script, { opened = true, ...more } = {}) {
  const answer = emptyAnswer();
  const log = { asked: [], faults: [], reconnects: [], streams: [], answer };
  const next = async (cursor) => {
    log.asked.push(cursor);
    const turn = script[log.asked.length - 1] ?? script.at(-1);
    if (turn instanceof Error) throw turn;
    return turn();
  };
  const steps = {
    open: opened ? () => next("open") : undefined,
    resume: next,
    onPart: (part) => log.faults.push(...[applyPart(answer, part)].filter(Boolean)),
    onReconnect: (attempt) => log.reconnects.push(attempt),
    onStream: (id) => log.streams.push(id),
    isKnown: () => false,
    signal: new AbortController().signal,
    pauseMs: 1,
    ...more,
  };
  try {
    log.result = await follow(steps);
  } catch (error) {
    log.error = error;
  }
  return log;
}

test("an uninterrupted answer", async () => {
  const whole = () => response(BLOCKS.join(""), { headers: { "x-stream-id": "s" } });
  const { result, asked, answer, streams } = await run([whole]);
  assert.equal(result, "ended");
  assert.deepEqual(asked, ["open"]);
  assert.deepEqual(streams, ["s"]);
  assert.deepEqual(answer, { ...emptyAnswer(), id: "m", text: "streams", outcome: "completed" });
});

for (const broken of [true, false]) {
  test(`cut at every byte (${broken ? "with an error" : "cleanly"}), it goes on after the last whole block`, async () => {
    const bytes = BLOCKS.join("");
    for (let length = 0; length < bytes.lastIndexOf("\n"); length += 1) {
      const head = bytes.slice(0, length);
      const seen = head.split("\n\n").length - 1;
      const rest = () => response(BLOCKS.slice(seen).join(""));
      const { asked, answer, result } = await run([() => response(head, { broken }), rest]);
      assert.equal(result, "ended");
      assert.deepEqual(asked, ["open", seen ? `1.s.7.${seen}` : "open"], `after ${length} bytes`);
      assert.equal(answer.text, "streams");
    }
  });
}

test("a replay from the beginning repeats nothing", async () => {
  const { answer } = await run([
    () => response(BLOCKS.slice(0, 6).join(""), { broken: true }),
    () => response(BLOCKS.join("")),
  ]);
  assert.equal(answer.text, "streams");
});

test("it gives up after so many attempts without a block, and says so", async () => {
  const { error, reconnects } = await run([() => response(BLOCKS[0], { broken: true }), new TypeError("fetch failed")], {
    maxAttempts: 3,
  });
  assert.ok(error instanceof ConnectionLost);
  assert.deepEqual(reconnects, [1, 2, 3]);
});

test("each block that arrives gives it all its attempts back", async () => {
  const script = BLOCKS.map((block, index) => () => response(block, { broken: index < BLOCKS.length - 1 }));
  const { result, reconnects } = await run(script, { maxAttempts: 1 });
  assert.equal(result, "ended");
  assert.ok(reconnects.every((attempt) => attempt === 1));
});

test("a store that is down for the moment is asked again", async () => {
  const head = () => response(BLOCKS.slice(0, 4).join(""), { broken: true });
  const { result, answer } = await run([head, () => fault(503), () => fault(429), () => response(BLOCKS.slice(4).join(""))]);
  assert.equal(result, "ended");
  assert.equal(answer.text, "streams");
});

test("an answer that is gone is a failure at once", async () => {
  const { error, asked } = await run([() => response(BLOCKS[0], { broken: true }), () => fault(410)]);
  assert.ok(error instanceof ServerFault);
  assert.equal(error.fault.code, "some_code");
  assert.equal(asked.length, 2);
});

test("a refused question is not asked twice; a refused resume is", async () => {
  const posted = await run([() => fault(503)]);
  assert.equal(posted.error.status, 503);
  assert.equal(posted.asked.length, 1);
  const resumed = await run([() => fault(503), () => response(BLOCKS.join(""))], { opened: false });
  assert.equal(resumed.result, "ended");
});

test("a proxy's error page becomes a fault too", async () => {
  const { error } = await run([() => new Response("<h1>Bad gateway</h1>", { status: 502 })]);
  assert.equal(error.fault.code, "http_502");
});

test("nothing to resume", async () => {
  const { result, answer } = await run([() => new Response(null, { status: 204 })], { opened: false });
  assert.equal(result, "nothing");
  assert.equal(answer.outcome, null);
});

test("a question that may not have arrived is sent again, under the same key", async () => {
  const { result, asked, answer } = await run([new TypeError("fetch failed"), () => response(BLOCKS.join(""))]);
  assert.equal(result, "ended");
  assert.deepEqual(asked, ["open", "open"]);
  assert.equal(answer.text, "streams");
});

test("a question is not answered by the replay of the answer before it", async () => {
  const earlier = () => response(BLOCKS.join(""), { headers: { "x-message-id": "m" } });
  const { result, answer, streams } = await run([earlier], { opened: false, isKnown: (id) => id === "m" });
  assert.equal(result, "nothing");
  assert.equal(answer.text, "");
  assert.deepEqual(streams, []);
});

test("closing the chat ends the loop, also in a pause", async () => {
  const controller = new AbortController();
  const { error } = await run([() => response(BLOCKS[0], { broken: true })], {
    signal: controller.signal,
    pauseMs: 60_000,
    onReconnect: () => controller.abort(),
  });
  assert.equal(error.name, "AbortError");
});

// -- the parts ---------------------------------------------------------------------------------------------------------

function outcomeOf(...parts) {
  const answer = emptyAnswer();
  parts.forEach((part) => applyPart(answer, part));
  return answer.outcome;
}

test("every ending has its own outcome", () => {
  const fatal = (data) => ({ type: "data-streamguard-error", id: "sg_1", data: { severity: "fatal", message: "x", ...data } });
  const error = { type: "error", errorText: "x" };
  assert.equal(outcomeOf({ type: "finish" }), "completed");
  assert.equal(outcomeOf({ type: "abort" }), "stopped");
  assert.equal(outcomeOf(error), "failed");
  assert.equal(outcomeOf(fatal({ code: "provider_error", phase: "provider" }), error), "failed");
  assert.equal(outcomeOf(fatal({ code: "interrupted", phase: "stream" }), error), "interrupted");
  assert.equal(outcomeOf(fatal({ code: "shutting_down", phase: "shutdown" }), error), "interrupted");
  const warning = { type: "data-streamguard-error", id: "sg_2", data: { severity: "warning", code: "not_resumable" } };
  assert.equal(outcomeOf(warning), null);
  assert.equal(outcomeOf(warning, { type: "finish" }), "completed");
  assert.equal(outcomeOf({ type: "part-of-a-later-version" }), null);
});

test("what is said of saving an answer, and of the question", () => {
  const about = (data) => ({ type: "data-streamguard-error", id: "sg_3", data: { phase: "persistence", message: "x", ...data } });
  const save = (...parts) => {
    const answer = emptyAnswer();
    parts.forEach((part) => applyPart(answer, part));
    return [answer.save, answer.saveFault?.code ?? null, answer.outcome];
  };
  const failed = about({ code: "persistence_failed", severity: "error", message_id: "m" });
  const pending = about({ code: "persistence_pending", severity: "warning", message_id: "m" });
  const question = about({ code: "persistence_failed", severity: "error", user_message_id: "q", reason: "user_message" });
  const finish = { type: "finish" };
  assert.deepEqual(save(finish), [null, null, "completed"]);
  assert.deepEqual(save({ type: "data-streamguard-persisted", id: "sgp_s", data: {} }, finish), ["saved", null, "completed"]);
  assert.deepEqual(save(failed, finish), ["unsaved", "persistence_failed", "completed"]);
  assert.deepEqual(save(pending, finish), ["saving", "persistence_pending", "completed"]);
  assert.deepEqual(save(question, finish), [null, null, "completed"]);
});

// -- what the server has saved -----------------------------------------------------------------------------------------

function entry(id, role, { position = 1, persisted = "yes", text = id } = {}) {
  const parts = position === null ? [] : [{ type: "step-start" }, { type: "text", text }];
  const ofStream = role === "assistant" ? { outcome: "completed", stream_id: `s-${id}` } : { outcome: null, stream_id: null };
  return { id, role, parts, persisted, position, ...ofStream };
}

/** What is shown of pages of entries, with the question kept in this browser. */
async function shown(pages, asked = null) {
  const queries = [];
  const saved = await savedMessages(async (query) => {
    queries.push(query);
    return Response.json(pages[queries.length - 1]);
  });
  const { messages, unread } = conversation(saved, asked);
  return { queries, unread, messages: messages.map(({ id, role, text, save }) => [id, role, text, save]) };
}

const asked = { id: "q2", text: "Well?", key: "k", body: "{}", answerId: null };

test("a saved chat is read page by page", async () => {
  const { queries, messages, unread } = await shown([
    { messages: [entry("q1", "user")], next: 1 },
    { messages: [entry("a1", "assistant", { position: 2 })], next: null },
  ]);
  assert.deepEqual(queries, ["?after=0", "?after=1"]);
  assert.deepEqual(messages, [["q1", "user", "q1", undefined], ["a1", "assistant", "a1", "saved"]]);
  assert.equal(unread, false);
});

test("a question without an answer, saved or kept in this browser alone, has one to be read", async () => {
  const before = [entry("q1", "user"), entry("a1", "assistant", { position: 2 })];
  const saved = await shown([{ messages: [...before, entry("q2", "user", { position: 3 })], next: null }], asked);
  const kept = await shown([{ messages: before, next: null }], asked);
  for (const { messages, unread } of [saved, kept]) {
    assert.deepEqual(messages.map(([id]) => id), ["q1", "a1", "q2"]);
    assert.equal(unread, true);
  }
});

test("an answer that is not saved is read from its log, wherever its question is", async () => {
  const unsaved = entry("a2", "assistant", { position: null, persisted: "pending" });
  const kept = await shown([{ messages: [unsaved], next: null }], asked);
  const elsewhere = await shown([{ messages: [unsaved], next: null }]);
  assert.deepEqual([kept.messages.map(([id]) => id), kept.unread], [["q2"], true]);
  assert.deepEqual([elsewhere.messages, elsewhere.unread], [[], true]);
});

test("a saved answer whose question was refused stands after it", async () => {
  const pages = [{ messages: [entry("a2", "assistant")], next: null }];
  const { messages, unread } = await shown(pages, { ...asked, answerId: "a2" });
  assert.deepEqual(messages.map(([id]) => id), ["q2", "a2"]);
  assert.equal(unread, false);
});

test("messages that cannot be read are a fault, not an empty chat", async () => {
  await assert.rejects(savedMessages(async () => fault(503)), ServerFault);
});
