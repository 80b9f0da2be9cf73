/** What each protocol's events mean: its parts, and how it says that an answer is over. */

import { ProtocolError } from "./errors.js";
import type { ServerSentEvent } from "./event-source-parser.js";
import type { Fault } from "./faults.js";
import type { Part } from "./parts.js";

/** Reads the events of one answer. */
export interface PartReader {
  /** The answer's end was read. */
  readonly ended: boolean;
  /** What the parts said of the end so far. */
  readonly outcome: "completed" | "stopped" | null;
  /** The answer ended with a failure. */
  readonly failure: { readonly message: string; readonly fault: Fault | null } | null;
  /** A clean end of the connection is the end of the answer. */
  readonly endsWithConnection: boolean;
  /** Every id is a cursor. Streams that are passed on may have ids of their upstream's own. */
  readonly idsAreCursors: boolean;
  /** The part of an event, or null for what only tells of the end. */
  read(message: ServerSentEvent): Part | null;
}

export function partReaderOf(protocol: "auto" | "ui-message" | "plain" | "events"): PartReader {
  if (protocol === "ui-message") return new UiMessageReader();
  return protocol === "plain" ? new PlainReader() : new EventsReader();
}

abstract class Reader implements PartReader {
  ended = false;
  outcome: "completed" | "stopped" | null = null;
  failure: { message: string; fault: Fault | null } | null = null;
  abstract readonly endsWithConnection: boolean;
  abstract readonly idsAreCursors: boolean;
  abstract read(message: ServerSentEvent): Part | null;
}

/** AI SDK's UI message stream. */
class UiMessageReader extends Reader {
  readonly endsWithConnection = false;
  readonly idsAreCursors = true;

  read({ data }: ServerSentEvent): Part | null {
    if (data === "[DONE]") {
      this.ended = true;
      return null;
    }
    const part = json(data) as { type?: unknown; errorText?: unknown; error?: unknown } | undefined;
    if (typeof part !== "object" || part === null || typeof part.type !== "string") {
      throw new ProtocolError("An event of the answer is no part of a UI message stream.");
    }
    if (part.type === "error") {
      this.failure = { message: String(part.errorText ?? "The answer failed."), fault: ours(part.error) };
      return null;
    }
    if (part.type === "abort") this.outcome = "stopped";
    else if (part.type === "finish") this.outcome ??= "completed";
    return part as Part;
  }
}

/** Text as unnamed events, everything else under names of streamguard's. */
class PlainReader extends Reader {
  readonly endsWithConnection = false;
  readonly idsAreCursors = true;

  read({ event, data }: ServerSentEvent): Part | null {
    if (event === "streamguard.notice" || event === "streamguard.error") {
      const fault = json(data) as Fault;
      return { type: "data-streamguard-error", id: fault.fault_id, data: fault, transient: true };
    }
    if (event !== "streamguard.end") return { type: "text-delta", id: "t0", delta: data };
    this.ended = true;
    const { outcome, fault } = json(data) as { outcome?: string; fault?: Fault };
    if (outcome === "failed" || outcome === "interrupted") {
      this.failure = { message: fault?.message ?? `The answer was ${outcome}.`, fault: fault ?? null };
      return null;
    }
    this.outcome = outcome === "stopped" ? "stopped" : "completed";
    return this.outcome === "stopped" ? { type: "abort" } : { type: "finish" };
  }
}

/** The events of a provider or another upstream, passed on. */
class EventsReader extends Reader {
  readonly endsWithConnection = true;
  readonly idsAreCursors = false;

  read({ event, data }: ServerSentEvent): Part | null {
    if (data === "[DONE]") {
      this.ended = true;
      return null;
    }
    const value = json(data);
    if (event === "error") {
      const { error, errorText } = (value ?? {}) as { error?: unknown; errorText?: unknown };
      const fault = ours(error);
      if (fault !== null) {
        this.failure = { message: String(errorText ?? fault.message), fault };
        return null;
      }
    }
    return { type: "message", event, data: value === undefined ? data : value };
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function ours(error: unknown): Fault | null {
  return (error as { type?: unknown } | undefined)?.type === "streamguard_error" ? (error as Fault) : null;
}
