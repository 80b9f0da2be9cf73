/**
 * How many connections the tabs of a browser hold to one origin. Over HTTP/1.1 a browser opens six, and what is asked for
 * besides waits: the next page, and a Stop too. A tab that nobody sees can close its own, because it can resume.
 */

import { isHidden, whenHidden } from "./page-events.js";

/** How long the other tabs may take to say what they hold. */
const ANSWER_MS = 250;

type Message = { readonly question: string } | { readonly answer: string; readonly connections: number };

/** This tab's connections to one origin, and its way to the other tabs. */
class Origin {
  connections = 0;
  readonly #channel: BroadcastChannel;
  readonly #counts = new Map<string, number>();

  constructor(name: string) {
    this.#channel = new BroadcastChannel(`streamguard-client ${name}`);
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => {
      if ("question" in data) this.#channel.postMessage({ answer: data.question, connections: this.connections });
      else if (this.#counts.has(data.answer)) this.#counts.set(data.answer, this.#counts.get(data.answer)! + data.connections);
    };
  }

  /** How many connections other tabs hold. */
  async others(): Promise<number> {
    const question = String(Math.random());
    this.#counts.set(question, 0);
    this.#channel.postMessage({ question });
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
    const count = this.#counts.get(question) ?? 0;
    this.#counts.delete(question);
    return count;
  }

  close(): void {
    this.#channel.close();
  }
}

const origins = new Map<string, Origin>();

/**
 * Counts a connection among the open ones until what it returns is called.
 *
 * @param most as many others may be open; then `giveUp` is called if the tab is hidden, or once it is
 */
export function holdConnection(url: string, most: number, giveUp: () => void): () => void {
  if (most === Infinity || typeof document === "undefined" || typeof BroadcastChannel === "undefined") return () => {};
  const name = new URL(url, document.baseURI).origin;
  if (isMultiplexed(name)) return () => {};
  const origin = origins.get(name) ?? new Origin(name);
  origins.set(name, origin);
  origin.connections += 1;
  let held = true;
  const check = async () => {
    const others = (await origin.others()) + origin.connections - 1;
    if (held && isHidden() && others >= most) giveUp();
  };
  const forget = whenHidden(() => void check());
  if (isHidden()) void check();
  return () => {
    if (!held) return;
    held = false;
    forget();
    origin.connections -= 1;
    if (origin.connections > 0) return;
    origin.close();
    origins.delete(name);
  };
}

/** Whether the page itself came by HTTP/2 or later from there: then one connection carries all requests. */
function isMultiplexed(origin: string): boolean {
  if (origin !== location.origin) return false;
  const [page] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return /^h[23]/.test(page?.nextHopProtocol ?? "");
}
