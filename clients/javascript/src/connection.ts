/** One HTTP connection of an answer: a request, and the events of its response. */

import { EventSourceParser, type ServerSentEvent } from "./event-source-parser.js";
import { whenBack } from "./page-events.js";
import { MAX_TIMER_MS } from "./reconnection.js";

/**
 * Ends when nothing arrives for a while, whatever `fetch` makes of its signal: each wait is for the connection's failure
 * as well.
 */
export class Connection {
  /** The body ended as HTTP says that it should. */
  endedCleanly = false;
  /** A new event came by this connection. */
  broughtEvents = false;
  readonly #idleTimeoutMs: number;
  readonly #controller = new AbortController();
  #heardAt = Date.now();

  /** @param idleTimeoutMs how long it may be silent; 0: for ever */
  constructor(idleTimeoutMs: number) {
    this.#idleTimeoutMs = idleTimeoutMs;
  }

  /** Ends the connection. What waits for it gets `reason`. */
  fail(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /**
   * Sends a request.
   *
   * @throws what `send` throws, or why the connection failed
   */
  async open(send: (signal: AbortSignal) => Promise<Response>): Promise<Response> {
    this.#controller.signal.throwIfAborted();
    const sent = send(this.#controller.signal);
    const endLate = async (response: Response) => void (this.#controller.signal.aborted && (await response.body?.cancel()));
    sent.then(endLate).catch(() => {});
    return this.#unlessItFails(sent);
  }

  /**
   * The text of a response.
   *
   * @throws why the connection failed
   */
  async text(response: Response, mostBytes = Infinity): Promise<string> {
    const decoder = new TextDecoder();
    let text = "";
    let left = mostBytes;
    for await (const bytes of this.#bytes(response)) {
      left -= bytes.length;
      if (left < 0) return "";
      text += decoder.decode(bytes, { stream: true });
    }
    return text + decoder.decode();
  }

  /** The text of a refusal, which is small. Otherwise nothing: the status is known all the same. */
  async textOfRefusal(response: Response): Promise<string> {
    return this.text(response, 1_048_576).catch(() => "");
  }

  /**
   * The events of a response.
   *
   * @param heard is called with the connection's reader after each piece of bytes, before its events
   * @throws why the connection failed
   */
  async *events(
    response: Response,
    heard: (parser: EventSourceParser) => void,
    onComment: (text: string) => void,
  ): AsyncGenerator<ServerSentEvent, void, undefined> {
    const parser = new EventSourceParser(onComment);
    for await (const bytes of this.#bytes(response)) {
      const events = parser.push(bytes);
      heard(parser);
      yield* events;
    }
    this.endedCleanly = true;
  }

  async *#bytes(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
    if (response.body === null) return;
    const { signal } = this.#controller;
    const reader = response.body.getReader();
    const cancel = () => void reader.cancel().catch(() => {}); // a broken one has nothing left to cancel
    signal.addEventListener("abort", cancel);
    try {
      for (;;) {
        const { done, value } = await this.#unlessItFails(reader.read());
        if (done) return;
        yield value;
      }
    } finally {
      signal.removeEventListener("abort", cancel);
      cancel(); // leaving early ends the request
    }
  }

  /** What `work` gives, within the bound of silence. */
  #unlessItFails<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#controller;
    const limit = this.#idleTimeoutMs;
    const silent = () => this.fail(new Error(`Nothing arrived for ${limit} ms.`));
    this.#heardAt = Date.now();
    return new Promise<T>((resolve, reject) => {
      const isBounded = limit > 0 && limit <= MAX_TIMER_MS;
      const timer = isBounded ? setTimeout(silent, limit) : undefined;
      // While a device sleeps, timers stand still.
      const forget = isBounded ? whenBack(() => void (Date.now() - this.#heardAt > limit && silent())) : () => {};
      const settle = () => {
        clearTimeout(timer);
        forget();
        signal.removeEventListener("abort", failed);
      };
      const failed = () => {
        settle();
        reject(signal.reason);
      };
      work.then(resolve, reject).finally(settle);
      if (signal.aborted) failed();
      else signal.addEventListener("abort", failed);
    });
  }
}
