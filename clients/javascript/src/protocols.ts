/** What each protocol's events mean: its parts, and how it says that an answer is over. */

import { ProtocolError } from "./errors.js";
import type { ServerSentEvent } from "./event-source-parser.js";
import type { Fault } from "./faults.js";
import type { FaultPart, Part } from "./parts.js";

/** Reads the events of one answer. */
export interface PartReader {
  /** The answer's end was read. */
  readonly ended: boolean;
  /** What the parts said of the end so far. */
  readonly outcome: "completed" | "stopped" | null;
  /** The answer ended with a failure. */
  failure: { readonly message: string; readonly fault: Fault | null } | null;
  /** A clean end of the connection is the end of the answer. */
  readonly endsWithConnection: boolean;
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
  abstract read(message: ServerSentEvent): Part | null;

  /** What the terminal record of a `plain` endpoint says. */
  protected end(data: string): Part | null {
    this.ended = true;
    const { outcome, fault } = (json(data) ?? {}) as { outcome?: string; fault?: Fault };
    if (outcome !== "completed" && outcome !== "stopped") {
      this.failure = { message: fault?.message ?? `The answer was ${outcome ?? "interrupted"}.`, fault: fault ?? null };
      return null;
    }
    this.outcome = outcome;
    return outcome === "stopped" ? { type: "abort" } : { type: "finish" };
  }
}

/** AI SDK's UI message stream. */
class UiMessageReader extends Reader {
  readonly endsWithConnection = false;

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

  read({ event, data }: ServerSentEvent): Part | null {
    if (event === "streamguard.notice" || event === "streamguard.error") return faultPart(data);
    return event === "streamguard.end" ? this.end(data) : { type: "text-delta", id: "t0", delta: data };
  }
}

/** The events of a provider or another upstream, passed on. */
class EventsReader extends Reader {
  readonly endsWithConnection = true;

  read({ event, data }: ServerSentEvent): Part | null {
    if (data === "[DONE]") {
      this.ended = true;
      return null;
    }
    // A plain endpoint that was not named is at least not taken for one that succeeds.
    if (event === "streamguard.notice" || event === "streamguard.error") return faultPart(data);
    if (event === "streamguard.end") return this.end(data);
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

function faultPart(data: string): FaultPart {
  const fault = json(data) as Fault | null | undefined;
  if (typeof fault?.code !== "string") throw new ProtocolError("A fault in the answer cannot be read.");
  return { type: "data-streamguard-error", id: fault.fault_id, data: fault, transient: true };
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
