/** One answer, read to its explicit end through lost connections. */

import { AnswerProgress } from "./answer-progress.js";
import { Connection } from "./connection.js";
import { RequestRefusedError, ResumeFailedError, StreamguardError } from "./errors.js";
import type { ServerSentEvent } from "./event-source-parser.js";
import { type HeldConnection, type Hold, holdConnection, makeRoom } from "./open-connections.js";
import { MAX_TIMER_MS, Reconnection, boundsOf } from "./reconnection.js";
import { refusal } from "./requests.js";
import { type StopResult, stopAnswer } from "./sessions.js";
import type { OpenStreamOptions, StreamEvent, StreamOutcome } from "./stream-options.js";
import { StreamRequests } from "./stream-requests.js";

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
  /** How the answer ended; null until then, and if it failed. */
  outcome: StreamOutcome | null = null;

  readonly #options: OpenStreamOptions;
  readonly #requests: StreamRequests;
  readonly #told: Set<string>;
  readonly #answer: AnswerProgress;
  readonly #reconnection: Reconnection;
  readonly #closing = new AbortController();
  readonly #closed: Promise<void>;
  #opened: Promise<Response | null> | null = null;
  #connection: Connection;
  readonly #held: HeldConnection = { giveUp: (until) => this.#giveUpConnection(until) };
  #hold: Hold | null = null;
  /** What is waited for before a connection that was given up is made again. */
  #givenUpUntil: Promise<unknown> | null = null;
  #inDoubt = false;
  #read = false;
  #left = false;

  /**
   * @internal Use {@link openStream}. `told`: ids of faults that were told of before. `streamId`: the answer's, if it is
   *   known.
   */
  constructor(options: OpenStreamOptions, told: Set<string> = new Set(), streamId: string | null = null) {
    const bounds = boundsOf(options.reconnect);
    this.#options = options;
    this.#requests = new StreamRequests(options);
    this.#told = told;
    this.#answer = new AnswerProgress(options, told, streamId);
    this.#reconnection = new Reconnection(bounds, this.#answer.callbacks, this.#closing.signal);
    this.#connection = new Connection(bounds.idleTimeoutMs);
    const signal = options.signal;
    if (signal?.aborted) this.#closing.abort(signal.reason);
    else signal?.addEventListener("abort", () => this.#closing.abort(signal.reason), { signal: this.#closing.signal });
    this.#closed = new Promise((resolve) => this.#closing.signal.addEventListener("abort", () => resolve()));
    this.#closing.signal.addEventListener("abort", () => this.#leave(this.#closing.signal.reason));
  }

  get sessionId(): string {
    return this.#answer.sessionId;
  }

  /** `X-Stream-Id` of the answer; null until the server has answered. */
  get streamId(): string | null {
    return this.#answer.streamId;
  }

  get messageId(): string | null {
    return this.#answer.messageId;
  }

  /** The last event's id: a later `openStream({cursor})` goes on after it. */
  get cursor(): string | null {
    return this.#answer.cursor;
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
    if (this.cursor !== null) return new EventStream({ ...options, cursor: this.cursor }, this.#told, this.streamId);
    if (question === undefined) return new EventStream(options, this.#told);
    const idempotencyKey = this.#requests.key ?? undefined;
    return new EventStream({ ...options, question: { ...question, idempotencyKey } }, this.#told);
  }

  /**
   * Stops the answer on the server. This stream then ends with what was written so far. See {@link stopAnswer}.
   *
   * Where open answers use up the browser's connections, a Stop would wait for one of them to end. After a second this
   * stream gives its own up, and then another one each second; they are made again when the server has answered, or has
   * been silent for `idleTimeoutMs`.
   */
  async stop(): Promise<StopResult> {
    const { signal: _, ...options } = this.#options;
    const { streamUrl } = this.#requests;
    const { idleTimeoutMs } = this.#reconnection.bounds;
    const stopped = stopAnswer({ ...options, streamId: this.streamId ?? undefined });
    makeRoom(streamUrl, stopped, this.#held, Math.min(idleTimeoutMs || Infinity, MAX_TIMER_MS));
    return stopped;
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
        if (this.#answer.isLostWithConnection) {
          throw this.#answer.lost("not_resumable", "The connection was lost, and this answer cannot be resumed.", broken);
        }
        response = await this.#connect(this.#endedAsUpstreamsDo() ? null : broken);
        if (response === null) await this.#nothingFollows(broken);
      }
      const { reader } = this.#answer;
      if (reader?.upstreamError != null) throw this.#answer.failed(reader.upstreamError, null);
      this.outcome ??= reader?.outcome ?? "completed";
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
      (text) => void (this.#answer.readComment(text) && this.#reconnection.progressed()),
    );
    let { repeated } = this.#answer;
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
        const { delivered, isResumable } = this.#answer;
        const event = this.#answer.accept(next.value);
        if (event instanceof RequestRefusedError) {
          if (!this.#reconnection.isPatientFor(event)) throw this.#answer.told(event);
          return event;
        }
        if (this.#answer.delivered > delivered) {
          this.#reconnection.progressed();
          this.#connection.broughtEvents = true;
        }
        if (!isResumable && this.#answer.isResumable) this.#hold?.check();
        if (event !== null) yield event;
        if (this.#answer.reader?.over === true) return null;
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

  /** Whether the answer is over, as far as its events or, for an upstream's stream, the server say. */
  async #isOver(): Promise<boolean> {
    const reader = this.#answer.reader!;
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
    return this.#answer.reader!.mayLackEndMark && endedCleanly && broughtEvents && this.cursor !== null;
  }

  /** What the server says of the answer's end: some proxies make a clean end of a connection that broke. */
  async #askOutcome(): Promise<"decided" | "being written" | "unknown"> {
    const reader = this.#answer.reader!;
    if (this.streamId === null) return "unknown";
    const status = await this.#requests.status(this.streamId, this.#reconnection.bounds.idleTimeoutMs, this.#closing.signal);
    if (this.#closing.signal.aborted) throw this.#closing.signal.reason;
    if (status === null) return "unknown";
    const outcome = status.outcome ?? null;
    if (outcome === "completed" || outcome === "stopped") reader.outcome = outcome;
    else if (outcome !== null) throw this.#answer.failed(`The answer was ${outcome}.`, null);
    return outcome === null ? "being written" : "decided";
  }

  /** The server has nothing more. Everything was seen, and only the end itself was cut off, or the rest is lost. */
  async #nothingFollows(broken: unknown): Promise<void> {
    const reader = this.#answer.reader!;
    if (reader.outcome !== null) return;
    if (this.cursor === null) throw this.#answer.lost("resume_failed", "The connection was lost, and the rest of the answer is gone.", broken);
    await this.#askOutcome();
  }

  /** Connects, after `failure` if there was one. Null: the server has nothing (more). */
  async #connect(failure: unknown): Promise<Response | null> {
    const { signal } = this.#closing;
    this.#hold?.end();
    for (let failed = false; ; ) {
      if (failure === GIVEN_UP) await Promise.race([this.#givenUpUntil, this.#closed]);
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
        if (response.status !== 204) this.#begin(response);
        if (failed) this.#answer.callbacks.reconnected();
        return response.status === 204 ? null : response;
      }
      const refused = refusal(response, await connection.textOfRefusal(response), this.sessionId);
      if (signal.aborted) throw signal.reason;
      if (!this.#mayAskAgain(refused)) throw this.#answer.told(refused);
      failure = refused;
    }
  }

  #begin(response: Response): void {
    try {
      this.#answer.begin(response);
    } catch (error) {
      this.#connection.fail(error);
      void response.body?.cancel().catch(() => {});
      throw error;
    }
    const { maxHiddenConnections } = this.#reconnection.bounds;
    this.#hold = holdConnection(this.#requests.streamUrl, maxHiddenConnections, this.#held, this.#closing.signal);
  }

  /** Ends the connection, and makes it again after `until`. False where the answer could not be resumed then. */
  #giveUpConnection(until: Promise<unknown>): boolean {
    if (!this.#answer.isResumable) return false;
    this.#givenUpUntil = until;
    this.#hold?.end();
    this.#connection.fail(GIVEN_UP);
    return true;
  }

  #leave(reason: unknown): void {
    this.#connection.fail(reason);
    this.#hold?.end();
  }

  /** Waits before the next attempt, or throws at the bound. */
  async #pause(cause: unknown): Promise<void> {
    try {
      await this.#reconnection.pause(cause, this.#answer.names);
    } catch (error) {
      throw error === cause && error instanceof RequestRefusedError ? this.#answer.told(error) : error;
    }
  }

  /** Whether a refusal may be temporary. A refused question is not repeated, unless nobody knows if it had arrived. */
  #mayAskAgain(refused: RequestRefusedError): boolean {
    const asks = this.#requests.asks(this.cursor);
    if (asks && !this.#inDoubt && this.#answer.delivered === 0 && this.streamId === null) return false;
    if (refused instanceof ResumeFailedError || refused.code.startsWith("quota_")) return false;
    return refused.retryable && this.#reconnection.isPatientFor(refused);
  }
}

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
