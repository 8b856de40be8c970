// Time, as a collaborator: whoever waits is given a clock, so that no test has to.
import { aborted } from "./errors.js";
import type { Clock } from "./types.js";

/** The browser's own. */
export const browserClock: Clock = {
  now: () => Date.now(),
  after(milliseconds, act) {
    const timer = setTimeout(act, milliseconds);
    return () => clearTimeout(timer);
  },
};

/**
 * Resolves after `milliseconds`, or as soon as the network is back or the page is; or when the page goes away,
 * which is the last moment to do anything.
 */
export function pauseUnlessStirred(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const ending = new AbortController();
    const end = () => {
      cancel();
      ending.abort();
      resolve();
    };
    const cancel = clock.after(milliseconds, end);
    for (const stir of ["online", "pageshow", "pagehide"]) {
      window.addEventListener(stir, end, { signal: ending.signal });
    }
  });
}

/** The promise's outcome, unless `signal` comes first. The work behind the promise goes on. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(aborted());
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}
