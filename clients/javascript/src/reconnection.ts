/** How long to wait before a connection is made again, and how often. */

/** The bounds of reconnecting. A connection that brings a new event begins the count anew. */
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
}

/** All bounds, with their defaults. */
export type ReconnectBounds = { readonly [NAME in keyof ReconnectOptions]-?: number };

/** The longest time of a timer. A longer one ends at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export function boundsOf(options: ReconnectOptions = {}): ReconnectBounds {
  const { maxAttempts = 8, initialDelayMs = 300, maxDelayMs = 10_000, maxRetryAfterMs = 60_000, idleTimeoutMs = 45_000 } = options;
  const bounds = { maxAttempts, initialDelayMs, maxDelayMs, maxRetryAfterMs, idleTimeoutMs };
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

/** The delay that a `Retry-After` header asks for, in milliseconds: seconds or a date; null without a valid one. */
export function retryAfterMs(header: string | null): number | null {
  if (header === null) return null;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}

/**
 * Waits. Resolves early when the browser comes online or the page is shown again, unless `exactly` is set.
 *
 * @throws the signal's reason, when it is aborted
 */
export function pause(milliseconds: number, signal: AbortSignal | undefined, { exactly = false } = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    const page = typeof document === "undefined" ? undefined : document;
    const scope = typeof window === "undefined" ? undefined : window;
    const settle = (end: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      page?.removeEventListener?.("visibilitychange", shown);
      scope?.removeEventListener?.("online", done);
      end();
    };
    const done = () => settle(resolve);
    const aborted = () => settle(() => reject(signal?.reason));
    const shown = () => page?.visibilityState === "visible" && done();
    const timer = setTimeout(done, Math.min(milliseconds, MAX_TIMER_MS));
    if (signal?.aborted) return aborted();
    signal?.addEventListener("abort", aborted);
    if (exactly) return;
    page?.addEventListener?.("visibilitychange", shown);
    scope?.addEventListener?.("online", done);
  });
}
