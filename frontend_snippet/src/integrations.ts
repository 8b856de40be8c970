// The list of what this customer has connected, asked for once. `watch` keeps asking.
import { openBackend } from "./backend.js";
import { readIntegrations } from "./read.js";
import type { BackendOptions, Integration } from "./types.js";

/**
 * Answers with the integrations of the signed-in end user's organisation.
 *
 * @throws KomboEmbedError for everything else; see its `code`.
 */
export async function listIntegrations(options: BackendOptions = {}): Promise<Integration[]> {
  const { signal } = options;
  const answer = await openBackend(options).call({ method: "GET", path: "integrations", signal });
  return readIntegrations(answer.body);
}
