/** Requests to a streamguard server: addresses, headers, and what an error status means. */

import { RequestRefusedError, ResumeFailedError, StreamguardError } from "./errors.js";
import { faultInBody } from "./faults.js";
import { retryAfterMs } from "./reconnection.js";

/** A value, or a function that gives it for each request, such as a token that expires. */
export type Resolvable<T> = T | (() => T | Promise<T>);

/** Headers as `fetch` takes them. */
export type HeadersLike = Record<string, string> | Headers;

/** How to reach the server. */
export interface ConnectionOptions {
  /** The endpoint's address, which is also the prefix of the guard's routes. Default `/api/chat`. */
  readonly api?: string | undefined;
  /** The prefix of the guard's routes, if the endpoint is elsewhere. Default: `api`. */
  readonly routes?: string | undefined;
  /** Headers of every request, or a function that gives them for each. */
  readonly headers?: Resolvable<HeadersLike | undefined> | undefined;
  /** `include` sends cookies to another origin. */
  readonly credentials?: Resolvable<RequestCredentials | undefined> | undefined;
  /** Used instead of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

export async function resolved<T>(value: Resolvable<T>): Promise<T> {
  return typeof value === "function" ? await (value as () => T | Promise<T>)() : value;
}

/** One route of a session below the prefix, with a query: `/api/chat/{session}/stream`. */
export function routeOf(options: ConnectionOptions, sessionId: string, path: string, query: Record<string, string> = {}): string {
  if (sessionId === "" || sessionId === "." || sessionId === "..") {
    throw new StreamguardError("session_invalid", "A session id is not empty, `.` or `..`.", { sessionId });
  }
  const [prefix = "", kept] = (options.routes ?? options.api ?? "/api/chat").split("#", 1)[0]!.split("?", 2);
  const parameters = new URLSearchParams(kept);
  for (const [name, value] of Object.entries(query)) parameters.set(name, value);
  const search = String(parameters); // its `size` came to browsers in 2023
  return `${prefix.replace(/\/+$/, "")}/${encodeURIComponent(sessionId)}${path}${search && `?${search}`}`;
}

/** A random id for a question. A page that came by plain HTTP has no `crypto.randomUUID`. */
export function randomKey(): string {
  const hex = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0"));
  return crypto.randomUUID?.() ?? hex().join("");
}

/**
 * Sends a request with the options' headers and credentials; `headers` come last.
 *
 * @throws {StreamguardError} `request_invalid`: there can be no such request
 */
export async function request(
  options: ConnectionOptions,
  url: string,
  init: { method: string; headers?: HeadersLike | undefined; body?: string | undefined; signal?: AbortSignal | undefined },
): Promise<Response> {
  const headers = headersOf(await resolved(options.headers));
  headersOf(init.headers).forEach((value, name) => headers.set(name, value));
  const credentials = await resolved(options.credentials);
  const send = options.fetch ?? globalThis.fetch;
  if (options.fetch === undefined && !isWhole(url)) {
    throw new StreamguardError("request_invalid", `Outside of a page, \`api\` is a whole URL, not ${url}.`);
  }
  return send(url, {
    method: init.method,
    headers: Object.fromEntries(headers),
    ...(credentials === undefined ? {} : { credentials }),
    ...(init.body === undefined ? {} : { body: init.body }),
    ...(init.signal === undefined ? {} : { signal: init.signal }),
  });
}

/** Headers, which may not be such that `fetch` would refuse them: that would look like a connection that fails. */
export function headersOf(given: HeadersLike | undefined): Headers {
  try {
    return new Headers(given);
  } catch (cause) {
    throw new StreamguardError("request_invalid", "A header cannot be sent.", { cause });
  }
}

function isWhole(url: string): boolean {
  try {
    return Boolean(new URL(url, globalThis.location?.href));
  } catch {
    return false;
  }
}

/** The error for a response with an error status, whose body is `text`. */
export function refusal(response: Response, text: string, sessionId: string): RequestRefusedError {
  const fault = faultInBody(text);
  const wait = retryAfterMs(response.headers.get("retry-after"), response.headers.get("date"));
  const code = fault?.code ?? `http_${response.status}`;
  const failed = code === "resume_failed" || code === "cursor_invalid" ? ResumeFailedError : RequestRefusedError;
  return new failed(code, fault?.message ?? `The server answered ${response.status}.`, {
    status: response.status,
    retryable: fault?.retryable ?? isTemporary(response.status),
    sessionId,
    streamId: response.headers.get("x-stream-id") ?? undefined,
    retryAfterSeconds: wait === null ? undefined : wait / 1000,
    fault,
  });
}

/** Whether asking again later can help, by the status alone. */
export function isTemporary(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}
