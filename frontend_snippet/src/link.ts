// Which link the dialog gets: none that the end user has found dead already.
import type { Backend } from "./backend.js";
import { readLink } from "./read.js";
import type { FlowOptions } from "./types.js";

/** Which link to ask for. */
export interface LinkRequest {
  /** Where links of this kind come from, below the endpoint. */
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** Where the integration can be read, if it exists already. */
  readonly integrationPath?: string;
}

// The backend keeps no link beyond its hour, but one can end at Kombo without anybody telling the backend. All that
// shows here is an end user who opens it, closes it, and tries again.
const TRIALS = 2;
const lastClosed = new Map<string, { readonly link: string; readonly times: number }>();

/** A link to open: not one that was opened and closed again and again. */
export async function getLink(
  backend: Backend,
  { path, body }: LinkRequest,
  { signal }: FlowOptions,
): Promise<string> {
  const ask = async (more: object) =>
    readLink((await backend.call({ method: "POST", path, body: { ...body, ...more }, signal })).body);
  const link = await ask({});
  return timesClosed(backend, link) < TRIALS ? link : ask({ fresh: true });
}

/** The end user closed the dialog with this link in it. */
export function noteClosed(backend: Backend, link: string): void {
  lastClosed.set(backend.endpoint, { link, times: timesClosed(backend, link) + 1 });
}

function timesClosed({ endpoint }: Backend, link: string): number {
  const last = lastClosed.get(endpoint);
  return last?.link === link ? last.times : 0;
}
