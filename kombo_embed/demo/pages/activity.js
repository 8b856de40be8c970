// One entry per connection: what follows from it on its own, such as the first sync, is a detail of the same entry.
import { sentenceOf } from "./words.js";

/** Merges events, newest first, into the entries of the activity, in the same order. */
export function mergeConnections(events) {
  const connections = new Map();
  const entries = [];
  for (const event of [...events].reverse()) {
    const { category, tool, type } = event;
    const kind = `${category} ${tool}`;
    const connection = connections.get(kind);
    if (type === "integration.updated" && connection && sentenceOf(event).tone !== "warn") {
      connection.progress = sentenceOf(event).text;
      continue;
    }
    const entry = { ...event };
    if (type === "integration.connected") connections.set(kind, entry);
    else connections.delete(kind);
    entries.push(entry);
  }
  return entries.reverse();
}
