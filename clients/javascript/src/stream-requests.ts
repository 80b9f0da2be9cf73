/** The requests of one answer: its question, and its resumes. */

import { Connection } from "./connection.js";
import { StreamguardError } from "./errors.js";
import { headersOf, randomKey, request, routeOf } from "./requests.js";
import type { AnswerStatus, SessionStatus } from "./sessions.js";
import type { OpenStreamOptions, Question } from "./stream-options.js";

export class StreamRequests {
  /** The question's `Idempotency-Key`, or null without a question. */
  readonly key: string | null;
  readonly #options: OpenStreamOptions;

  constructor(options: OpenStreamOptions) {
    this.#options = options;
    this.key = options.question === undefined ? null : options.question.idempotencyKey || randomKey();
  }

  /** Whether the question itself is sent, which is so until something of its answer has arrived. */
  asks(cursor: string | null): boolean {
    return this.#options.question !== undefined && cursor === null;
  }

  /** Where streams are read. */
  get streamUrl(): string {
    return routeOf(this.#options, this.#options.sessionId, "/stream", { ids: "1" });
  }

  /** Asks, or resumes after `cursor`. A question that is sent again is answered once, by its key. */
  async send(cursor: string | null, signal: AbortSignal): Promise<Response> {
    const { question, protocol, sessionId } = this.#options;
    if (question === undefined || cursor !== null) {
      const headers: Record<string, string> = { accept: "text/event-stream" };
      if (cursor !== null) headers["last-event-id"] = cursor;
      return request(this.#options, this.streamUrl, { method: "GET", headers, signal });
    }
    let url = this.#options.api ?? "/api/chat";
    // Streams that are passed on carry ids only if they are asked for.
    if (protocol !== "ui-message" && protocol !== "plain") url = withIds(url);
    const headers = new Headers({ accept: "text/event-stream", "idempotency-key": this.key ?? "" });
    headersOf(question.headers).forEach((value, name) => headers.set(name, value));
    headers.set("content-type", "application/json");
    return request(this.#options, url, { method: "POST", headers, body: jsonOf(question, sessionId), signal });
  }

  /** What the server knows of an answer; null if it cannot be asked, or has another one by now. */
  async status(streamId: string, idleTimeoutMs: number, signal: AbortSignal): Promise<AnswerStatus | null> {
    const connection = new Connection(idleTimeoutMs);
    const end = () => connection.fail(signal.reason);
    signal.addEventListener("abort", end);
    try {
      const url = routeOf(this.#options, this.#options.sessionId, "");
      const response = await connection.open((aborting) => request(this.#options, url, { method: "GET", signal: aborting }));
      const text = await connection.text(response);
      const { last } = JSON.parse(text) as Partial<SessionStatus>;
      return response.ok && last?.stream_id === streamId ? last : null;
    } catch {
      return null;
    } finally {
      signal.removeEventListener("abort", end);
    }
  }
}

function withIds(url: string): string {
  const [address = "", fragment] = url.split("#", 2);
  const more = `${address}${address.includes("?") ? "&" : "?"}ids=1`;
  return fragment === undefined ? more : `${more}#${fragment}`;
}

function jsonOf({ body }: Question, sessionId: string): string {
  let cause: unknown;
  try {
    const text = JSON.stringify(body) as string | undefined;
    if (text !== undefined) return text;
  } catch (error) {
    cause = error;
  }
  throw new StreamguardError("request_invalid", "The body of the question is no JSON.", { sessionId, cause });
}
