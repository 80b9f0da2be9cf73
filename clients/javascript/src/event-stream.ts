/** One answer, read to its explicit end through lost connections. */

import { Callbacks } from "./callbacks.js";
import { Connection } from "./connection.js";
import { AnswerFailedError, ProtocolError, RequestRefusedError, ResumeFailedError, StreamguardError } from "./errors.js";
import type { ServerSentEvent } from "./event-source-parser.js";
import { type Fault, isOfConnection } from "./faults.js";
import { holdConnection } from "./open-connections.js";
import { shown } from "./page-events.js";
import { faultOf, persistedOf } from "./parts.js";
import { type PartReader, partReaderOf } from "./protocols.js";
import { Reconnection, boundsOf } from "./reconnection.js";
import { refusal } from "./requests.js";
import { type StopResult, stopAnswer } from "./sessions.js";
import type { OpenStreamOptions, StreamEvent, StreamNames, StreamOutcome } from "./stream-options.js";
import { StreamRequests } from "./stream-requests.js";

/** After so long without an answer, a Stop gets the place of its stream's own connection. */
const STOP_PATIENCE_MS = 1000;

/** Why a connection ends that another request is to have the place of. It is no failure. */
const GIVEN_UP = new Error("The connection was given up for another request.");

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
  readonly #requests: StreamRequests;
  readonly #told: Set<string>;
  readonly #callbacks: Callbacks;
  readonly #reconnection: Reconnection;
  readonly #closing = new AbortController();
  #opened: Promise<Response | null> | null = null;
  #connection: Connection;
  #letGo: () => void = () => {};
  /** What is waited for before a connection that was given up is made again. */
  #givenUpUntil: Promise<unknown> | null = null;
  #reader: PartReader | null = null;
  #delivered = 0;
  /** How many of them came after the one that `cursor` names: those with ids of an upstream's own. */
  #behind = 0;
  /** The server has said that the answer is not in the log. */
  #notResumable = false;
  #inDoubt = false;
  #fatal: Fault | null = null;
  #read = false;
  #left = false;

  /** @internal Use {@link openStream}. `told`: ids of faults that were told of before. */
  constructor(options: OpenStreamOptions, told: Set<string> = new Set()) {
    const bounds = boundsOf(options.reconnect);
    this.#options = options;
    this.#requests = new StreamRequests(options);
    this.#told = told;
    this.#callbacks = new Callbacks(options, () => this.#names(), told);
    this.#reconnection = new Reconnection(bounds, this.#callbacks, this.#closing.signal);
    this.#connection = new Connection(bounds.idleTimeoutMs);
    this.sessionId = options.sessionId;
    this.cursor = options.cursor ?? null;
    const signal = options.signal;
    if (signal?.aborted) this.#closing.abort(signal.reason);
    else signal?.addEventListener("abort", () => this.#closing.abort(signal.reason), { signal: this.#closing.signal });
    this.#closing.signal.addEventListener("abort", () => this.#leave(this.#closing.signal.reason));
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
    const idempotencyKey = this.#requests.key ?? undefined;
    return new EventStream({ ...options, question: { ...question, idempotencyKey } }, this.#told);
  }

  /**
   * Stops the answer on the server. This stream then ends with what was written so far. See {@link stopAnswer}.
   *
   * Where open answers use up the browser's connections, a Stop would wait for one of them to end: after a second this
   * stream gives up its own, and makes it again when the server has answered.
   */
  async stop(): Promise<StopResult> {
    const { signal: _, ...options } = this.#options;
    const stopped = stopAnswer({ ...options, streamId: this.streamId ?? undefined });
    const timer = setTimeout(() => this.#giveUpConnection(stopped), STOP_PATIENCE_MS);
    return stopped.finally(() => clearTimeout(timer));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StreamEvent, void, undefined> {
    if (this.#read) throw new TypeError("A stream may be read once: open another with `cursor`.");
    this.#read = true;
    try {
      let response = await this.#first();
      if (response === null && this.outcome === null) this.outcome = "nothing";
      while (response !== null) {
        const broken = yield* this.#eventsOf(response);
        if (await this.#isOver()) break;
        if (this.#notResumable && this.cursor === null && this.#delivered > 0) {
          throw this.#lost("not_resumable", "The connection was lost, and this answer cannot be resumed.", broken);
        }
        response = await this.#connect(this.#endedAsUpstreamsDo() ? null : broken);
        if (response === null) await this.#nothingFollows(broken);
      }
      if (this.#reader?.upstreamError != null) throw this.#failed(this.#reader.upstreamError, null);
      this.outcome ??= this.#reader?.outcome ?? "completed";
    } catch (error) {
      if (this.#left) return;
      throw error;
    } finally {
      this.#closing.abort(new DOMException("The stream has ended.", "AbortError"));
    }
  }

  /** The new events of one response. Gives why it ended before the answer did, if so. */
  async *#eventsOf(response: Response): AsyncGenerator<StreamEvent, unknown, undefined> {
    const messages = this.#connection.events(
      response,
      ({ retryMs }) => (this.#reconnection.retryMs = retryMs ?? this.#reconnection.retryMs),
      (text) => this.#readComment(text),
    );
    // What a resumed answer repeats: without a cursor from its start, else after the event of the cursor.
    let repeated = this.cursor === null ? this.#delivered : this.#behind;
    try {
      for (;;) {
        let next: IteratorResult<ServerSentEvent, void>;
        try {
          next = await messages.next();
        } catch (error) {
          if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
          if (error instanceof StreamguardError) throw error;
          return error;
        }
        if (next.done) return new Error("The connection ended before the answer did.");
        if (repeated > 0) {
          repeated -= 1;
          continue;
        }
        const event = this.#accept(next.value);
        if (event instanceof RequestRefusedError) return event;
        if (event !== null) yield event;
        if (this.#reader?.over === true) return null;
      }
    } finally {
      await messages.return();
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

  /** Whether the answer is over, as far as its events or, for an upstream's stream, the server say. */
  async #isOver(): Promise<boolean> {
    const reader = this.#reader!;
    if (reader.ended) return true;
    if (!this.#connection.endedCleanly) return false;
    if (reader.outcome !== null) return true;
    if (!reader.mayLackEndMark || this.#endedAsUpstreamsDo()) return false;
    const known = await this.#askOutcome();
    return known === "decided" || (known === "unknown" && this.cursor === null);
  }

  /** Whether a resume is to tell a clean end without an end mark from a cut: it brings what follows, if anything does. */
  #endedAsUpstreamsDo(): boolean {
    const { endedCleanly, broughtEvents } = this.#connection;
    return this.#reader!.mayLackEndMark && endedCleanly && broughtEvents && this.cursor !== null;
  }

  /** What the server says of the answer's end: some proxies make a clean end of a connection that broke. */
  async #askOutcome(): Promise<"decided" | "being written" | "unknown"> {
    const reader = this.#reader!;
    if (this.streamId === null) return "unknown";
    const status = await this.#requests.status(this.streamId, this.#reconnection.bounds.idleTimeoutMs, this.#closing.signal);
    if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
    if (status === null) return "unknown";
    const outcome = status.outcome ?? null;
    if (outcome === "completed" || outcome === "stopped") reader.outcome = outcome;
    else if (outcome !== null) throw this.#failed(`The answer was ${outcome}.`, null);
    return outcome === null ? "being written" : "decided";
  }

  /** The server has nothing more. Everything was seen, and only the end itself was cut off, or the rest is lost. */
  async #nothingFollows(broken: unknown): Promise<void> {
    const reader = this.#reader!;
    if (reader.outcome !== null) return;
    if (this.cursor === null) throw this.#lost("resume_failed", "The connection was lost, and the rest of the answer is gone.", broken);
    await this.#askOutcome();
  }

  /** Connects, after `failure` if there was one. Null: the server has nothing (more). */
  async #connect(failure: unknown): Promise<Response | null> {
    const { signal } = this.#closing;
    this.#letGo();
    for (let failed = false; ; ) {
      if (failure === GIVEN_UP) await this.#givenUpUntil;
      else if (failure !== null) {
        failed = true;
        await this.#pause(failure);
      }
      if (signal.aborted) throw signal.reason;
      const connection = (this.#connection = new Connection(this.#reconnection.bounds.idleTimeoutMs));
      let response: Response;
      try {
        response = await connection.open((aborting) => this.#requests.send(this.cursor, aborting));
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (error instanceof StreamguardError) throw error; // there can be no such request
        if (error !== GIVEN_UP) this.#inDoubt = true;
        failure = error;
        continue;
      }
      if (response.ok) {
        if (response.status !== 204) this.#note(response);
        if (failed) this.#callbacks.reconnected();
        return response.status === 204 ? null : response;
      }
      const refused = refusal(response, await connection.textOfRefusal(response), this.sessionId);
      if (signal.aborted) throw signal.reason;
      if (!this.#mayAskAgain(refused)) throw this.#toldOf(refused);
      failure = refused;
    }
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
    this.#notResumable = response.headers.get("x-streamguard-notice") === "not_resumable";
    const { maxHiddenConnections } = this.#reconnection.bounds;
    const giveUp = () => this.#giveUpConnection(shown(this.#closing.signal));
    this.#letGo = holdConnection(this.#requests.streamUrl, maxHiddenConnections, giveUp);
  }

  /** Ends the connection, and makes it again after `until`; not where the answer could not be resumed then. */
  #giveUpConnection(until: Promise<unknown>): void {
    if (this.cursor === null || this.#notResumable) return;
    this.#givenUpUntil = until.catch(() => {});
    this.#connection.fail(GIVEN_UP);
  }

  #leave(reason: unknown): void {
    this.#connection.fail(reason);
    this.#letGo();
  }

  /** Waits before the next attempt, or throws at the bound. */
  async #pause(cause: unknown): Promise<void> {
    try {
      await this.#reconnection.pause(cause, this.#names());
    } catch (error) {
      throw error === cause && error instanceof RequestRefusedError ? this.#toldOf(error) : error;
    }
  }

  /** Whether a refusal may be temporary. A refused question is not repeated, unless nobody knows if it had arrived. */
  #mayAskAgain(refused: RequestRefusedError): boolean {
    const asks = this.#requests.asks(this.cursor);
    if (asks && !this.#inDoubt && this.#delivered === 0 && this.streamId === null) return false;
    if (refused instanceof ResumeFailedError || refused.code.startsWith("quota_")) return false;
    return refused.retryable && this.#reconnection.isPatientFor(refused);
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
    this.#reconnection.progressed();
    this.#connection.broughtEvents = true;
    this.#delivered += 1;
    if (reader.failure !== null) throw this.#failed(reader.failure.message, fault ?? this.#fatal);
    if (part === null) return null;
    if (fault !== null) {
      if (fault.code === "not_resumable") this.#notResumable = true;
      if (fault.severity === "fatal") this.#fatal = fault;
      this.#callbacks.fault(fault);
    }
    const saved = persistedOf(part);
    if (saved !== null) this.#callbacks.persisted(saved);
    return { id, type: part.type, part } as StreamEvent;
  }

  #readComment(text: string): void {
    const notice = this.#reader!.readComment(text);
    if (notice === "keep-alive") this.#reconnection.progressed();
    else if (notice !== null) this.#callbacks.fault(notice);
  }

  /** The server could not read on in the log. Throws if that is for good. */
  #connectionFailed(fault: Fault): RequestRefusedError {
    const { sessionId, streamId } = this;
    const details = { status: fault.status, sessionId, streamId: streamId ?? undefined, fault };
    if (fault.code === "resume_failed") throw this.#toldOf(new ResumeFailedError(fault.code, fault.message, details));
    const refused = new RequestRefusedError(fault.code, fault.message, { ...details, retryable: true });
    if (!this.#reconnection.isPatientFor(refused)) throw this.#toldOf(refused);
    return refused;
  }

  #failed(message: string, fault: Fault | null): AnswerFailedError {
    if (fault !== null) this.#callbacks.fault(fault);
    const names = { sessionId: this.sessionId, streamId: this.streamId ?? undefined };
    return new AnswerFailedError(fault?.code ?? "answer_failed", message, { fault, retryable: fault?.retryable ?? false, ...names });
  }

  #lost(code: string, message: string, cause: unknown): ResumeFailedError {
    return new ResumeFailedError(code, message, { sessionId: this.sessionId, streamId: this.streamId ?? undefined, cause });
  }

  #toldOf(refused: RequestRefusedError): RequestRefusedError {
    if (refused.fault !== null) this.#callbacks.fault(refused.fault);
    return refused;
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
