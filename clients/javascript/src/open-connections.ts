/**
 * The connections that answers hold to one origin. Over HTTP/1.1 a browser opens six, for all its tabs together, and what is
 * asked for besides waits: the next page, and a Stop too. An answer can give its connection up, because it can be resumed.
 */

import { isHidden, shown, whenHidden } from "./page-events.js";

/** How long the other tabs may take to say what they hold. */
const ANSWER_MS = 250;

/** An open connection of an answer. */
export interface HeldConnection {
  /** Closes it until `until` is settled. */
  readonly giveUp: (until: Promise<unknown>) => void;
}

type Message = { readonly question: string } | { readonly answer: string; readonly connections: number };

/** This tab's connections to one origin, and its way to the other tabs. */
class Origin {
  readonly held = new Set<HeldConnection>();
  readonly #channel: BroadcastChannel | null;
  readonly #counts = new Map<string, number>();

  constructor(name: string) {
    const isPage = typeof document !== "undefined" && typeof BroadcastChannel !== "undefined";
    this.#channel = isPage && !isMultiplexed(name) ? new BroadcastChannel(`streamguard-client ${name}`) : null;
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

/**
 * Counts a connection among the open ones until what it returns is called.
 *
 * @param mostHidden so many others may be open; with more, it is given up if the tab is hidden, or once it is
 */
export function holdConnection(url: string, mostHidden: number, connection: HeldConnection, signal: AbortSignal): () => void {
  const name = originOf(url);
  const origin = origins.get(name) ?? new Origin(name);
  origins.set(name, origin);
  origin.held.add(connection);
  const check = async () => {
    const others = (await origin.others()) + origin.held.size - 1;
    if (origin.held.has(connection) && isHidden() && others >= mostHidden) connection.giveUp(shown(signal));
  };
  const isBounded = origin.isShared && mostHidden !== Infinity;
  const forget = isBounded ? whenHidden(() => void check()) : () => {};
  if (isBounded && isHidden()) void check();
  return () => {
    forget();
    origin.held.delete(connection);
    if (origin.held.size > 0 || origins.get(name) !== origin) return;
    origin.close();
    origins.delete(name);
  };
}

/** Gives one of this tab's connections up for a request to `url`: `first` if it is held, or another one. */
export function makeRoom(url: string, until: Promise<unknown>, first: HeldConnection): void {
  const held = origins.get(originOf(url))?.held ?? new Set();
  const [next] = held.has(first) ? [first] : held;
  next?.giveUp(until);
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
  const [page] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return /^h[23]/.test(page?.nextHopProtocol ?? "");
}
