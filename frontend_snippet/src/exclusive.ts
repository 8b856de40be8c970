// A page has one dialog, so it has one flow: the same wish joins the one that runs, another is refused.
import { untilAborted } from "./clock.js";
import { KomboEmbedError } from "./errors.js";

/** What makes two wishes the same. */
export interface Wish {
  readonly key: string;
  readonly container: HTMLElement | undefined;
}

interface Running extends Wish {
  readonly outcome: Promise<unknown>;
}

let running: Running | undefined;

/**
 * Starts, or joins what runs. The flow belongs to whoever started it: one who joins may stop waiting by
 * `signal`, and nothing else ends by that.
 */
export function startOrJoin<T>(
  wish: Wish,
  signal: AbortSignal | undefined,
  start: () => Promise<T>,
): Promise<T> {
  if (!running) {
    const outcome = start().finally(() => {
      running = undefined;
    });
    running = { ...wish, outcome };
  } else if (running.key !== wish.key || running.container !== wish.container) {
    return Promise.reject(alreadyOpen());
  }
  // Equal keys come from the same function, so the outcome has its type.
  return untilAborted(running.outcome as Promise<T>, signal);
}

/** Tells that the page's one dialog is taken. */
export function alreadyOpen(): KomboEmbedError {
  return new KomboEmbedError("already_open", { detail: "Another connection flow is open on this page." });
}
