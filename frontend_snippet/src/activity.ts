// What the flows of this page tell the watchers of this page: that there is something new to see.

const listeners = new Set<() => void>();
let finishedAt = -Infinity;

/** An end user of this page got to the end of a flow. */
export function tellFlowFinished(now: number): void {
  finishedAt = now;
  for (const listener of listeners) listener();
}

/** When that last was, in the clock's milliseconds. */
export function lastFlowFinishedAt(): number {
  return finishedAt;
}

/** Calls `listener` whenever a flow finishes; the answer ends that. */
export function onFlowFinished(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}
