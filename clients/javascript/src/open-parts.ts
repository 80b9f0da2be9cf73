/** Which parts of a message have begun and not ended. */

/** What a page would show as unfinished for ever, if the answer's end never came. */
export class OpenParts {
  readonly #spans = new Map<string, { type: string; id: string }>();
  readonly #calls = new Map<string, { dynamic: boolean; whole: boolean; begun: string }>();

  /** Takes note of a part that the page gets. */
  note(part: { readonly type: string }): void {
    const { type, id, toolCallId, inputTextDelta, dynamic } = part as Record<string, unknown>;
    const call = String(toolCallId);
    switch (type) {
      case "start":
        this.#spans.clear();
        this.#calls.clear();
        break;
      case "text-start":
      case "reasoning-start":
        this.#spans.set(`${type} ${id}`, { type: type.replace("start", "end"), id: String(id) });
        break;
      case "text-end":
      case "reasoning-end":
        this.#spans.delete(`${type.replace("end", "start")} ${id}`);
        break;
      case "tool-input-start":
      case "tool-input-available":
        this.#calls.set(call, { dynamic: dynamic === true, whole: type === "tool-input-available", begun: "" });
        break;
      case "tool-input-delta": {
        const open = this.#calls.get(call);
        if (open && open.begun === "") open.begun = String(inputTextDelta).trimStart();
        break;
      }
      case "tool-output-available":
      case "tool-output-error":
      case "tool-input-error":
      case "tool-output-denied":
        this.#calls.delete(call);
        break;
    }
  }

  /**
   * The parts that end what is open. Afterwards nothing is.
   *
   * @param complete the answer ended as it should: then a call whose input is whole waits for the page's own tool,
   *   and stays.
   */
  ends(complete: boolean): { readonly type: string; readonly [field: string]: unknown }[] {
    const parts: { type: string; [field: string]: unknown }[] = [...this.#spans.values()];
    for (const [toolCallId, { dynamic, whole, begun }] of this.#calls) {
      if (whole && complete) continue;
      // Before it has input, AI SDK knows no call that could fail.
      if (!whole && begun === "") parts.push({ type: "tool-input-delta", toolCallId, inputTextDelta: "{}" });
      const errorText = "This call was not finished.";
      parts.push({ type: "tool-output-error", toolCallId, errorText, ...(dynamic ? { dynamic } : {}) });
    }
    this.#spans.clear();
    this.#calls.clear();
    return parts;
  }
}
