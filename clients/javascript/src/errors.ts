/**
 * The errors of this package:
 *
 * ```text
 * StreamguardError
 * ├── RequestRefusedError   the server answered a request with an error status
 * │   └── ResumeFailedError the rest of the answer cannot be had any more
 * ├── AnswerFailedError     the answer itself ended with a failure
 * ├── ConnectionLostError   no connection within the bound; the answer may still go on
 * └── ProtocolError         what came is not what a streamguard server sends
 * ```
 */

import type { Fault } from "./faults.js";

/** What is known of an error besides its message. */
export interface ErrorDetails {
  readonly status?: number | undefined;
  readonly retryable?: boolean | undefined;
  readonly sessionId?: string | undefined;
  readonly streamId?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
  readonly fault?: Fault | null | undefined;
  readonly cause?: unknown;
}

/** The root of this package's errors. */
export class StreamguardError extends Error {
  override readonly name: string = "StreamguardError";
  /** A {@link Fault}'s code, `http_<status>` for an error of something else, or a code of this package. */
  readonly code: string;
  /** The HTTP status, if a response was refused. */
  readonly status: number | undefined;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  readonly sessionId: string | undefined;
  readonly streamId: string | undefined;
  /** How long the server asks to wait. */
  readonly retryAfterSeconds: number | undefined;
  /** What the server said, or null if it said nothing. */
  readonly fault: Fault | null;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.status = details.status;
    this.retryable = details.retryable ?? details.fault?.retryable ?? false;
    this.sessionId = details.sessionId ?? details.fault?.session_id;
    this.streamId = details.streamId ?? details.fault?.stream_id;
    this.retryAfterSeconds = details.retryAfterSeconds ?? details.fault?.retry_after_seconds;
    this.fault = details.fault ?? null;
  }
}

/** The server answered with an error status: 401, 403, 409, 429, 503 and so on. `code` says which failure. */
export class RequestRefusedError extends StreamguardError {
  override readonly name: string = "RequestRefusedError";
}

/** The rest of an answer cannot be had any more: 400 `cursor_invalid`, 409 or 410 `resume_failed`. Never a 204. */
export class ResumeFailedError extends RequestRefusedError {
  override readonly name: string = "ResumeFailedError";
}

/** The answer ended with a failure, after its first piece. What came before it stands. */
export class AnswerFailedError extends StreamguardError {
  override readonly name: string = "AnswerFailedError";
}

/** No connection could be made within the bound. The answer may still be going on: resuming later shows it. */
export class ConnectionLostError extends StreamguardError {
  override readonly name: string = "ConnectionLostError";
  /** How many attempts failed in a row. */
  readonly attempts: number;

  constructor(attempts: number, details: ErrorDetails) {
    super("connection_lost", "The connection was lost.", { retryable: true, ...details });
    this.attempts = attempts;
  }
}

/** The response is not what a streamguard server sends: wrong content type, or data that cannot be read. */
export class ProtocolError extends StreamguardError {
  override readonly name: string = "ProtocolError";

  constructor(message: string, details: ErrorDetails = {}) {
    super("protocol_error", message, details);
  }
}
