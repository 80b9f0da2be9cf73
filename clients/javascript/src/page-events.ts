/** What a browser tells of a page's being seen and of its network. Outside of a browser nothing is told. */

/** Calls `listener` when the page is shown again, comes back from the history, or is online again. Gives what ends it. */
export function whenBack(listener: () => void): () => void {
  const page = typeof document === "undefined" ? undefined : document;
  const scope = typeof window === "undefined" ? undefined : window;
  const shown = () => void (page?.visibilityState === "visible" && listener());
  page?.addEventListener?.("visibilitychange", shown);
  scope?.addEventListener?.("pageshow", listener);
  scope?.addEventListener?.("online", listener);
  return () => {
    page?.removeEventListener?.("visibilitychange", shown);
    scope?.removeEventListener?.("pageshow", listener);
    scope?.removeEventListener?.("online", listener);
  };
}

/** Calls `listener` when the page is hidden by another tab or window. Gives what ends it. */
export function whenHidden(listener: () => void): () => void {
  const page = typeof document === "undefined" ? undefined : document;
  const hidden = () => void (isHidden() && listener());
  page?.addEventListener?.("visibilitychange", hidden);
  return () => page?.removeEventListener?.("visibilitychange", hidden);
}

export function isHidden(): boolean {
  return typeof document !== "undefined" && document.visibilityState === "hidden";
}

/** Waits until the page is shown, or the signal is aborted. */
export function shown(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      if (isHidden() && !signal.aborted) return;
      forget();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const forget = whenBack(done);
    signal.addEventListener("abort", done);
    done();
  });
}
