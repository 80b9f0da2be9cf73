/** How far one answer was read: its names, its last event, and what its events said of its end. */

import { Callbacks } from "./callbacks.js";
import { AnswerFailedError, ProtocolError, RequestRefusedError, ResumeFailedError } from "./errors.js";
import type { ServerSentEvent } from "./event-source-parser.js";
import { type Fault, isOfConnection } from "./faults.js";
import { faultOf, persistedOf } from "./parts.js";
import { type PartReader, partReaderOf } from "./protocols.js";
import type { OpenStreamOptions, StreamEvent, StreamNames } from "./stream-options.js";

/** The id of an event in the log. An upstream's own has another form. */
const CURSOR = /^\d+\.[^.]+\.\d+\.\d+$/;

/** What is known of an answer, over any number of connections. */
export class AnswerProgress {
  readonly sessionId: string;
  streamId: string | null;
  messageId: string | null = null;
  /** The id of the last event that has one. */
  cursor: string | null;
  /** How many events were read. */
  delivered = 0;
  /** Null until a response came. */
  reader: PartReader | null = null;
  readonly callbacks: Callbacks;
  readonly #protocol: NonNullable<OpenStreamOptions["protocol"]>;
  /** How many events came after the one that `cursor` names: those with ids of an upstream's own. */
  #behind = 0;
  /** The server has said that the answer is not in the log. */
  #notResumable = false;
  #fatal: Fault | null = null;

  /** @param told ids of the faults that were told of before */
  constructor(options: OpenStreamOptions, told: Set<string>, streamId: string | null) {
    this.streamId = streamId;
    this.sessionId = options.sessionId;
    this.cursor = options.cursor ?? null;
    this.#protocol = options.protocol ?? "auto";
    this.callbacks = new Callbacks(options, () => this.names, told);
  }

  get names(): StreamNames {
    return { sessionId: this.sessionId, streamId: this.streamId, messageId: this.messageId };
  }

  /** How many events a response repeats that begins now: without a cursor all, else those after the cursor's. */
  get repeated(): number {
    return this.cursor === null ? this.delivered : this.#behind;
  }

  /** Whether a further response could go on after what was read. */
  get isResumable(): boolean {
    return !this.#notResumable && this.cursor !== null;
  }

  /** Whether what follows is lost with its connection. */
  get isLostWithConnection(): boolean {
    return this.#notResumable && this.cursor === null && this.delivered > 0;
  }

  /**
   * A response of status 200 has come.
   *
   * @throws {ProtocolError} it is no event stream
   * @throws {ResumeFailedError} it is another answer's
   */
  begin(response: Response): void {
    const type = response.headers.get("content-type") ?? "";
    if (!type.toLowerCase().startsWith("text/event-stream") || response.body === null) {
      const details = { status: response.status, sessionId: this.sessionId };
      throw new ProtocolError(`The response is no event stream, but ${type || "without a content type"}.`, details);
    }
    const streamId = response.headers.get("x-stream-id");
    if (this.streamId !== null && streamId !== null && streamId !== this.streamId && this.delivered > 0) {
      throw this.lost("resume_failed", "Another answer has taken the place of this one.", undefined);
    }
    this.streamId = streamId ?? this.streamId;
    this.messageId = response.headers.get("x-message-id") ?? this.messageId;
    const isUiMessage = response.headers.has("x-vercel-ai-ui-message-stream");
    this.reader ??= partReaderOf(isUiMessage ? "ui-message" : this.#protocol);
    this.#notResumable = response.headers.get("x-streamguard-notice") === "not_resumable";
  }

  /**
   * The event of a message. Null: it was seen before, or only tells of the end. An error: the connection fails, though not
   * the answer.
   *
   * @throws {AnswerFailedError} the answer ends with it
   * @throws {ResumeFailedError} the server cannot read on in the log, for good
   */
  accept(message: ServerSentEvent): StreamEvent | RequestRefusedError | null {
    const reader = this.reader!;
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
    this.delivered += 1;
    if (reader.failure !== null) throw this.failed(reader.failure.message, fault ?? this.#fatal);
    if (part === null) return null;
    if (fault !== null) {
      if (fault.code === "not_resumable") this.#notResumable = true;
      if (fault.severity === "fatal") this.#fatal = fault;
      this.callbacks.fault(fault);
    }
    const saved = persistedOf(part);
    if (saved !== null) this.callbacks.persisted(saved);
    return { id, type: part.type, part } as StreamEvent;
  }

  /** Reads a comment. Gives whether it is a keep-alive. */
  readComment(text: string): boolean {
    const notice = this.reader!.readComment(text);
    if (notice !== null && notice !== "keep-alive") this.callbacks.fault(notice);
    return notice === "keep-alive";
  }

  failed(message: string, fault: Fault | null): AnswerFailedError {
    if (fault !== null) this.callbacks.fault(fault);
    const names = { sessionId: this.sessionId, streamId: this.streamId ?? undefined };
    return new AnswerFailedError(fault?.code ?? "answer_failed", message, { fault, retryable: fault?.retryable ?? false, ...names });
  }

  lost(code: string, message: string, cause: unknown): ResumeFailedError {
    return new ResumeFailedError(code, message, { sessionId: this.sessionId, streamId: this.streamId ?? undefined, cause });
  }

  /** The refusal, once its fault was told. */
  told(refused: RequestRefusedError): RequestRefusedError {
    if (refused.fault !== null) this.callbacks.fault(refused.fault);
    return refused;
  }

  #connectionFailed(fault: Fault): RequestRefusedError {
    const { sessionId, streamId } = this;
    const details = { status: fault.status, sessionId, streamId: streamId ?? undefined, fault };
    if (fault.code === "resume_failed") throw this.told(new ResumeFailedError(fault.code, fault.message, details));
    return new RequestRefusedError(fault.code, fault.message, { ...details, retryable: true });
  }
}
