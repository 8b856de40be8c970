// The integrations as the list shows them: in which order, which need the end user, and which are found by a search.
import type { Integration } from "../index.js";
import { toolName } from "../texts.js";

// The next actions that need the end user, the most urgent first. The others only take time.
const URGENT: readonly string[] = ["reconnect", "finish_setup", "enable"];

/** An integration in the list. */
export interface Entry {
  readonly integration: Integration;
  readonly name: string;
  readonly needsAttention: boolean;
  /** Whether the same tool is connected again in its category, and later. */
  readonly isDuplicate: boolean;
}

/** Return the entries of the list: what needs the end user first, then the newest. */
export function entriesOf(integrations: readonly Integration[]): Entry[] {
  const seen = new Set<string>();
  return [...integrations]
    .sort(newestFirst)
    .map((integration) => {
      const { tool, category, next_action: next } = integration;
      const kind = JSON.stringify([tool, category]);
      const isDuplicate = seen.has(kind);
      seen.add(kind);
      return { integration, name: toolName(integration), needsAttention: URGENT.includes(next), isDuplicate };
    })
    .sort((a, b) => rank(a) - rank(b)); // a stable sort: the newest remain first
}

/** Return the entries whose name, organization or category contains all words of the query. */
export function search(entries: readonly Entry[], query: string): Entry[] {
  const words = plain(query).split(/\s+/);
  return entries.filter(({ name, integration: { organization_name: organization, category } }) => {
    const text = plain([name, organization, category].join(" "));
    return words.every((word) => text.includes(word));
  });
}

function rank({ integration, needsAttention }: Entry): number {
  return needsAttention ? URGENT.indexOf(integration.next_action) : URGENT.length;
}

function newestFirst(a: Integration, b: Integration): number {
  return Date.parse(b.connected_at) - Date.parse(a.connected_at) || (a.id < b.id ? -1 : 1);
}

/** Without case and accents. */
function plain(text: string): string {
  return text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");
}
