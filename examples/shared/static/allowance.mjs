// What the reader may use a day, as the server tells it with the status of a chat.

import { pause } from "./reading.mjs";

const WATCH_MS = 500; // when to look whether an answer is counted after all; each time twice as long
const LONGEST_MS = 30_000;

const grouped = (number) => number.toLocaleString("en");

/** A status in words, and the numbers themselves; null where nothing is limited, or the server cannot tell. */
export function allowanceOf({ quota, last }) {
  const limit = quota?.limits.find(({ unit }) => unit === "tokens");
  if (!limit) return null;
  const { used, remaining } = limit;
  const late = last?.quota === "pending";
  const text = `${grouped(used)} of ${grouped(limit.limit)} tokens used today, ${grouped(remaining)} left`;
  return { used, limit: limit.limit, remaining, late, text: late ? `${text}; the last answer is still to be counted` : text };
}

/**
 * Returns a function that shows the allowance in `node`, again and again until the last answer is counted. `get` gives
 * the status; while it fails, what was shown stays.
 */
export function allowanceLine(node, get) {
  let turn = 0;
  return async () => {
    const mine = ++turn;
    for (let wait = WATCH_MS; ; wait *= 2) {
      const status = await get().catch(() => null);
      if (mine !== turn || status === null) return; // asked anew, or nobody answers
      const allowance = allowanceOf(status);
      node.hidden = allowance === null;
      node.textContent = allowance?.text ?? "";
      for (const name of ["used", "limit", "remaining"]) node.dataset[name] = allowance?.[name] ?? "";
      if (!allowance?.late) return;
      await pause(Math.min(wait, LONGEST_MS));
      if (mine !== turn) return;
    }
  };
}

/** A fault to show; where the day's allowance is used up, with the time at which there is a new one. */
export function refusal(fault, retryAfterSeconds) {
  if (fault.code !== "quota_exceeded" || !retryAfterSeconds) return fault;
  const time = new Date(Date.now() + retryAfterSeconds * 1000);
  const shown = time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return { ...fault, message: `${fault.message} You can go on at ${shown}.` };
}
