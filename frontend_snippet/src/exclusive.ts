// A page has one dialog, so it has one flow: the same wish joins the one that runs, another is refused.
import { untilAborted } from "./clock.js";
import { KomboEmbedError } from "./errors.js";
import type { Phase } from "./types.js";

/** What makes two wishes the same, and who wants to know how it goes. */
export interface Wish {
  readonly key: string;
  readonly container: HTMLElement | undefined;
  readonly onPhase: ((phase: Phase) => void) | undefined;
}

interface Running extends Omit<Wish, "onPhase"> {
  readonly outcome: Promise<unknown>;
  readonly listeners: NonNullable<Wish["onPhase"]>[];
  phase: Phase;
}

// Kept with the page and not with the module: a page may hold two copies, one in its bundle and the served one.
const page = globalThis as { [key: symbol]: Running | undefined };
const RUNNING = Symbol.for("kombo-embed.running");

/**
 * Starts, or joins what runs. The flow belongs to whoever started it: one who joins may stop waiting by
 * `signal`, and nothing else ends by that.
 */
export function startOrJoin<T>(
  wish: Wish,
  signal: AbortSignal | undefined,
  start: (tell: (phase: Phase) => void) => Promise<T>,
): Promise<T> {
  const running = page[RUNNING] ?? begin(wish, start);
  if (running.key !== wish.key || running.container !== wish.container) return Promise.reject(alreadyOpen());
  if (wish.onPhase) {
    running.listeners.push(wish.onPhase);
    wish.onPhase(running.phase);
  }
  // Equal keys come from the same function, so the outcome has its type.
  return untilAborted(running.outcome as Promise<T>, signal);
}

/** Tells that the page's one dialog is taken. */
export function alreadyOpen(): KomboEmbedError {
  return new KomboEmbedError("already_open", { detail: "Another flow is open." });
}

function begin<T>({ key, container }: Wish, start: (tell: (phase: Phase) => void) => Promise<T>): Running {
  const listeners: Running["listeners"] = [];
  const tell = (phase: Phase) => {
    running.phase = phase;
    for (const listener of listeners) listener(phase);
  };
  const outcome = Promise.resolve()
    .then(() => start(tell))
    .finally(() => {
      page[RUNNING] = undefined;
    });
  const running: Running = { key, container, outcome, listeners, phase: "loading" };
  return (page[RUNNING] = running);
}
