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
  /** Whether the same tool is connected more than once in its category. */
  readonly isDuplicate: boolean;
}

/** Return the entries of the list: what needs the end user first, then the newest. */
export function entriesOf(integrations: readonly Integration[]): Entry[] {
  const copies = new Map<string, number>();
  for (const integration of integrations) {
    const kind = kindOf(integration);
    copies.set(kind, (copies.get(kind) ?? 0) + 1);
  }
  return integrations
    .map((integration) => ({
      integration,
      name: toolName(integration),
      needsAttention: URGENT.includes(integration.next_action),
      isDuplicate: (copies.get(kindOf(integration)) ?? 0) > 1,
    }))
    .sort((a, b) => rank(a) - rank(b) || newestFirst(a, b));
}

/** Return the entries whose name, organization or category contains all words of the query. */
export function search(entries: readonly Entry[], query: string): Entry[] {
  const words = plain(query).split(/\s+/);
  return entries.filter(({ name, integration: { organization_name: organization, category } }) => {
    const text = plain([name, organization, category].join(" "));
    return words.every((word) => text.includes(word));
  });
}

function kindOf({ tool, category }: Integration): string {
  return JSON.stringify([tool, category]);
}

function rank({ integration, needsAttention }: Entry): number {
  return needsAttention ? URGENT.indexOf(integration.next_action) : URGENT.length;
}

function newestFirst({ integration: a }: Entry, { integration: b }: Entry): number {
  return Date.parse(b.connected_at) - Date.parse(a.connected_at) || (a.id < b.id ? -1 : 1);
}

/** Without case and accents. */
function plain(text: string): string {
  return text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");
}
