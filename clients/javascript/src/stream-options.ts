/** What a reader of an answer takes, and what it tells. */

import type { RequestRefusedError } from "./errors.js";
import type { Fault, Persisted } from "./faults.js";
import type { Part } from "./parts.js";
import type { ReconnectOptions } from "./reconnection.js";
import type { HeadersLike } from "./requests.js";
import type { SessionOptions } from "./sessions.js";

/** A part with the cursor that names it. */
export type StreamEvent<PART extends { readonly type: string } = Part> = PART extends unknown
  ? {
      /** The event's SSE id: the cursor from which a reader goes on. Null if the event is not in the log. */
      readonly id: string | null;
      readonly type: PART["type"];
      readonly part: PART;
    }
  : never;

/** The request that begins an answer. */
export interface Question {
  /** Sent as JSON. The endpoint finds its session in it. */
  readonly body: unknown;
  readonly headers?: HeadersLike | undefined;
  /** Default: a random one. With it the server answers a repeated request once. */
  readonly idempotencyKey?: string | undefined;
}

/** A connection broke, and another is about to be made. */
export interface Reconnecting {
  /** From 1; begins anew with each event or keep-alive that arrives. */
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly delayMs: number;
  /** Why: what `fetch` threw, or a {@link RequestRefusedError}. */
  readonly cause: unknown;
  readonly sessionId: string;
  readonly streamId: string | null;
}

/** The names of an answer, as far as they are known. */
export interface StreamNames {
  readonly sessionId: string;
  readonly streamId: string | null;
  readonly messageId: string | null;
}

/** What a reader tells besides the parts. */
export interface StreamCallbacks {
  /** Each fault and notice of the stream, once; a replay does not tell it again. */
  readonly onFault?: ((fault: Fault, stream: StreamNames) => void) | undefined;
  /** The answer is saved. */
  readonly onPersisted?: ((saved: Persisted, stream: StreamNames) => void) | undefined;
  /** A fault about usage, in the stream or as the answer to the request. Besides `onFault`. */
  readonly onQuota?: ((fault: Fault, stream: StreamNames) => void) | undefined;
  readonly onReconnect?: ((reconnecting: Reconnecting) => void) | undefined;
  /** A connection is there again, after `onReconnect`. */
  readonly onReconnected?: ((stream: StreamNames) => void) | undefined;
}

/** Options of {@link openStream}. */
export interface OpenStreamOptions extends SessionOptions, StreamCallbacks {
  /** Begins an answer. Without it, the session's running or last one is read. */
  readonly question?: Question | undefined;
  /** Go on after this event. */
  readonly cursor?: string | undefined;
  /**
   * What the endpoint speaks. A `plain` endpoint must be named.
   * Default `auto`: `ui-message` if its header says so, or else `events`, each as a `message` part.
   */
  readonly protocol?: "auto" | "ui-message" | "plain" | "events" | undefined;
  readonly reconnect?: ReconnectOptions | undefined;
}

/** How an answer ended: `nothing` if there was none to read. Failures throw instead. */
export type StreamOutcome = "completed" | "stopped" | "nothing";
