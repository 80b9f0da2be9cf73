/** What each protocol's events mean: its parts, and how it says that an answer is over. */

import { ProtocolError } from "./errors.js";
import type { ServerSentEvent } from "./event-source-parser.js";
import type { Fault } from "./faults.js";
import type { FaultPart, Part } from "./parts.js";

/** Reads the events of one answer. */
export interface PartReader {
  /** An end mark, or an upstream's last event, was read: the end of the connection is the end of the answer. */
  readonly ended: boolean;
  /** Nothing follows any more. */
  readonly over: boolean;
  /** What the parts, or the server besides, said of the end so far. */
  outcome: "completed" | "stopped" | null;
  /** The answer ended with a failure. */
  failure: { readonly message: string; readonly fault: Fault | null } | null;
  /** What an upstream called an error; the answer has failed when it is over. */
  readonly upstreamError: string | null;
  /** Whether a response may end cleanly without an end mark. Of an upstream's stream the server alone knows the end. */
  readonly mayLackEndMark: boolean;
  /** The part of an event, or null for what only tells of the end. */
  read(message: ServerSentEvent): Part | null;
  /** The notice in a comment: how streams that are passed on carry one. `keep-alive` if it is none. */
  readComment(text: string): Fault | "keep-alive" | null;
}

export function partReaderOf(protocol: "auto" | "ui-message" | "plain" | "events"): PartReader {
  if (protocol === "ui-message") return new UiMessageReader();
  return protocol === "plain" ? new PlainReader() : new EventsReader();
}

abstract class Reader implements PartReader {
  ended = false;
  over = false;
  upstreamError: string | null = null;
  outcome: "completed" | "stopped" | null = null;
  failure: { message: string; fault: Fault | null } | null = null;
  abstract readonly mayLackEndMark: boolean;
  /** The fatal fault that the last comment told of. The event after it says less of it. */
  protected lastFault: Fault | null = null;
  abstract read(message: ServerSentEvent): Part | null;

  readComment(text: string): Fault | "keep-alive" | null {
    if (!text.startsWith("streamguard {")) return "keep-alive";
    const fault = json(text.slice("streamguard ".length)) as Fault | undefined;
    if (typeof fault?.code !== "string") return null;
    if (fault.severity !== "fatal") return fault;
    this.lastFault = fault;
    return null;
  }

  /** What the terminal record of a `plain` endpoint says. */
  protected end(data: string): Part | null {
    this.ended = this.over = true;
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
  readonly mayLackEndMark = false;

  read({ data }: ServerSentEvent): Part | null {
    if (data === "[DONE]") {
      this.ended = this.over = true;
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
  readonly mayLackEndMark = false;

  read({ event, data }: ServerSentEvent): Part | null {
    if (event === "streamguard.notice" || event === "streamguard.error") return faultPart(data);
    return event === "streamguard.end" ? this.end(data) : { type: "text-delta", id: "t0", delta: data };
  }
}

/** The last events of an answer of Anthropic's, and of OpenAI's Responses. */
const LAST_EVENTS = new Set(["message_stop", "response.completed", "response.incomplete", "response.failed"]);

/** The events of a provider or another upstream, passed on. */
class EventsReader extends Reader {
  readonly mayLackEndMark = true;
  #onlyJson = true;

  read({ event, data }: ServerSentEvent): Part | null {
    // A plain endpoint that was not named is at least not taken for one that succeeds.
    if (event === "streamguard.notice" || event === "streamguard.error") return faultPart(data);
    if (event === "streamguard.end") return this.end(data);
    // A model may say `[DONE]` too: it is an end mark only where everything before it is JSON.
    if (data.trim() === "[DONE]" && event === "message" && this.#onlyJson) {
      this.ended = true;
      this.outcome ??= "completed";
      return null;
    }
    this.#onlyJson &&= data.startsWith("{");
    const value = json(data);
    if (event === "error" || data.startsWith('{"error"')) this.#failed((value ?? {}) as Record<string, unknown>);
    if (LAST_EVENTS.has(event)) {
      this.ended = true;
      if (event === "response.failed") this.upstreamError ??= "The model's answer failed.";
    }
    return { type: "message", event, data: value === undefined ? data : value };
  }

  #failed({ error, errorText, message }: Record<string, unknown>): void {
    const sent = ours(error);
    if (sent !== null) {
      const fault = this.lastFault?.code === sent.code ? this.lastFault : sent;
      this.failure = { message: String(errorText ?? fault.message), fault };
    } else {
      this.upstreamError = String((error as { message?: unknown } | null)?.message ?? message ?? "The model's answer failed.");
    }
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
