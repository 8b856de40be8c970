// State that exists once per page. A page may load several copies of this module (its bundle and the served script, or
// two versions of one), so the state is a property of `globalThis`, which all copies share.
import { alreadyOpen } from "./errors.js";
import type { Phase } from "./types.js";

// Copies share if they agree on this name. Adding a field keeps the name, since each copy adds the fields that it
// misses; changing the meaning of a field needs a new name.
const KEY = Symbol.for("kombo-embed.page.v1");

/** A call that needs the page's one dialog. Calls with the same `key` and `container` share one flow. */
export interface FlowRequest {
  readonly key: string;
  readonly container: HTMLElement | undefined;
  readonly onPhase: ((phase: Phase) => void) | undefined;
}

interface OpenFlow extends Omit<FlowRequest, "onPhase"> {
  readonly outcome: Promise<unknown>;
  readonly listeners: NonNullable<FlowRequest["onPhase"]>[];
  phase: Phase;
}

/** What the copies of this module share. */
interface PageState {
  openFlow?: OpenFlow | undefined;
  /** When the last flow finished, in the clock's milliseconds. */
  finishedAt: number;
  readonly listeners: Set<() => void>;
  /** The activation tokens of requests in progress: no other copy may send them. */
  readonly sending: Set<string>;
  /** The endpoints whose pending completions were sent after the page was loaded. */
  readonly resumed: Set<string>;
  /** The endpoints whose pending completions are sent when the network or the page comes back. */
  readonly resumable: Set<string>;
  /** How often the end user closed the dialog, by link. */
  readonly timesClosed: Map<string, number>;
  /** No prefetch before this time, in the clock's milliseconds, by endpoint and choice. */
  readonly prefetched: Map<string, number>;
}

/** Return the page's state. Importing the module creates none: a server may import it too. */
export function pageState(): PageState {
  const page = globalThis as Record<symbol, Partial<PageState> | undefined>;
  const defaults: PageState = {
    finishedAt: -Infinity,
    listeners: new Set(),
    sending: new Set(),
    resumed: new Set(),
    resumable: new Set(),
    timesClosed: new Map(),
    prefetched: new Map(),
  };
  const shared = (page[KEY] ??= {});
  return Object.assign(shared, { ...defaults, ...shared });
}

/** Start a flow, or join the open one if it has the same key and container; reject otherwise. */
export function startOrJoin<T>(
  request: FlowRequest,
  start: (onPhase: (phase: Phase) => void) => Promise<T>,
): Promise<T> {
  const flow = pageState().openFlow ?? openFlow(request, start);
  if (flow.key !== request.key || flow.container !== request.container) return Promise.reject(alreadyOpen());
  if (request.onPhase) {
    flow.listeners.push(request.onPhase);
    request.onPhase(flow.phase);
  }
  // Equal keys come from the same function, so the outcome has its type.
  return flow.outcome as Promise<T>;
}

function openFlow<T>(
  { key, container }: FlowRequest,
  start: (onPhase: (phase: Phase) => void) => Promise<T>,
): OpenFlow {
  const state = pageState();
  const listeners: OpenFlow["listeners"] = [];
  const onPhase = (phase: Phase) => {
    flow.phase = phase;
    for (const listener of listeners) listener(phase);
  };
  const outcome = Promise.resolve()
    .then(() => start(onPhase))
    .finally(() => {
      state.openFlow = undefined;
    });
  const flow: OpenFlow = { key, container, outcome, listeners, phase: "loading" };
  return (state.openFlow = flow);
}

/** Record that an end user of this page changed the integrations, and notify the listeners. */
export function flowFinished(now: number): void {
  const state = pageState();
  state.finishedAt = now;
  state.prefetched.clear(); // the backend has invalidated its links
  for (const listener of state.listeners) listener();
}

/** Call `listener` whenever a flow finishes. Return a function that removes it. */
export function onFlowFinished(listener: () => void): () => void {
  const { listeners } = pageState();
  listeners.add(listener);
  return () => void listeners.delete(listener);
}
