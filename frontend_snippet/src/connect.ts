// The connect flow (a link from the backend, Kombo's dialog, the completion) and the functions that start it.
import { openBackend, untilAborted } from "./backend.js";
import type { Backend } from "./backend.js";
import { complete, finishPendingQuickly } from "./completion.js";
import { dialogFailed, rememberFocus, showDialog } from "./dialog.js";
import { aborted, KomboEmbedError } from "./errors.js";
import { flowFinished, pageState, startOrJoin } from "./page-state.js";
import { parseIntegration, parseLink } from "./parse.js";
import type {
  AlreadyConnected,
  BackendOptions,
  ConnectOptions,
  ConnectResult,
  FlowOptions,
  FlowResult,
  Integration,
} from "./types.js";

// A link can expire at Kombo before the backend's hour is over, and the backend does not learn of it. The only sign is
// an end user who opens the dialog, closes it, and tries again.
const MAX_CLOSED = 2;

interface LinkRequest {
  /** Below the endpoint. */
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** The path of the integration, if it exists already. */
  readonly integrationPath?: string;
}

/**
 * Let the signed-in end user connect a tool: request a link from the backend, open Kombo Connect, and record the
 * completion at the backend. Call it from a click.
 *
 * Closing the dialog is a result (`cancelled`), not an error. A second call while the flow is open returns the same
 * flow; with other options it rejects with `already_open`.
 *
 * @throws KomboEmbedError for everything that is not a `ConnectResult`; see its `code`.
 */
export function connect(options: ConnectOptions = {}): Promise<ConnectResult> {
  return run({ path: "links", body: connectBody(options) }, options, (...flow) =>
    runFlow(...flow).catch((error: unknown) => offerReconnect(error, options)),
  );
}

/**
 * Let the end user renew the credentials of an integration that stopped working: one whose `next_action` is
 * `reconnect`, or the one of an `already_connected` result.
 *
 * @param integrationId The `id` of an `Integration`.
 * @throws KomboEmbedError as `connect` does; `integration_not_found` for an id that is not this customer's.
 */
export async function reconnect(integrationId: string, options: FlowOptions = {}): Promise<FlowResult> {
  return runForIntegration(integrationId, "relink", options);
}

/**
 * Let the end user finish the setup of an integration: one whose `next_action` is `finish_setup`.
 *
 * @param integrationId The `id` of an `Integration`.
 * @throws KomboEmbedError as `connect` does; `setup_not_available` if nothing is left to set up.
 */
export async function finishSetup(integrationId: string, options: FlowOptions = {}): Promise<FlowResult> {
  return runForIntegration(integrationId, "setup-link", options);
}

/**
 * Delete an integration, at Kombo too. This cannot be undone, so ask the end user first. It is possible if the backend
 * allows it: `actions` of `watch` contains "disconnect".
 *
 * @param integrationId The `id` of an `Integration`.
 * @throws KomboEmbedError for every failure; `forbidden` if the backend does not allow it.
 */
export async function disconnect(integrationId: string, options: BackendOptions = {}): Promise<void> {
  const backend = openBackend(options);
  await backend.send({ method: "DELETE", path: pathOf(integrationId), signal: options.signal });
  flowFinished(backend.clock.now());
}

function pathOf(integrationId: string): string {
  // `encodeURIComponent` keeps dots, and a segment of dots names a parent path.
  if (/^\.{0,2}$/.test(integrationId)) throw new TypeError("integrationId is not an id");
  return `integrations/${encodeURIComponent(integrationId)}`;
}

function runForIntegration(integrationId: string, action: string, options: FlowOptions): Promise<FlowResult> {
  const integrationPath = pathOf(integrationId);
  return run(
    { path: `${integrationPath}/${action}`, body: linkBody(options), integrationPath },
    options,
    runFlow,
  );
}

/** What `connect` and `prefetch` send: the backend caches a link for each choice. */
export function connectBody(options: ConnectOptions): LinkRequest["body"] {
  return { integration_category: options.category, integration_tool: options.tool, ...linkBody(options) };
}

/** JSON leaves out what is undefined, and the backend decides it. */
function linkBody({ language, fresh }: FlowOptions): LinkRequest["body"] {
  return { language, fresh: fresh || undefined };
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
    const outcome = startOrJoin({ key, container, onPhase }, (notify) =>
      start(backend, request, { ...options, onPhase: notify }),
    );
    // The flow belongs to the call that started it: the signal of one that joined ends only its own wait.
    return untilAborted(outcome, signal);
  } catch (error) {
    return Promise.reject(error); // an endpoint that is not a URL
  }
}

async function runFlow(backend: Backend, request: LinkRequest, options: FlowOptions): Promise<FlowResult> {
  if (options.signal?.aborted) throw aborted();
  const container = options.container ?? document.body;
  if (!container.isConnected) throw dialogFailed();
  const restoreFocus = rememberFocus();
  await finishPendingQuickly(backend);
  const link = await requestLink(backend, request, options.signal);
  options.onPhase?.("open");
  const activationToken = await showDialog(link, container, backend.clock, options).finally(restoreFocus);
  if (activationToken === undefined) {
    pageState().timesClosed.set(link, timesClosed(link) + 1);
    return { status: "cancelled" };
  }
  options.onPhase?.("recording");
  return activationToken === "" ? finishWithoutToken(backend, request) : complete(backend, activationToken);
}

/** Return a link that the end user has not closed `MAX_CLOSED` times. */
async function requestLink(
  backend: Backend,
  { path, body }: LinkRequest,
  signal: AbortSignal | undefined,
): Promise<string> {
  const request = async (more: object) =>
    parseLink((await backend.send({ method: "POST", path, body: { ...body, ...more }, signal })).body);
  const link = await request({});
  return timesClosed(link) < MAX_CLOSED ? link : request({ fresh: true });
}

function timesClosed(link: string): number {
  return pageState().timesClosed.get(link) ?? 0;
}

/** Without a token, the backend can report an existing integration now, and learns of a new one by webhook. */
async function finishWithoutToken(backend: Backend, { integrationPath }: LinkRequest): Promise<FlowResult> {
  flowFinished(backend.clock.now());
  if (integrationPath === undefined) return { status: "finished" };
  try {
    const { body } = await backend.send({ method: "GET", path: integrationPath });
    return { status: "connected", integration: parseIntegration(body), first: false };
  } catch {
    return { status: "finished" };
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
