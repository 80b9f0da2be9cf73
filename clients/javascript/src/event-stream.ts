/** One answer, read to its explicit end through lost connections. */

import {
  AnswerFailedError,
  ConnectionLostError,
  ProtocolError,
  RequestRefusedError,
  ResumeFailedError,
  StreamguardError,
} from "./errors.js";
import { EventSourceParser, type ServerSentEvent } from "./event-source-parser.js";
import { type Fault, type Persisted, isOfConnection, isQuotaFault } from "./faults.js";
import { type Part, faultOf, persistedOf } from "./parts.js";
import { type PartReader, partReaderOf } from "./protocols.js";
import { MAX_TIMER_MS, type ReconnectBounds, type ReconnectOptions, backoffMs, boundsOf, pause } from "./reconnection.js";
import { type HeadersLike, randomKey, refusal, request, routeOf } from "./requests.js";
import { type SessionOptions, type StopResult, stopAnswer } from "./sessions.js";

/** A part with the cursor that names it. */
export type StreamEvent<PART extends { readonly type: string } = Part> = PART extends unknown
  ? {
      /** The event's SSE id: the cursor from which a reader goes on. Null if the event is not in the log. */
      readonly id: string | null;
      readonly type: PART["type"];
      readonly part: PART;
    }
  : never;

/** The request that begins an answer. */
export interface Question {
  /** Sent as JSON. The endpoint finds its session in it. */
  readonly body: unknown;
  readonly headers?: HeadersLike | undefined;
  /** Default: a random one. With it the server answers a repeated request once. */
  readonly idempotencyKey?: string | undefined;
}

/** A connection broke, and another is about to be made. */
export interface Reconnecting {
  /** From 1; begins anew with each event that arrives. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly delayMs: number;
  /** Why: what `fetch` threw, or a {@link RequestRefusedError}. */
  readonly cause: unknown;
  readonly sessionId: string;
  readonly streamId: string | null;
}

/** What a reader tells besides the parts. */
export interface StreamCallbacks {
  /** Each fault and notice of the stream, once; a replay does not tell it again. */
  readonly onFault?: ((fault: Fault, stream: StreamNames) => void) | undefined;
  /** The answer is saved. */
  readonly onPersisted?: ((saved: Persisted, stream: StreamNames) => void) | undefined;
  /** A fault about usage, in the stream or as the answer to the request. Besides `onFault`. */
  readonly onQuota?: ((fault: Fault, stream: StreamNames) => void) | undefined;
  readonly onReconnect?: ((reconnecting: Reconnecting) => void) | undefined;
  /** A connection is there again, after `onReconnect`. */
  readonly onReconnected?: ((stream: StreamNames) => void) | undefined;
}

/** The names of an answer, as far as they are known. */
export interface StreamNames {
  readonly sessionId: string;
  readonly streamId: string | null;
  readonly messageId: string | null;
}

/** Options of {@link openStream}. */
export interface OpenStreamOptions extends SessionOptions, StreamCallbacks {
  /** Begins an answer. Without it, the session's running or last one is read. */
  readonly question?: Question | undefined;
  /** Go on after this event. */
  readonly cursor?: string | undefined;
  /**
   * What the endpoint speaks. A `plain` endpoint must be named.
   * Default `auto`: `ui-message` if its header says so, or else `events`, each as a `message` part.
   */
  readonly protocol?: "auto" | "ui-message" | "plain" | "events" | undefined;
  readonly reconnect?: ReconnectOptions | undefined;
}

/** How an answer ended: `nothing` if there was none to read. Failures throw instead. */
export type StreamOutcome = "completed" | "stopped" | "nothing";

/**
 * An answer as an async iterable of typed events. It may be read once; several readers of one answer, in one tab or
 * many, are several streams.
 *
 * The iteration ends when the answer is complete or was stopped, and throws otherwise:
 * {@link AnswerFailedError}, {@link ConnectionLostError}, {@link ResumeFailedError}, {@link RequestRefusedError},
 * {@link ProtocolError}, or the reason of the aborted signal. Leaving it early closes the connection; the answer goes on.
 */
