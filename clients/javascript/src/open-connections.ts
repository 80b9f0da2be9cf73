/**
 * The connections that answers hold to one origin. Over HTTP/1.1 a browser opens six, for all its tabs together, and what is
 * asked for besides waits: the next page, and a Stop too. An answer can give its connection up, because it can be resumed.
 */

import { isHidden, shown, whenHidden } from "./page-events.js";

/** How long the other tabs may take to say what they hold. */
const ANSWER_MS = 250;

/** After each such time without an answer, a request gets the place of another connection of this tab. */
const PATIENCE_MS = 1000;

/** An open connection of an answer. */
export interface HeldConnection {
  /** Closes it until `until` is settled. False: it stays, since its answer could not be resumed. */
  readonly giveUp: (until: Promise<unknown>) => boolean;
}

/** That a connection is counted among the open ones. */
export interface Hold {
  /** The connection can be given up from now on. */
  readonly check: () => void;
  readonly end: () => void;
}

type Message = { readonly question: string } | { readonly answer: string; readonly connections: number };

/** This tab's connections to one origin, and its way to the other tabs. */
class Origin {
  readonly held = new Set<HeldConnection>();
  /** One connection carries all requests: nobody waits for another's end. */
  readonly isMultiplexed: boolean;
  readonly #channel: BroadcastChannel | null;
  readonly #counts = new Map<string, number>();

  constructor(name: string) {
    this.isMultiplexed = isMultiplexed(name);
    this.#channel = this.isMultiplexed ? null : channelOf(name);
    if (this.#channel !== null) this.#channel.onmessage = ({ data }: MessageEvent<Message>) => this.#take(data);
  }

  /** How many connections other tabs hold. */
  async others(): Promise<number> {
    const question = String(Math.random());
    this.#counts.set(question, 0);
    this.#channel?.postMessage({ question } satisfies Message);
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
    const count = this.#counts.get(question) ?? 0;
    this.#counts.delete(question);
    return count;
  }

  /** Whether it is known of other tabs' connections, and matters. */
  get isShared(): boolean {
    return this.#channel !== null;
  }

  close(): void {
    this.#channel?.close();
  }

  #take(message: Message): void {
    if ("question" in message) {
      this.#channel?.postMessage({ answer: message.question, connections: this.held.size } satisfies Message);
    } else if (this.#counts.has(message.answer)) {
      this.#counts.set(message.answer, this.#counts.get(message.answer)! + message.connections);
    }
  }
}

const origins = new Map<string, Origin>();
const NONE = { held: new Set<HeldConnection>(), isMultiplexed: false };

/**
 * Counts a connection among the open ones until the hold ends.
 *
 * @param mostHidden so many others may be open; with more, it is given up if the tab is hidden, or once it is
 */
export function holdConnection(url: string, mostHidden: number, connection: HeldConnection, signal: AbortSignal): Hold {
  const name = originOf(url);
  const origin = origins.get(name) ?? new Origin(name);
  origins.set(name, origin);
  origin.held.add(connection);
  const isBounded = origin.isShared && mostHidden !== Infinity;
  const count = async () => {
    const others = (await origin.others()) + origin.held.size - 1;
    if (origin.held.has(connection) && isHidden() && others >= mostHidden) connection.giveUp(shown(signal));
  };
  const check = () => void (isBounded && isHidden() && count());
  const forget = isBounded ? whenHidden(check) : () => {};
  check();
  const end = () => {
    forget();
    origin.held.delete(connection);
    if (origin.held.size > 0 || origins.get(name) !== origin) return;
    origin.close();
    origins.delete(name);
  };
  return { check, end };
}

/**
 * Gives this tab's connections up for a request to `url`, one each second: `first` if it is held, or another one. They may
 * be made again when the request is settled, or after `longestMs`.
 */
export function makeRoom(url: string, request: Promise<unknown>, first: HeldConnection, longestMs: number): void {
  const until = new Promise<void>((resolve) => {
    const timer = setInterval(() => giveOneUp(url, first, until), PATIENCE_MS);
    const done = () => {
      clearInterval(timer);
      clearTimeout(end);
      resolve();
    };
    const end = setTimeout(done, longestMs);
    request.then(done, done);
  });
}

function giveOneUp(url: string, first: HeldConnection, until: Promise<unknown>): void {
  const { held, isMultiplexed } = origins.get(originOf(url)) ?? NONE;
  if (isMultiplexed) return;
  const inTurn = held.has(first) ? [first, ...held] : [...held];
  inTurn.some((connection) => connection.giveUp(until));
}

/** A way to the other tabs; null outside of a page, and where a browser that blocks cookies refuses one. */
function channelOf(name: string): BroadcastChannel | null {
  if (typeof document === "undefined" || typeof BroadcastChannel === "undefined") return null;
  try {
    return new BroadcastChannel(`streamguard-client ${name}`);
  } catch {
    return null;
  }
}

/** Empty where there is no page to which the address is relative. */
function originOf(url: string): string {
  try {
    return new URL(url, typeof document === "undefined" ? undefined : document.baseURI).origin;
  } catch {
    return "";
  }
}

/** Whether the page itself came by HTTP/2 or later from there: then one connection carries all requests. */
function isMultiplexed(origin: string): boolean {
  if (origin !== globalThis.location?.origin) return false;
  // Imitations of a browser have no such entries.
  const [page] = (performance.getEntriesByType?.("navigation") ?? []) as PerformanceNavigationTiming[];
  return /^h[23]/.test(page?.nextHopProtocol ?? "");
}
