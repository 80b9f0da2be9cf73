/** Tells a page's callbacks of faults and other facts, each once. */

import { type Fault, type Persisted, isQuotaFault } from "./faults.js";
import type { Reconnecting, StreamCallbacks, StreamNames } from "./stream-options.js";

/** The callbacks of one answer. What they throw does not end the answer. */
export class Callbacks {
  readonly #callbacks: StreamCallbacks;
  readonly #names: () => StreamNames;
  readonly #told: Set<string>;

  /** @param told ids of the faults that were told of before; it is shared by the streams of one answer */
  constructor(callbacks: StreamCallbacks, names: () => StreamNames, told: Set<string>) {
    this.#callbacks = callbacks;
    this.#names = names;
    this.#told = told;
  }

  fault(fault: Fault): void {
    if (this.#told.has(fault.fault_id)) return;
    this.#told.add(fault.fault_id);
    call(this.#callbacks.onFault, fault, this.#names());
    if (isQuotaFault(fault)) call(this.#callbacks.onQuota, fault, this.#names());
  }

  persisted(saved: Persisted): void {
    call(this.#callbacks.onPersisted, saved, this.#names());
  }

  reconnecting(reconnecting: Pick<Reconnecting, "attempt" | "maxAttempts" | "delayMs" | "cause">): void {
    const { sessionId, streamId } = this.#names();
    call(this.#callbacks.onReconnect, { ...reconnecting, sessionId, streamId });
  }

  reconnected(): void {
    call(this.#callbacks.onReconnected, this.#names());
  }
}

function call<ARGUMENTS extends unknown[]>(callback: ((...given: ARGUMENTS) => void) | undefined, ...given: ARGUMENTS): void {
  try {
    callback?.(...given);
  } catch (error) {
    console.error("A callback of streamguard-client threw:", error);
  }
}