export class EventStream implements AsyncIterable<StreamEvent> {
  readonly sessionId: string;
  /** `X-Stream-Id` of the answer; null until the server has answered. */
  streamId: string | null = null;
  messageId: string | null = null;
  /** The last event's id: a later `openStream({cursor})` goes on after it. */
  cursor: string | null;
  /** How the answer ended; null until then, and if it failed. */
  outcome: StreamOutcome | null = null;

  readonly #options: OpenStreamOptions;
  readonly #bounds: ReconnectBounds;
  readonly #key: string | null;
  readonly #told: Set<string>;
  readonly #closing = new AbortController();
  #opened: Promise<Response | null> | null = null;
  #connection = new AbortController();
  #reader: PartReader | null = null;
  #delivered = 0;
  /** How many of them came after the one that `cursor` names: those with ids of an upstream's own. */
  #behind = 0;
  /** The server has said that the answer is not in the log. */
  #notResumable = false;
  #failures = 0;
  #retryMs: number | null = null;
  #inDoubt = false;
  #fatal: Fault | null = null;
  #read = false;
  #left = false;
  #endedCleanly = false;

  /** @internal Use {@link openStream}. `told`: ids of faults that were told of before. */
  constructor(options: OpenStreamOptions, told: Set<string> = new Set()) {
    this.#options = options;
    this.#bounds = boundsOf(options.reconnect);
    this.#told = told;
    this.sessionId = options.sessionId;
    this.cursor = options.cursor ?? null;
    this.#key = options.question === undefined ? null : (options.question.idempotencyKey || randomKey());
    const signal = options.signal;
    if (signal?.aborted) this.#closing.abort(signal.reason);
    else signal?.addEventListener("abort", () => this.#closing.abort(signal.reason), { signal: this.#closing.signal });
    this.#closing.signal.addEventListener("abort", () => this.#connection.abort(this.#closing.signal.reason));
  }

  /**
   * Sends the request, and resolves when the server has answered: false if there is nothing to read (204).
   * Iterating does so by itself.
   */
  async open(): Promise<boolean> {
    return (await this.#first()) !== null;
  }

  /** Closes the connection: the iteration ends. The answer goes on, and can be read again. */
  close(): void {
    this.#left = true;
    if (!this.#read) this.#opened?.then((response) => response?.body?.cancel()).catch(() => {});
    this.#closing.abort(new DOMException("The stream was closed by its reader.", "AbortError"));
  }

  /**
   * A further stream of the same answer, which goes on after this one's last event: after {@link ConnectionLostError}, or
   * for a tab that left. If nothing had arrived, the question is sent again with its key, so that it is answered once.
   */
  resume(): EventStream {
    const { question, cursor: _, signal, ...rest } = this.#options;
    const options = signal?.aborted ? rest : { ...rest, signal };
    if (this.cursor !== null) return new EventStream({ ...options, cursor: this.cursor }, this.#told);
    if (question === undefined) return new EventStream(options, this.#told);
    return new EventStream({ ...options, question: { ...question, idempotencyKey: this.#key ?? undefined } }, this.#told);
  }

  /** Stops the answer on the server. This stream then ends with what was written so far. See {@link stopAnswer}. */
  stop(): Promise<StopResult> {
    const { signal: _, ...options } = this.#options;
    return stopAnswer({ ...options, streamId: this.streamId ?? undefined });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StreamEvent, void, undefined> {
    if (this.#read) throw new TypeError("A stream may be read once: open another with `cursor`.");
    this.#read = true;
    try {
      let response = await this.#first();
      if (response === null && this.outcome === null) this.outcome = "nothing";
      while (response !== null) {
        let broken: unknown = new Error("The connection ended before the answer did.");
        const messages = this.#messages(response);
        // What a resumed answer repeats: without a cursor from its start, else after the event of the cursor.
        let repeated = this.cursor === null ? this.#delivered : this.#behind;
        for (;;) {
          let next: IteratorResult<ServerSentEvent, void>;
          try {
            next = await messages.next();
          } catch (error) {
            if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
            if (error instanceof StreamguardError) throw error;
            broken = error;
            break;
          }
          if (next.done) break;
          if (repeated > 0) {
            repeated -= 1;
            continue;
          }
          const event = this.#accept(next.value);
          if (event instanceof RequestRefusedError) broken = event;
          else if (event !== null) yield event;
          if (event === broken || this.#reader?.ended === true) {
            await messages.return();
            break;
          }
        }
        if (this.#isOver()) {
          this.outcome = this.#reader?.outcome ?? "completed";
          return;
        }
        if (this.#notResumable && this.cursor === null && this.#delivered > 0) {
          throw this.#lost("not_resumable", "The connection was lost, and this answer cannot be resumed.", broken);
        }
        response = await this.#connect(broken);
        if (response !== null) continue;
        if (this.cursor === null && (this.#reader?.outcome ?? null) === null) {
          throw this.#lost("resume_failed", "The connection was lost, and the rest of the answer is gone.", broken);
        }
        // Everything was seen: only the end itself was cut off.
        this.outcome = this.#reader?.outcome ?? "completed";
      }
    } catch (error) {
      if (this.#left) return;
      throw error;
    } finally {
      this.#closing.abort(new DOMException("The stream has ended.", "AbortError"));
    }
  }

  #first(): Promise<Response | null> {
    this.#opened ??= this.#connect(null).then(
      (response) => {
        if (response === null) this.#closing.abort(); // nothing follows: the caller's signal is let go of
        return response;
      },
      (error: unknown) => {
        this.#closing.abort(error);
        throw error;
      },
    );
    return this.#opened;
  }

  #names(): StreamNames {
    return { sessionId: this.sessionId, streamId: this.streamId, messageId: this.messageId };
  }

  #isOver(): boolean {
    const reader = this.#reader;
    return reader !== null && (reader.ended || (this.#endedCleanly && (reader.outcome !== null || reader.endsWithConnection)));
  }

  /** Connects, after `failure` if there was one. Null: the server has nothing (more). */
  async #connect(failure: unknown): Promise<Response | null> {
    for (;;) {
      if (failure !== null) await this.#wait(failure);
      if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
      this.#connection = new AbortController();
      const idle = this.#idleTimer();
      let response: Response;
      let refused: RequestRefusedError | null = null;
      try {
        response = await this.#request();
        if (response.status === 204) {
          if (failure !== null) report(this.#options.onReconnected, this.#names());
          return null;
        }
        if (!response.ok) refused = await refusal(response, this.sessionId);
      } catch (error) {
        if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
        if (error instanceof StreamguardError) throw error; // there can be no such request
        this.#inDoubt = true;
        failure = error;
        continue;
      } finally {
        clearTimeout(idle);
      }
      if (refused === null) {
        this.#note(response);
        if (failure !== null) report(this.#options.onReconnected, this.#names());
        return response;
      }
      if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
      if (!this.#mayAskAgain(refused)) throw this.#toldOf(refused);
      failure = refused;
    }
  }

  #request(): Promise<Response> {
    const { question, protocol } = this.#options;
    const signal = this.#connection.signal;
    if (question === undefined || this.cursor !== null) {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (this.cursor !== null) headers["last-event-id"] = this.cursor;
      const url = routeOf(this.#options, this.sessionId, "/stream", { ids: "1" });
      return request(this.#options, url, { method: "GET", headers, signal });
    }
    // Until something has arrived, the question itself is sent again: its key keeps it from being answered twice.
    let url = this.#options.api ?? "/api/chat";
    if (protocol === "events") url += `${url.includes("?") ? "&" : "?"}ids=1`;
    const headers = new Headers({ accept: "text/event-stream", "idempotency-key": this.#key ?? "" });
    new Headers(question.headers).forEach((value, name) => headers.set(name, value));
    headers.set("content-type", "application/json");
    return request(this.#options, url, { method: "POST", headers, body: jsonOf(question, this.sessionId), signal });
  }

  #note(response: Response): void {
    const type = response.headers.get("content-type") ?? "";
    if (!type.toLowerCase().startsWith("text/event-stream") || response.body === null) {
      void response.body?.cancel().catch(() => {});
      const details = { status: response.status, sessionId: this.sessionId };
      throw new ProtocolError(`The response is no event stream, but ${type || "without a content type"}.`, details);
    }
    const streamId = response.headers.get("x-stream-id");
    if (this.streamId !== null && streamId !== null && streamId !== this.streamId && this.#delivered > 0) {
      void response.body.cancel().catch(() => {});
      throw this.#lost("resume_failed", "Another answer has taken the place of this one.", undefined);
    }
    this.streamId = streamId ?? this.streamId;
    this.messageId = response.headers.get("x-message-id") ?? this.messageId;
    const isUiMessage = response.headers.has("x-vercel-ai-ui-message-stream");
    this.#reader ??= partReaderOf(isUiMessage ? "ui-message" : (this.#options.protocol ?? "auto"));
    this.#endedCleanly = false;
    this.#notResumable = response.headers.get("x-streamguard-notice") === "not_resumable";
  }

  #lost(code: string, message: string, cause: unknown): ResumeFailedError {
    return new ResumeFailedError(code, message, { sessionId: this.sessionId, streamId: this.streamId ?? undefined, cause });
  }

  /** Whether a refusal may be temporary. A refused question is not repeated, unless nobody knows if it had arrived. */
  #mayAskAgain(refused: RequestRefusedError): boolean {
    const asks = this.#options.question !== undefined && this.cursor === null;
    if (asks && !this.#inDoubt && this.#delivered === 0 && this.streamId === null) return false;
    if (refused instanceof ResumeFailedError || refused.code.startsWith("quota_")) return false;
    const wait = (refused.retryAfterSeconds ?? 0) * 1000;
    return refused.retryable && wait <= this.#bounds.maxRetryAfterMs;
  }

  #toldOf(refused: RequestRefusedError): RequestRefusedError {
    if (refused.fault !== null) this.#tell(refused.fault);
    return refused;
  }

  /** Waits before the next attempt, or throws at the bound. */
  async #wait(cause: unknown): Promise<void> {
    this.#failures += 1;
    const maxAttempts = this.#bounds.maxAttempts;
    if (this.#failures > maxAttempts) {
      if (cause instanceof RequestRefusedError) throw this.#toldOf(cause);
      throw new ConnectionLostError(this.#failures - 1, {
        sessionId: this.sessionId,
        streamId: this.streamId ?? undefined,
        cause,
      });
    }
    const asked = cause instanceof RequestRefusedError ? (cause.retryAfterSeconds ?? 0) * 1000 : 0;
    const delayMs = Math.max(asked, backoffMs(this.#failures, this.#bounds, this.#retryMs));
    const { sessionId, streamId } = this;
    report(this.#options.onReconnect, { attempt: this.#failures, maxAttempts, delayMs, cause, sessionId, streamId });
    await pause(delayMs, this.#closing.signal, { exactly: asked > 0 });
  }

  #idleTimer(): ReturnType<typeof setTimeout> | undefined {
    const limit = this.#bounds.idleTimeoutMs;
    const connection = this.#connection;
    if (limit <= 0 || limit > MAX_TIMER_MS) return undefined;
    return setTimeout(() => connection.abort(new Error(`Nothing arrived for ${limit} ms.`)), limit);
  }

  async *#messages(response: Response): AsyncGenerator<ServerSentEvent, void, undefined> {
    const parser = new EventSourceParser();
    const reader = response.body!.getReader();
    try {
      for (;;) {
        const idle = this.#idleTimer();
        const { done, value } = await reader.read().finally(() => clearTimeout(idle));
        if (done) {
          this.#endedCleanly = true;
          return;
        }
        const events = parser.push(value);
        this.#retryMs = parser.retryMs ?? this.#retryMs;
        yield* events;
      }
    } finally {
      reader.cancel().catch(() => {}); // leaving early ends the request; a broken one has nothing left to cancel
    }
  }

  /** The event of a message. Null: it only tells of the end. An error: the connection fails, though not the answer. */
  #accept(message: ServerSentEvent): StreamEvent | RequestRefusedError | null {
    const reader = this.#reader!;
    const id = message.id !== null && CURSOR.test(message.id) ? message.id : null;
    if (id !== null && id === this.cursor) return null;
    const part = reader.read(message);
    const fault = reader.failure?.fault ?? (part === null ? null : faultOf(part));
    if (fault !== null && id === null && isOfConnection(fault)) {
      reader.failure = null;
      return this.#connectionFailed(fault);
    }
    if (id !== null) this.cursor = id;
    if (message.id !== null) this.#behind = id === null ? this.#behind + 1 : 0;
    this.#failures = 0;
    this.#delivered += 1;
    if (reader.failure !== null) {
      const reason = fault ?? this.#fatal;
      if (reason !== null) this.#tell(reason);
      throw new AnswerFailedError(reason?.code ?? "answer_failed", reader.failure.message, {
        fault: reason,
        retryable: reason?.retryable ?? false,
        sessionId: this.sessionId,
        streamId: this.streamId ?? undefined,
      });
    }
    if (part === null) return null;
    if (fault !== null) {
      if (fault.code === "not_resumable") this.#notResumable = true;
      if (fault.severity === "fatal") this.#fatal = fault;
      this.#tell(fault);
    }
    const saved = persistedOf(part);
    if (saved !== null) report(this.#options.onPersisted, saved, this.#names());
    return { id, type: part.type, part } as StreamEvent;
  }

  /** The server could not read on in the log. Throws if that is for good. */
  #connectionFailed(fault: Fault): RequestRefusedError {
    const { sessionId, streamId } = this;
    const details = { status: fault.status, sessionId, streamId: streamId ?? undefined, fault };
    if (fault.code === "resume_failed") throw this.#toldOf(new ResumeFailedError(fault.code, fault.message, details));
    const refused = new RequestRefusedError(fault.code, fault.message, { ...details, retryable: true });
    if ((refused.retryAfterSeconds ?? 0) * 1000 > this.#bounds.maxRetryAfterMs) throw this.#toldOf(refused);
    return refused;
  }

  #tell(fault: Fault): void {
    if (this.#told.has(fault.fault_id)) return;
    this.#told.add(fault.fault_id);
    report(this.#options.onFault, fault, this.#names());
    if (isQuotaFault(fault)) report(this.#options.onQuota, fault, this.#names());
  }
}

/** Calls a callback, if there is one. What it throws does not end the answer. */
function report<ARGUMENTS extends unknown[]>(callback: ((...given: ARGUMENTS) => void) | undefined, ...given: ARGUMENTS): void {
  try {
    callback?.(...given);
  } catch (error) {
    console.error("A callback of streamguard-client threw:", error);
  }
}

function jsonOf({ body }: Question, sessionId: string): string {
  try {
    return JSON.stringify(body);
  } catch (cause) {
    throw new StreamguardError("request_invalid", "The body of the question is no JSON.", { sessionId, cause });
  }
}

const CURSOR = /^\d+\.[^.]+\.\d+\.\d+$/;

/**
 * Reads an answer without AI SDK: begins one with `question`, or resumes the session's running or last one.
 *
 * @example
 * ```ts
 * const stream = openStream({ sessionId: "c1", question: { body: { id: "c1", messages } } });
 * for await (const { part } of stream) if (part.type === "text-delta") show(part.delta);
 * ```
 */
export function openStream(options: OpenStreamOptions): EventStream {
  return new EventStream(options);
}
