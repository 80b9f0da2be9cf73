/** The parts of an answer. A `plain` answer is read as the same parts. */

import type { Fault, Persisted } from "./faults.js";

/** A fault or notice of the server's, in the stream. */
export interface FaultPart {
  readonly type: "data-streamguard-error";
  readonly id: string;
  readonly data: Fault;
  readonly transient?: boolean;
}

/** The answer is saved. */
export interface PersistedPart {
  readonly type: "data-streamguard-persisted";
  readonly id: string;
  readonly data: Persisted;
  readonly transient?: boolean;
}

/** A data part of the application's own. */
export interface DataPart {
  readonly type: `data-${string}`;
  readonly id?: string;
  readonly data: unknown;
  readonly transient?: boolean;
}

/** An event of a protocol that this package passes on: OpenAI's, Anthropic's, an upstream's own. */
export interface MessagePart {
  readonly type: "message";
  /** The name of the server-sent event; `message` if it has none. */
  readonly event: string;
  /** The value of its JSON, or its text if that is none. */
  readonly data: unknown;
}

/**
 * A part of an answer. These are the ones that most pages read; the others of AI SDK's protocol arrive as well, and so
 * do parts that came with a later version.
 */
export type Part =
  | { readonly type: "start"; readonly messageId?: string; readonly messageMetadata?: unknown }
  | { readonly type: "text-start" | "text-end" | "reasoning-start" | "reasoning-end"; readonly id: string }
  | { readonly type: "text-delta" | "reasoning-delta"; readonly id: string; readonly delta: string }
  | { readonly type: "tool-input-start"; readonly toolCallId: string; readonly toolName: string; readonly dynamic?: boolean }
  | { readonly type: "tool-input-delta"; readonly toolCallId: string; readonly inputTextDelta: string }
  | { readonly type: "tool-input-available"; readonly toolCallId: string; readonly toolName: string; readonly input: unknown; readonly dynamic?: boolean }
  | { readonly type: "tool-output-available"; readonly toolCallId: string; readonly output: unknown; readonly dynamic?: boolean }
  | { readonly type: "tool-output-error"; readonly toolCallId: string; readonly errorText: string; readonly dynamic?: boolean }
  | { readonly type: "source-url"; readonly sourceId: string; readonly url: string; readonly title?: string }
  | { readonly type: "file"; readonly url: string; readonly mediaType: string }
  | { readonly type: "start-step" | "finish-step" }
  | { readonly type: "message-metadata"; readonly messageMetadata: unknown }
  | { readonly type: "finish"; readonly finishReason?: string; readonly messageMetadata?: unknown }
  | { readonly type: "abort"; readonly reason?: string }
  | FaultPart
  | PersistedPart
  | DataPart
  | MessagePart;

/** The fault that a part carries, or null. For the parts of AI SDK's `onData` too. */
export function faultOf(part: { readonly type: string }): Fault | null {
  return part.type === "data-streamguard-error" ? ((part as FaultPart).data ?? null) : null;
}

/** What a part says of the saved answer, or null. For the parts of AI SDK's `onData` too. */
export function persistedOf(part: { readonly type: string }): Persisted | null {
  return part.type === "data-streamguard-persisted" ? (part as PersistedPart).data : null;
}
