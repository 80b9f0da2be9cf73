/** A transport for AI SDK's `useChat`, of versions 5, 6 and 7. It needs nothing of the package `ai`. */

import { continuedMessage } from "./continued-message.js";
import { ConnectionLostError, ResumeFailedError } from "./errors.js";
import { EventStream } from "./event-stream.js";
import { OpenParts } from "./open-parts.js";
import type { ReconnectOptions } from "./reconnection.js";
import { type ConnectionOptions, type HeadersLike, type Resolvable, randomKey, resolved } from "./requests.js";
import { type SavedMessage, type SessionStatus, type StopResult, savedMessages, sessionStatus, stopAnswer } from "./sessions.js";
import type { OpenStreamOptions, Question, StreamCallbacks } from "./stream-options.js";

/** What the transport reads of a UI message. */
export interface ChatMessage {
  readonly id: string;
  readonly role: string;
  /** Each version of AI SDK has parts of its own. */
  readonly parts: readonly any[];
}

/** The request that the transport is about to send. */
export interface PreparedRequest<MESSAGE> {
  readonly chatId: string;
  readonly messages: readonly MESSAGE[];
  readonly trigger: "submit-message" | "regenerate-message";
  readonly messageId: string | undefined;
  /** What would be sent. */
  readonly body: Readonly<Record<string, unknown>>;
  /** What `sendMessage` was given as `metadata`. */
  readonly metadata: unknown;
}

/** Options of {@link StreamguardTransport}. */
export interface StreamguardTransportOptions<MESSAGE> extends ConnectionOptions, StreamCallbacks {
  /** More fields of the request's JSON, or a function that gives them. */
  readonly body?: Resolvable<object | undefined> | undefined;
  /** Send only the last message: the server has saved the others. Default: all of them. */
  readonly onlyLastMessage?: boolean | undefined;
  /** The release of `ai` that the page uses, such as `7.0.173`; the server leaves out what it does not know. */
  readonly clientVersion?: string | undefined;
  /**
   * `useChat`'s own `stop()` stops the answer on the server too. Default: it only leaves it. AI SDK 7 calls it as well when
   * a component is unmounted, so that whoever opens another chat ends the answer of this one.
   */
  readonly stopOnAbort?: boolean | undefined;
  /** Replaces the JSON of the request, or adds headers to it. */
  readonly prepareRequest?:
    | ((request: PreparedRequest<MESSAGE>) => RequestChanges | Promise<RequestChanges>)
    | undefined;
  readonly reconnect?: ReconnectOptions | undefined;
}

/** What `prepareRequest` gives. */
interface RequestChanges {
  body?: object | undefined;
  headers?: HeadersLike | undefined;
}

/** What AI SDK gives a transport with each request. */
interface RequestOptions {
  headers?: HeadersLike | undefined;
  body?: object | undefined;
  metadata?: unknown;
}

type StreamPart = { readonly type: string };

/** The newest answer of one chat, as this tab knows it. */
interface Answer {
  stream: EventStream;
  /** For a resend; kept until the answer's end is read. */
  question: Question | null;
  readonly told: Set<string>;
  /** The message that the question sent back, to be continued, as parts. */
  readonly continued: readonly StreamPart[];
  /**
   * The parts of the message that the page shows: what is continued, and what it got, without transient ones and with deltas
   * put together; kept until the end is read.
   */
  parts: StreamPart[];
  /** The connection is lost for good: a resume goes on from here. */
  lost: boolean;
  /** A newer question has taken its place. */
  replaced: boolean;
}

/**
 * Sends questions, and shows their answers through cut connections, reloads and restarts.
 *
 * A cut is mended within the same answer: the page gets the rest, nothing twice. After the bound, the chat gets
 * {@link ConnectionLostError}, and `resumeStream()` brings the whole answer. Failures are errors of this package.
 *
 * @typeParam MESSAGE - the page's own type of messages.
 * @typeParam CHUNK - `UIMessageChunk` of the AI SDK version in use; it follows from where the transport is given.
 *
 * @example
 * ```ts
 * const transport = new StreamguardTransport({ api: "/api/chat" });
 * const { messages, sendMessage } = useChat({ id, transport, resume: true });
 * ```
 */
export class StreamguardTransport<MESSAGE extends ChatMessage = any, CHUNK = any> {
  /** Read by AI SDK 6 and 7: a resumed answer begins with its start. */
  readonly resumeStreamIsReplay = true;
  readonly #options: StreamguardTransportOptions<MESSAGE>;
  readonly #answers = new Map<string, Answer>();
  readonly #resending = new Set<string>();
  /** By chat: the streams whose saved messages were given to the page. */
  readonly #loaded = new Map<string, Set<string>>();

  constructor(options: StreamguardTransportOptions<MESSAGE> = {}) {
    this.#options = options;
  }

