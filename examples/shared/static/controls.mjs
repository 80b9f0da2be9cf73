// The buttons that break something, and the two that show what is beside the talk.

/** How many workers there are, and what can be broken. */
export async function facts() {
  const response = await fetch("/demo/facts").catch(() => null);
  return response?.ok ? response.json() : { workers: 1, worker: "", can: ["cut"] };
}

/** Where the visitor's database is: "away" or "here". */
export async function whereDatabaseIs() {
  const response = await fetch("/demo/database").catch(() => null);
  return response?.ok ? (await response.json()).database : "here";
}

/** Takes the database away, or brings it back. Returns "away" or "here". */
export async function takeDatabase(isAway) {
  const { database } = await send("/demo/database", { away: isAway });
  return database;
}

/** Kills the worker that writes a chat's answer. Returns its name. */
export async function killWorker(session) {
  const { killed } = await send("/demo/kill", { session });
  return killed;
}

async function send(url, document) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(document),
  });
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return response.json().catch(() => ({}));
}

/**
 * The list of chats and the panel beside the talk. Where there is room both are shown; elsewhere one of them takes the
 * talk's place. `shown()` is called when one becomes visible. Returns a function that gives the talk its place back.
 */
export function asides(pairs, shown) {
  const hasRoom = matchMedia("(min-width: 64rem)");
  const set = (pair, isOpen) => {
    pair.place.hidden = !isOpen;
    pair.button.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) shown();
  };
  for (const pair of pairs) {
    pair.button.addEventListener("click", () => {
      const open = pair.place.hidden;
      if (!hasRoom.matches) for (const other of pairs) if (other !== pair) set(other, false);
      set(pair, open);
    });
  }
  const close = () => {
    if (hasRoom.matches) return;
    const open = pairs.find(({ place }) => !place.hidden);
    if (open?.place.contains(document.activeElement)) open.button.focus();
    if (open) set(open, false);
  };
  addEventListener("keydown", ({ key }) => key === "Escape" && close());
  const arrange = () => pairs.forEach((pair) => set(pair, hasRoom.matches));
  hasRoom.addEventListener("change", arrange);
  arrange();
  return close;
}
