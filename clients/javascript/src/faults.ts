/** What the server says about a failure, and what it says about a saved answer. */

/** The codes of faults that this version knows; a newer server may send others. */
export type FaultCode =
  | "request_invalid"
  | "session_invalid"
  | "unauthenticated"
  | "forbidden_origin"
  | "not_found"
  | "conflict_active"
  | "idempotency_conflict"
  | "limit_streams"
  | "limit_viewers"
  | "limit_rate"
  | "payload_too_large"
  | "quota_exceeded"
  | "quota_unavailable"
  | "quota_release_failed"
  | "quota_pending"
  | "store_unavailable"
  | "not_resumable"
  | "resume_failed"
  | "cursor_invalid"
  | "provider_error"
  | "provider_rate_limited"
  | "provider_timeout"
  | "provider_aborted"
  | "stalled"
  | "too_long"
  | "event_too_large"
  | "value_replaced"
  | "persistence_failed"
  | "persistence_pending"
  | "save_conflict"
  | "stopped"
  | "interrupted"
  | "superseded"
  | "shutting_down"
  | "internal";

/** A failure as the server describes it, in the body of an HTTP error or as a part of a stream. */
export interface Fault {
  readonly code: FaultCode | (string & {});
  /** Which step failed: `request`, `auth`, `limits`, `quota`, `registration`, `provider`, `stream`, `persistence`, … */
  readonly phase: string;
  /** `warning`: the answer goes on. `error`: something that was promised did not happen. `fatal`: it ended the answer. */
  readonly severity: "warning" | "error" | "fatal";
  /** The HTTP status of this failure if it comes before the answer's first byte. */
  readonly status: number;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** Safe to show to a user. */
  readonly message: string;
  /** The same on every replay, so that a page shows a fault once. */
  readonly fault_id: string;
  /** RFC 3339, UTC. */
  readonly timestamp?: string;
  /** The exact cause, where one code has several. */
  readonly reason?: string;
  readonly retry_after_seconds?: number;
  /** What a user interface may offer. */
  readonly actions?: readonly string[];
  readonly session_id?: string;
  readonly stream_id?: string;
  readonly message_id?: string;
  readonly request_id?: string;
  /** The user's message that could not be saved, or that the answer replies to. */
  readonly user_message_id?: string;
}

/** What `data-streamguard-persisted` says: this message is saved. */
export interface Persisted {
  readonly message_id: string;
  readonly stream_id: string;
  readonly session_id: string;
}

/** Whether a fault is about usage: the limit is reached, or usage could not be checked or settled. */
export function isQuotaFault(fault: Fault): boolean {
  return fault.phase === "quota" || fault.code.startsWith("quota_");
}

/** Whether a fault without an id says that the server could not read the log: this ends a connection, not the answer. */
export function isOfConnection({ code, phase = "resume", severity = "fatal" }: Partial<Fault>): boolean {
  return (code === "resume_failed" || code === "store_unavailable") && phase === "resume" && severity === "fatal";
}

/** The fault in the text of an HTTP error, or null if its body is not streamguard's (a proxy's page, for example). */
export function faultInBody(text: string): Fault | null {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return null;
  }
  const error = (body as { error?: unknown } | null)?.error as (Partial<Fault> & { type?: unknown }) | undefined;
  return error?.type === "streamguard_error" && typeof error.code === "string" ? (error as Fault) : null;
}
