// An incremental reader of text/event-stream, as the WHATWG specification describes it
// (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).

/**
 * Turns chunks of decoded text into blocks. `id` is null for a block without one of its own;
 * a last block that its blank line never closed is dropped.
 */
export class SseParser {
  #rest = "";
  #skipLineFeed = false;
  #data = [];
  #id = null;

  /** @param {string} text @returns {{id: string | null, data: string}[]} */
  push(text) {
    const blocks = [];
    if (this.#skipLineFeed && text !== "") {
      if (text[0] === "\n") text = text.slice(1);
      this.#skipLineFeed = false;
    }
    const buffer = this.#rest + text;
    let start = 0;
    const lineEnd = /\r\n|\r|\n/g;
    lineEnd.lastIndex = this.#rest.length;
    for (let match = lineEnd.exec(buffer); match; match = lineEnd.exec(buffer)) {
      this.#line(buffer.slice(start, match.index), blocks);
      start = lineEnd.lastIndex;
      // A CR at the very end may be half of a CRLF: end the line now, swallow the LF when it comes.
      this.#skipLineFeed = match[0] === "\r" && start === buffer.length;
    }
    this.#rest = buffer.slice(start);
    return blocks;
  }

  #line(line, blocks) {
    if (line === "") {
      if (this.#data.length) blocks.push({ id: this.#id, data: this.#data.join("\n") });
      this.#data = [];
      this.#id = null;
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
  }
}

/** The blocks of a response's body, as they arrive. */
export async function* sseBlocks(body) {
  const parser = new SseParser();
  const decoder = new TextDecoder(); // strips one BOM; keeps characters split over chunks together
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {}); // leaving early ends the request; a broken one has nothing left to cancel
  }
}