  /** Asks. Called by AI SDK. The stream before it, if any, is left: a new question begins with nothing of the old one. */
  async sendMessages<M extends ChatMessage>(
    options: {
      trigger: "submit-message" | "regenerate-message";
      chatId: string;
      messageId: string | undefined;
      messages: M[];
      abortSignal: AbortSignal | undefined;
    } & RequestOptions,
  ): Promise<ReadableStream<CHUNK>> {
    const { chatId, trigger, messageId, metadata, abortSignal } = options;
    this.#forget(chatId);
    const all = options.messages as unknown as MESSAGE[];
    const messages = this.#options.onlyLastMessage === true ? all.slice(-1) : all;
    const base = { ...(await resolved(this.#options.body)), ...options.body, id: chatId, messages, trigger, messageId };
    const prepared = await this.#options.prepareRequest?.({ chatId, messages, trigger, messageId, body: base, metadata });
    const headers = new Headers(options.headers);
    new Headers(prepared?.headers).forEach((value, name) => headers.set(name, value));
    const idempotencyKey = headers.get("idempotency-key") || randomKey();
    const question = { body: prepared?.body ?? base, headers: this.#versioned(headers), idempotencyKey };
    const last = all.at(-1);
    const continued = last?.role === "assistant" && trigger === "submit-message" ? continuedMessage(last) : [];
    const stream = await this.#ask(chatId, question, continued, abortSignal);
    if (stream !== null) return stream;
    return new ReadableStream<CHUNK>({ start: (controller) => controller.close() });
  }

  /**
   * Continues the chat's answer from its beginning. Called by AI SDK's `resumeStream()`.
   *
   * @returns null only if there is nothing to resume
   * @throws {ResumeFailedError} there was an answer, and the rest of it cannot be had any more
   */
  async reconnectToStream(
    options: { chatId: string; abortSignal?: AbortSignal | undefined } & RequestOptions,
  ): Promise<ReadableStream<CHUNK> | null> {
    const { chatId, abortSignal } = options;
    const known = this.#answers.get(chatId);
    if (this.#resending.delete(chatId) && known?.question) {
      known.replaced = true;
      known.stream.close();
      return this.#ask(chatId, known.question, known.continued, abortSignal, known.told);
    }
    const goesOn = known !== undefined && known.lost && known.stream.cursor !== null;
    const headers = Object.fromEntries(this.#versioned(new Headers(options.headers)));
    const told = known?.told ?? new Set<string>();
    const streamId = goesOn ? known.stream.streamId : null;
    const stream = this.#stream(chatId, told, abortSignal, streamId, {
      cursor: goesOn ? (known.stream.cursor ?? undefined) : undefined,
      headers: async () => ({ ...Object.fromEntries(new Headers(await resolved(this.#options.headers))), ...headers }),
    });
    const found = await stream.open().catch((error: unknown) => {
      if (goesOn && error instanceof ResumeFailedError) known.lost = false; // the next resume does without the cursor
      throw error;
    });
    const newest = this.#answers.get(chatId);
    if ((newest !== known && newest?.question) || (!found && !goesOn)) {
      stream.close(); // a question that was asked meanwhile has taken its place, or there is nothing
      return null;
    }
    // The first release of each major version (they give no signal) appends a replay to the message that it repeats.
    if (!("abortSignal" in options) && this.#loaded.get(chatId)?.has(stream.streamId ?? "")) {
      stream.close();
      return null;
    }
    const { question = null, continued = [] } = known ?? {};
    const answer = { stream, question, told, continued, parts: [], lost: false, replaced: false };
    this.#answers.set(chatId, answer);
    return this.#readable(answer, goesOn ? known.parts : [], abortSignal);
  }

  /**
   * Stops the answer that this tab shows, on the server; the open stream then ends with what was written so far.
   * A Stop that comes late ends no later answer.
   *
   * @throws {RequestRefusedError} 401, 403, 429 or 503: the answer goes on
   */
  stop(chatId: string): Promise<StopResult> {
    const stream = this.#answers.get(chatId)?.stream;
    if (stream !== undefined) return stream.stop();
    return stopAnswer({ ...this.#options, sessionId: chatId });
  }

  /**
   * Sends the chat's last question again, with the same `Idempotency-Key`: if it had arrived, its answer is shown, and
   * no second one is written.
   *
   * @param chat what `useChat` returned
   */
  async resend(chat: { readonly id: string; readonly resumeStream: () => Promise<void> }): Promise<void> {
    if (this.#answers.get(chat.id)?.question) this.#resending.add(chat.id);
    try {
      await chat.resumeStream();
    } finally {
      this.#resending.delete(chat.id); // also where it did not get as far as the transport
    }
  }

  /** The id of the chat's answer, as far as this tab knows. */
  streamId(chatId: string): string | null {
    return this.#answers.get(chatId)?.stream.streamId ?? null;
  }

  /** What the server has saved of a chat: `useChat`'s `messages`. See {@link savedMessages}. */
  async savedMessages(chatId: string): Promise<(SavedMessage & MESSAGE)[]> {
    const messages = await savedMessages({ ...this.#options, sessionId: chatId });
    this.#loaded.set(chatId, new Set(messages.flatMap(({ stream_id }) => stream_id ?? [])));
    return messages as (SavedMessage & MESSAGE)[];
  }

  /** The chat's running and last answer, and the owner's quota. See {@link sessionStatus}. */
  status(chatId: string): Promise<SessionStatus> {
    return sessionStatus({ ...this.#options, sessionId: chatId });
  }

  #versioned(headers: Headers): Headers {
    const { clientVersion } = this.#options;
    if (clientVersion !== undefined) headers.set("x-ai-sdk-version", clientVersion);
    return headers;
  }

  #forget(chatId: string): void {
    const answer = this.#answers.get(chatId);
    if (answer === undefined) return;
    answer.replaced = true;
    answer.stream.close();
    this.#answers.delete(chatId);
    this.#resending.delete(chatId);
  }

  #stream(
    chatId: string,
    told: Set<string>,
    signal: AbortSignal | undefined,
    streamId: string | null,
    more: Partial<OpenStreamOptions>,
  ): EventStream {
    const { api, routes, headers, credentials, fetch, reconnect } = this.#options;
    const { onFault, onPersisted, onQuota, onReconnect, onReconnected } = this.#options;
    const protocol = "ui-message"; // also where an upstream's parts come without their header
    const connection = { api, routes, headers, credentials, fetch, reconnect, signal, protocol, sessionId: chatId, ...more };
    const options = { ...connection, onFault, onPersisted, onQuota, onReconnect, onReconnected };
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    return new EventStream(given as unknown as OpenStreamOptions, told, streamId);
  }

  async #ask(
    chatId: string,
    question: Question,
    continued: readonly StreamPart[],
    signal: AbortSignal | undefined,
    told?: Set<string>,
  ): Promise<ReadableStream<CHUNK> | null> {
    this.#forget(chatId); // an answer that was resumed while the question was prepared
    const isResent = told !== undefined; // then the page begins the message anew
    told ??= new Set();
    const stream = this.#stream(chatId, told, signal, null, { question });
    const parts = isResent ? [] : [...continued];
    const answer: Answer = { stream, question, told, continued, parts, lost: false, replaced: false };
    this.#answers.set(chatId, answer);
    if (this.#options.stopOnAbort === true) {
      signal?.addEventListener("abort", () => answer.stream.outcome === null && void stream.stop().catch(() => {}));
    }
    const found = await stream.open();
    return found ? this.#readable(answer, isResent ? continued : [], signal) : null;
  }

  #readable(answer: Answer, before: readonly StreamPart[], signal: AbortSignal | undefined): ReadableStream<CHUNK> {
    const chunks = chunksOf(answer, before, signal);
    return new ReadableStream<CHUNK>(
      {
        async pull(controller) {
          try {
            const { done, value } = await chunks.next();
            if (done) controller.close();
            else controller.enqueue(value as CHUNK);
          } catch (error) {
            controller.error(error);
          }
        },
        cancel() {
          answer.stream.close();
        },
      },
      // What waits in a queue would be lost with an error behind it.
      { highWaterMark: 0 },
    );
  }
}

/** The chunks of an answer: what the page got `before`, the rest, and the ends of what would stay open. */
async function* chunksOf(
  answer: Answer,
  before: readonly StreamPart[],
  signal: AbortSignal | undefined,
): AsyncGenerator<StreamPart, void, undefined> {
  const { stream } = answer;
  const open = new OpenParts();
  const keep = (part: StreamPart) => {
    open.note(part);
    if ((part as { transient?: boolean }).transient !== true) append(answer.parts, part);
    return part;
  };
  try {
    for (const part of before) yield keep(part);
    for await (const { part } of stream) yield keep(part);
    if (answer.replaced) return; // a page would show one more part of the old answer below the new question
    yield* open.ends(stream.outcome !== "stopped"); // `nothing` follows what was seen to its end
    answer.parts = [];
    answer.question = null;
  } catch (error) {
    if (answer.replaced) return;
    answer.lost = error instanceof ConnectionLostError;
    if (!signal?.aborted) yield* open.ends(false);
    throw error;
  }
}

/** Adds a part: a delta to the one before it, so that a long answer is not kept as a hundred thousand parts. */
function append(parts: StreamPart[], part: StreamPart): void {
  const field = part.type === "tool-input-delta" ? "inputTextDelta" : "delta";
  const last = parts.at(-1) as Record<string, unknown> | undefined;
  const next = part as Record<string, unknown>;
  const [before, more] = [last?.[field], next[field]];
  const isMore = last?.type === next.type && last?.id === next.id && last?.toolCallId === next.toolCallId;
  if (!isMore || typeof before !== "string" || typeof more !== "string") parts.push(part);
  else parts[parts.length - 1] = { ...last, ...part, [field]: before + more };
}
