// One answer, read to its explicit end: through lost connections, restarts and replays.

import { sseBlocks } from "./sse.mjs";

/** A failure the server described: its HTTP envelope `{"error": {code, message, retryable, …}}`. */
export class ServerFault extends Error {
  constructor(status, fault) {
    super(fault.message);
    this.name = "ServerFault";
    this.status = status;
    this.fault = fault;
  }

  static async of(response) {
    let fault = null;
    try {
      fault = (await response.json()).error;
    } catch {
      // not our envelope: a proxy's page, or a body cut short
    }
    if (typeof fault?.message !== "string") {
      fault = { code: `http_${response.status}`, message: `The server answered ${response.status}.`, severity: "error" };
    }
    const wait = Number(response.headers.get("retry-after"));
    if (wait > 0) fault.retry_after_seconds = wait;
    return new ServerFault(response.status, fault);
  }

  /** Whether asking again later can help. */
  get temporary() {
    return this.status === 429 || this.status >= 500;
  }
}

/** The connection broke and could not be restored in `attempts` attempts; the answer may still be going on. */
export class ConnectionLost extends Error {
  constructor(attempts, cause) {
    super(`no connection after ${attempts} attempts`, { cause });
    this.name = "ConnectionLost";
  }
}

/**
 * What an answer is so far. `outcome` is null until its end is known; `save` is null until something is known of its
 * being kept, then "saved", "saving" or "unsaved", and `saveFault` what the server said of that.
 */
export function emptyAnswer() {
  return { id: null, text: "", outcome: null, fault: null, streamId: null, save: null, saveFault: null };
}

/** Applies one UI message part to an answer. Returns the fault if the part carries one, else null. */
export function applyPart(answer, part) {
  switch (part.type) {
    case "start":
      answer.id = part.messageId ?? answer.id;
      answer.text = ""; // a replay from the beginning replaces what was there
      return null;
    case "data-streamguard-persisted":
      answer.save = "saved";
      return null;
    case "text-delta":
      answer.text += part.delta;
      return null;
    case "data-streamguard-error": {
      const fault = { fault_id: part.id, ...part.data };
      if (fault.severity === "fatal") {
        const byServer = fault.code === "interrupted" || fault.phase === "shutdown";
        answer.outcome = byServer ? "interrupted" : "failed";
        answer.fault = fault;
      } else if (fault.phase === "persistence" && fault.message_id) {
        // About this answer; one about the question has no message_id.
        answer.save = fault.code === "persistence_pending" ? "saving" : "unsaved";
        answer.saveFault = fault;
      }
      return fault;
    }
    case "error":
      answer.outcome ??= "failed";
      answer.fault ??= { code: "error", message: part.errorText };
      return null;
    case "abort":
      answer.outcome = "stopped";
      return null;
    case "finish":
      answer.outcome ??= "completed";
      return null;
    default:
      return null; // text-start, text-end and parts of later versions
  }
}

/**
 * Reads an answer to its end.
 *
 * `open()` starts it; without it, an answer that was started before is resumed. `resume(cursor)` asks for the rest.
 * Both return a fetch Response. A stream that ends without `[DONE]` was cut: then the rest is asked for, with pauses that
 * double, `maxAttempts` times since the last block. Blocks seen before (by their cursor) are skipped. As long as nothing
 * arrived, `open` is asked again: the question may not have arrived either, and its key keeps it from being asked twice.
 * `onStream(id)` is told which stream is read.
 *
 * @returns {Promise<"ended" | "nothing">} `nothing`: the server has nothing (more) to send
 * @throws {ServerFault | ConnectionLost | DOMException} the last when `signal` was aborted
 */
export async function follow({
  open,
  resume,
  onStream,
  onPart,
  onReconnect,
  isKnown,
  signal,
  maxAttempts = 6,
  pauseMs = 500,
}) {
  const seen = new Set();
  let cursor = null;
  let attempt = 0;
  let request = open ?? (() => resume(null));
  for (;;) {
    let failure;
    try {
      const response = await request();
      if (response.status === 204) return "nothing";
      if (!response.ok) throw await ServerFault.of(response);
      const messageId = response.headers.get("x-message-id");
      if (cursor === null && messageId && isKnown(messageId)) {
        await response.body.cancel(); // an earlier answer, replayed: this question never reached the server
        return "nothing";
      }
      onStream(response.headers.get("x-stream-id"));
      for await (const block of sseBlocks(response.body)) {
        attempt = 0;
        if (block.data === "[DONE]") return "ended";
        if (block.id !== null) {
          if (seen.has(block.id)) continue;
          seen.add(block.id);
          cursor = block.id;
        }
        onPart(JSON.parse(block.data));
      }
      failure = new Error("the stream ended without its end");
    } catch (error) {
      if (signal.aborted) throw error;
      // A refused POST is not repeated: whether to ask again is the user's decision.
      if (error instanceof ServerFault && ((open && request === open) || !error.temporary)) throw error;
      if (error instanceof SyntaxError) throw error; // not JSON: no reconnect will help
      failure = error;
    }
    attempt += 1;
    if (attempt > maxAttempts) throw new ConnectionLost(maxAttempts, failure);
    onReconnect(attempt, maxAttempts);
    const asked = (failure.fault?.retry_after_seconds ?? 0) * 1000;
    await pause(Math.max(Math.min(asked, 15_000), Math.min(pauseMs * 2 ** (attempt - 1), 8000)), signal);
    request = open && cursor === null ? open : () => resume(cursor);
  }
}

/** Waits; rejects when `signal`, if there is one, is aborted. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, milliseconds, resolve);
    const aborted = () => done(() => reject(signal.reason));
    function done(settle) {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      settle();
    }
    if (signal?.aborted) aborted();
    else signal?.addEventListener("abort", aborted);
  });
}
