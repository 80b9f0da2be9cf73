/** What can be asked of a session besides its stream. */

import { Connection } from "./connection.js";
import { ProtocolError, StreamguardError } from "./errors.js";
import { type ConnectionOptions, refusal, request, routeOf } from "./requests.js";

/** One answer, as `GET /{session}` describes it. */
export interface AnswerStatus {
  readonly stream_id: string;
  readonly message_id?: string;
  /** Null until the answer's end is decided. */
  readonly outcome?: "completed" | "stopped" | "failed" | "interrupted" | null;
  readonly persisted?: "yes" | "pending" | "no" | "not_asked";
  readonly quota?: "settled" | "pending" | "none";
  readonly cursor?: string | null;
}

/** The owner's usage under one limit. */
export interface QuotaLimit {
  readonly name: string;
  readonly unit: string;
  readonly per_seconds: number;
  readonly limit: number;
  readonly used: number;
  readonly reserved: number;
  readonly remaining: number;
  readonly resets_in_seconds: number;
}

/** What `GET /{session}` answers. */
export interface SessionStatus {
  readonly session_id: string;
  /** The answer that is being written, or null. */
  readonly active: AnswerStatus | null;
  /** The answer that began last, or null. */
  readonly last: AnswerStatus | null;
  readonly quota: { readonly limits: readonly QuotaLimit[]; readonly pending_release: number } | null;
}

/** A saved message, in AI SDK's form and with what streamguard knows of it. */
export interface SavedMessage {
  readonly id: string;
  readonly role: "system" | "user" | "assistant";
  /** Parts of the AI SDK version that the page uses. */
  readonly parts: any[];
  readonly metadata?: unknown;
  readonly status: "complete" | "partial" | "unanswered";
  readonly persisted: "yes" | "pending" | "no";
  readonly outcome: string | null;
  readonly stream_id: string | null;
  readonly replies_to: string | null;
  readonly position: number | null;
  /** RFC 3339, UTC. */
  readonly created_at: string;
  readonly updated_at: string;
  readonly usage: Readonly<Record<string, number>>;
}

/** Names one session of a server. */
export interface SessionOptions extends ConnectionOptions {
  /** The conversation: `useChat`'s `id`. */
  readonly sessionId: string;
  readonly signal?: AbortSignal | undefined;
}

/** What a Stop did: `stopping`, or `nothing_runs` if the named answer (or any) is not being written. */
export type StopResult = "stopping" | "nothing_runs";

/**
 * Stops an answer on the server, from any tab and on any worker.
 *
 * @param options with `streamId`, only that answer is stopped, so that a late Stop ends no later one. Without it,
 *   whatever runs, or is about to begin.
 * @throws {RequestRefusedError} 401, 403 (another origin), 429, 503 …: the answer goes on
 * @throws {StreamguardError} `connection_lost`: nobody knows whether the Stop arrived; it may be sent again
 */
export async function stopAnswer(options: SessionOptions & { readonly streamId?: string | undefined }): Promise<StopResult> {
  const query: Record<string, string> = options.streamId === undefined ? {} : { stream_id: options.streamId };
  const response = await ask(options, routeOf(options, options.sessionId, "/stop", query), "POST");
  return response.status === 202 ? "stopping" : "nothing_runs";
}

/** The session's running and last answer, and what is left of the owner's quota. */
export async function sessionStatus(options: SessionOptions): Promise<SessionStatus> {
  const response = await ask(options, routeOf(options, options.sessionId, ""), "GET");
  return jsonOf<SessionStatus>(response, options, "session_id");
}

/**
 * The saved messages of a session, in the order of the conversation: `useChat`'s initial messages.
 * A last answer that is not saved yet is left out: `resume` brings it.
 */
export async function savedMessages(options: SessionOptions): Promise<SavedMessage[]> {
  const messages: SavedMessage[] = [];
  let after: number | null = null;
  do {
    const query: Record<string, string> = after === null ? {} : { after: String(after) };
    const response = await ask(options, routeOf(options, options.sessionId, "/messages", query), "GET");
    const page = jsonOf<{ messages: SavedMessage[]; next: number | null }>(response, options, "messages");
    if (!isListOfObjects(page.messages)) throw notOfAServer(response, options);
    messages.push(...page.messages.filter(({ position }) => position !== null));
    const next = page.next ?? null;
    if (next !== null && !(next > (after ?? -1))) {
      throw new ProtocolError("The next page of messages is none.", { sessionId: options.sessionId });
    }
    after = next;
  } while (after !== null);
  return messages;
}

/**
 * What a route answers.
 *
 * @throws {RequestRefusedError} the status is an error
 * @throws {StreamguardError} `connection_lost`
 * @throws the reason of the signal, also where `fetch` takes no notice of it
 */
async function ask(options: SessionOptions, url: string, method: string): Promise<{ status: number; text: string }> {
  const { signal } = options;
  const connection = new Connection(0);
  const end = () => connection.fail(signal?.reason);
  if (signal?.aborted) end();
  signal?.addEventListener("abort", end);
  try {
    const response = await connection.open((aborting) => request(options, url, { method, signal: aborting }));
    if (!response.ok) throw refusal(response, await connection.textOfRefusal(response), options.sessionId);
    return { status: response.status, text: await connection.text(response) };
  } catch (error) {
    if (error instanceof StreamguardError || signal?.aborted) throw error;
    const details = { retryable: true, sessionId: options.sessionId, cause: error };
    throw new StreamguardError("connection_lost", "The server could not be reached.", details);
  } finally {
    signal?.removeEventListener("abort", end);
  }
}

/** The JSON of a response, which has this field. */
function jsonOf<DOCUMENT>(response: { status: number; text: string }, options: SessionOptions, field: string): DOCUMENT {
  let document: unknown;
  try {
    document = JSON.parse(response.text);
  } catch {
    document = null;
  }
  if (typeof document === "object" && document !== null && field in document) return document as DOCUMENT;
  throw notOfAServer(response, options);
}

function isListOfObjects(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === "object" && one !== null);
}

function notOfAServer({ status }: { status: number }, { sessionId }: SessionOptions): ProtocolError {
  return new ProtocolError("The response is not a streamguard server's.", { status, sessionId });
}
