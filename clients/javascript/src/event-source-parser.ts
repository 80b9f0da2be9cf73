/**
 * An incremental reader of `text/event-stream`, as the WHATWG specification describes it
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
 */

/** One event: a block that a blank line ended, with data. */
export interface ServerSentEvent {
  /** The block's own `id`, or null. The specification remembers the last one; a reader of this package keeps it. */
  readonly id: string | null;
  /** `message` if the block names none. */
  readonly event: string;
  readonly data: string;
}

/** Reads events from bytes, wherever they are split: in a line, a CRLF, a character or the byte order mark. */
export class EventSourceParser {
  /** The last valid `retry:` in milliseconds, or null. */
  retryMs: number | null = null;

  readonly #decoder = new TextDecoder(); // strips one byte order mark, and keeps split characters together
  #rest = "";
  #skipLineFeed = false;
  #data: string[] = [];
  #event = "";
  #id: string | null = null;

  /** The events that end within these bytes. A last block without its blank line is never given. */
  push(bytes: Uint8Array): ServerSentEvent[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    const events: ServerSentEvent[] = [];
    if (text === "") return events;
    if (this.#skipLineFeed && text.startsWith("\n")) text = text.slice(1);
    this.#skipLineFeed = false;
    const buffer = this.#rest + text;
    const lineEnd = /\r\n|\r|\n/g;
    lineEnd.lastIndex = this.#rest.length; // the rest has no line end
    let start = 0;
    for (let match = lineEnd.exec(buffer); match !== null; match = lineEnd.exec(buffer)) {
      this.#readLine(buffer.slice(start, match.index), events);
      start = lineEnd.lastIndex;
      // A CR at the very end may be half of a CRLF: the line ends now, and its LF is skipped when it comes.
      this.#skipLineFeed = match[0] === "\r" && start === buffer.length;
    }
    this.#rest = buffer.slice(start);
    return events;
  }

  #readLine(line: string, events: ServerSentEvent[]): void {
    if (line === "") {
      if (this.#data.length > 0) {
        events.push({ id: this.#id, event: this.#event || "message", data: this.#data.join("\n") });
      }
      this.#data = [];
      this.#event = "";
      this.#id = null;
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
  }
}
