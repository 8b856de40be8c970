// What a page calls: connect a new tool, renew one, finish setting one up.
import { openBackend } from "./backend.js";
import type { Backend } from "./backend.js";
import { KomboEmbedError } from "./errors.js";
import { startOrJoin } from "./exclusive.js";
import { runFlow } from "./flow.js";
import type { LinkRequest } from "./link.js";
import type {
  AlreadyConnected,
  ConnectOptions,
  ConnectResult,
  FlowOptions,
  FlowResult,
  Integration,
} from "./types.js";

/**
 * Lets the signed-in end user connect a tool: asks the backend for a link, opens Kombo Connect, and tells the
 * backend when the end user is done. Call it from a click.
 *
 * Closing the dialog is a result (`cancelled`), not an error. Called again while the flow is open, it answers
 * with the same flow; with other options it rejects with `already_open`.
 *
 * @throws KomboEmbedError for everything that is not a `ConnectResult`; see its `code`.
 */
export function connect(options: ConnectOptions = {}): Promise<ConnectResult> {
  const { category, tool } = options;
  const body = given({ integration_category: category, integration_tool: tool, ...commonWishes(options) });
  const request = { path: "links", body };
  return run(request, options, (...start) =>
    runFlow(...start).catch((error: unknown) => offerReconnect(error, options)),
  );
}

/**
 * Lets the end user renew the credentials of an integration that stopped working: one whose `next_action` is
 * `reconnect`, or one that `connect` found already there.
 *
 * @param integrationId The `id` of an `Integration`.
 * @throws KomboEmbedError as `connect` does; `integration_not_found` for an id that is not this customer's.
 */
export async function reconnect(integrationId: string, options: FlowOptions = {}): Promise<FlowResult> {
  return runOver(integrationId, "relink", options);
}

/**
 * Lets the end user finish what an integration still needs: one whose `next_action` is `finish_setup`.
 *
 * @param integrationId The `id` of an `Integration`.
 * @throws KomboEmbedError as `connect` does; `setup_not_available` where nothing is left to set up.
 */
export async function finishSetup(integrationId: string, options: FlowOptions = {}): Promise<FlowResult> {
  return runOver(integrationId, "setup-link", options);
}

function runOver(integrationId: string, action: string, options: FlowOptions): Promise<FlowResult> {
  // A dot is all that encoding leaves of an id that would climb to another path.
  if (/^\.{0,2}$/.test(integrationId)) throw new TypeError("integrationId is no id");
  const integrationPath = `integrations/${encodeURIComponent(integrationId)}`;
  const body = given(commonWishes(options));
  const request = { path: `${integrationPath}/${action}`, body, integrationPath };
  return run(request, options, runFlow);
}

function run<T>(
  request: LinkRequest,
  options: FlowOptions,
  start: (backend: Backend, request: LinkRequest, options: FlowOptions) => Promise<T>,
): Promise<T> {
  try {
    const backend = openBackend(options);
    const { container, onPhase, signal } = options;
    const key = JSON.stringify([backend.endpoint, request.path, request.body]);
    const wish = { key, container, onPhase };
    return startOrJoin(wish, signal, (tell) => start(backend, request, { ...options, onPhase: tell }));
  } catch (error) {
    return Promise.reject(error); // an endpoint that is no URL
  }
}

function offerReconnect(error: unknown, options: FlowOptions): AlreadyConnected {
  const integration: Integration | undefined =
    error instanceof KomboEmbedError && error.code === "already_connected" ? error.integration : undefined;
  if (!integration) throw error;
  return {
    status: "already_connected",
    integration,
    reconnect: (overrides = {}) => reconnect(integration.id, { ...options, ...overrides }),
  };
}

function commonWishes({ language, fresh }: FlowOptions): Record<string, unknown> {
  return { language, fresh: fresh || undefined };
}

/** Only what was given: what is left out is the backend's to decide. */
function given(wishes: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(wishes).filter(([, value]) => value !== undefined));
}
