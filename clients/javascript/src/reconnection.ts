/** How long to wait before a connection is made again, and how often. */

import type { Callbacks } from "./callbacks.js";
import { ConnectionLostError, RequestRefusedError } from "./errors.js";
import { whenBack } from "./page-events.js";

/** The bounds of reconnecting. A connection that brings a new event, or a keep-alive, begins the count anew. */
export interface ReconnectOptions {
  /** Attempts in a row that may fail before {@link ConnectionLostError}. Default 8; 0: a cut is final. */
  readonly maxAttempts?: number | undefined;
  /** The pause before the first attempt; it doubles with each further one. Default 300. */
  readonly initialDelayMs?: number | undefined;
  /** The longest pause between attempts. Default 10,000. */
  readonly maxDelayMs?: number | undefined;
  /** A server that asks by `Retry-After` to wait longer than this is not asked again. Default 60,000. */
  readonly maxRetryAfterMs?: number | undefined;
  /** A connection without a byte for so long counts as broken; keep-alives come every 15 s. Default 45,000; 0: never. */
  readonly idleTimeoutMs?: number | undefined;
  /**
   * How many connections the hidden tabs of a browser keep open together, of the six that HTTP/1.1 has for one origin.
   * Another tab that is hidden closes its own, and goes on after the last event when it is shown. Default 3.
   */
  readonly maxHiddenConnections?: number | undefined;
}

/** All bounds, with their defaults. */
export type ReconnectBounds = { readonly [NAME in keyof ReconnectOptions]-?: number };

/** The longest time of a timer. A longer one ends at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export function boundsOf(options: ReconnectOptions = {}): ReconnectBounds {
  const { maxAttempts = 8, initialDelayMs = 300, maxDelayMs = 10_000, maxRetryAfterMs = 60_000 } = options;
  const { idleTimeoutMs = 45_000, maxHiddenConnections = 3 } = options;
  const bounds = { maxAttempts, initialDelayMs, maxDelayMs, maxRetryAfterMs, idleTimeoutMs, maxHiddenConnections };
  for (const [name, value] of Object.entries(bounds)) {
    if (!(value >= 0)) throw new RangeError(`reconnect.${name} is a number from 0, not ${value}.`);
  }
  return bounds;
}

/** The pause before attempt `attempt` (from 1): exponential, with jitter so that many tabs do not come back at once. */
export function backoffMs(attempt: number, bounds: ReconnectBounds, retryMs: number | null): number {
  const base = Math.min(Math.max(bounds.initialDelayMs, retryMs ?? 0), bounds.maxDelayMs);
  const longest = Math.min(base * 2 ** (attempt - 1), bounds.maxDelayMs);
  return longest * (0.5 + Math.random() / 2);
}

/** Counts the attempts that failed in a row, and pauses before the next one. */
export class Reconnection {
  /** What the server asked for by `retry:`. */
  retryMs: number | null = null;
  readonly bounds: ReconnectBounds;
  readonly #callbacks: Callbacks;
  readonly #signal: AbortSignal;
  #failures = 0;

  constructor(bounds: ReconnectBounds, callbacks: Callbacks, signal: AbortSignal) {
    this.bounds = bounds;
    this.#callbacks = callbacks;
    this.#signal = signal;
  }

  /** An event or a keep-alive came: the count begins anew with the next failure. */
  progressed(): void {
    this.#failures = 0;
  }

  /** Whether what a refusal asks to wait is within the bound. */
  isPatientFor(refused: RequestRefusedError): boolean {
    return (refused.retryAfterSeconds ?? 0) * 1000 <= this.bounds.maxRetryAfterMs;
  }

  /**
   * Waits before the next attempt.
   *
   * @throws {RequestRefusedError} `cause` itself, at the bound
   * @throws {ConnectionLostError} at the bound, if `cause` is something else
   */
  async pause(cause: unknown, names: { readonly sessionId: string; readonly streamId: string | null }): Promise<void> {
    this.#failures += 1;
    const { maxAttempts } = this.bounds;
    if (this.#failures > maxAttempts) {
      if (cause instanceof RequestRefusedError) throw cause;
      const { sessionId, streamId } = names;
      throw new ConnectionLostError(this.#failures - 1, { sessionId, streamId: streamId ?? undefined, cause });
    }
    const asked = cause instanceof RequestRefusedError ? (cause.retryAfterSeconds ?? 0) * 1000 : 0;
    const delayMs = Math.max(asked, backoffMs(this.#failures, this.bounds, this.retryMs));
    this.#callbacks.reconnecting({ attempt: this.#failures, maxAttempts, delayMs, cause });
    await pause(delayMs, this.#signal, { exactly: asked > 0 });
  }
}

/**
 * The delay that a `Retry-After` header asks for, in milliseconds: seconds or a date; null without a valid one.
 *
 * @param now the response's `Date`: the server's clock, which may not be this device's
 */
export function retryAfterMs(header: string | null, now: string | null = null): number | null {
  if (header === null) return null;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  if (!/[a-z]{3}/i.test(header)) return null; // `Date.parse` takes "-1" for a year
  const date = Date.parse(header);
  const here = now === null ? NaN : Date.parse(now);
  return Number.isNaN(date) ? null : Math.max(0, date - (Number.isNaN(here) ? Date.now() : here));
}

/**
 * Waits. Resolves early when the browser comes online or the page is shown again, unless `exactly` is set.
 *
 * @throws the signal's reason, when it is aborted
 */
function pause(milliseconds: number, signal: AbortSignal, { exactly = false } = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      forget();
      end();
    };
    const done = () => settle(resolve);
    const aborted = () => settle(() => reject(signal.reason));
    const timer = setTimeout(done, Math.min(milliseconds, MAX_TIMER_MS));
    const forget = exactly ? () => {} : whenBack(done);
    if (signal.aborted) aborted();
    else signal.addEventListener("abort", aborted);
  });
}
