/**
 * An incremental reader of `text/event-stream`, as the WHATWG specification describes it
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
 */

import { ProtocolError } from "./errors.js";

/** One event: a block that a blank line ended, with data. */
export interface ServerSentEvent {
  /** The block's own `id`, or null. The specification remembers the last one; a reader of this package keeps it. */
  readonly id: string | null;
  /** `message` if the block names none. */
  readonly event: string;
  readonly data: string;
}

/** The longest event, in characters. The server's own limit, `max_event_bytes`, is 1 MiB by default. */
const MAX_EVENT_LENGTH = 16_777_216;

/** Reads events from bytes, wherever they are split: in a line, a CRLF, a character or the byte order mark. */
export class EventSourceParser {
  /** The last valid `retry:` in milliseconds, or null. */
  retryMs: number | null = null;

  readonly #decoder = new TextDecoder(); // strips one byte order mark, and keeps split characters together
  #rest = "";
  #skipLineFeed = false;
  #data: string[] = [];
  #dataLength = 0;
  #event = "";
  #id: string | null = null;
  readonly #onComment: ((text: string) => void) | undefined;

  /** @param onComment is called with the text of each comment line */
  constructor(onComment?: (text: string) => void) {
    this.#onComment = onComment;
  }

  /**
   * The events that end within these bytes. A last block without its blank line is never given.
   *
   * @throws {ProtocolError} an event is longer than 16 Mi characters. The parser cannot be used afterwards.
   */
  push(bytes: Uint8Array): ServerSentEvent[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    const events: ServerSentEvent[] = [];
    if (text === "") return events;
    if (this.#skipLineFeed && text.startsWith("\n")) text = text.slice(1);
    this.#skipLineFeed = false;
    const lineEnd = /\r\n|\r|\n/g;
    let start = 0;
    for (let match = lineEnd.exec(text); match !== null; match = lineEnd.exec(text)) {
      const line = this.#rest + text.slice(start, match.index);
      this.#rest = "";
      this.#readLine(line, events);
      start = lineEnd.lastIndex;
      // A CR at the very end may be half of a CRLF: the line ends now, and its LF is skipped when it comes.
      this.#skipLineFeed = match[0] === "\r" && start === text.length;
    }
    this.#rest += text.slice(start);
    if (this.#rest.length + this.#dataLength > MAX_EVENT_LENGTH) throw new ProtocolError("An event of the stream is too long.");
    return events;
  }

  #readLine(line: string, events: ServerSentEvent[]): void {
    if (line === "") {
      if (this.#data.length > 0) {
        events.push({ id: this.#id, event: this.#event || "message", data: this.#data.join("\n") });
      }
      this.#data = [];
      this.#dataLength = 0;
      this.#event = "";
      this.#id = null;
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.#onComment?.(line.slice(line.startsWith(": ") ? 2 : 1));
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") {
      this.#data.push(value);
      this.#dataLength += value.length + 1;
    }
    if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
  }
}
