// One answer as it is read, and the connection that it is read over.

/** Failures that a banner shows, besides the server's own. */
export const LOST = { code: "connection_lost", message: "The connection to the server is lost.", severity: "error" };

/**
 * What an answer is so far. `outcome` is null until its end is known; `save` is null until something is known of its
 * being kept, then "saved", "saving" or "unsaved", and `saveFault` what the server said of that.
 */
export function emptyAnswer() {
  return { id: null, text: "", outcome: null, fault: null, streamId: null, save: null, saveFault: null };
}

/** Applies one part to an answer. Returns the fault if the part carries one, else null. */
export function applyPart(answer, part) {
  switch (part.type) {
    case "start":
      answer.id = part.messageId ?? answer.id;
      return null;
    case "data-streamguard-persisted":
      answer.save = "saved";
      return null;
    case "text-delta":
      answer.text += part.delta;
      return null;
    case "data-streamguard-error": {
      const fault = { fault_id: part.id, ...part.data };
      if (fault.severity === "fatal") applyFailure(answer, fault);
      else if (fault.phase === "persistence" && fault.message_id) {
        // About this answer; one about the question has no message_id.
        answer.save = fault.code === "persistence_pending" ? "saving" : "unsaved";
        answer.saveFault = fault;
      }
      return fault;
    }
    case "abort":
      answer.outcome ??= "stopped";
      return null;
    case "finish":
      answer.outcome ??= "completed";
      return null;
    default:
      return null;
  }
}

/** The answer ended with a failure; `fault` is what is known of it. */
export function applyFailure(answer, fault) {
  const byServer = fault.code === "interrupted" || fault.phase === "shutdown";
  answer.outcome = byServer ? "interrupted" : "failed";
  answer.fault = fault;
}

/** The number of the event that a cursor names, `<version>.<stream>.<epoch>.<number>`; 0 without a cursor. */
export function numberOf(cursor) {
  return cursor ? Number(cursor.slice(cursor.lastIndexOf(".") + 1)) : 0;
}

/** A way to the server that can be cut: requests that are under way break, and for a while none gets through. */
export class Connection {
  #cutting = new AbortController();
  #backAt = 0;

  /** For `openStream({fetch})`. */
  fetch = async (url, init) => {
    if (Date.now() < this.#backAt) throw new TypeError("The connection is cut.");
    return fetch(url, { ...init, signal: eitherOf(init.signal, this.#cutting.signal) });
  };

  cut(milliseconds) {
    this.#backAt = Date.now() + milliseconds;
    this.#cutting.abort(new DOMException("The connection was cut.", "NetworkError"));
    this.#cutting = new AbortController();
  }
}

function eitherOf(first, second) {
  return first ? AbortSignal.any([first, second]) : second;
}

/** Waits. */
export function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
