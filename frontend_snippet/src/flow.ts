// One flow, from the link to the recorded integration.
import { showKomboConnect as komboSdk } from "@kombo-api/connect";
import { tellFlowFinished } from "./activity.js";
import type { Backend } from "./backend.js";
import { complete, finishPendingQuickly } from "./completion.js";
import { aborted, KomboEmbedError } from "./errors.js";
import { alreadyOpen } from "./exclusive.js";
import { attendFrame, rememberFocus } from "./frame.js";
import { readIntegration, readLink } from "./read.js";
import type { Cancelled, FlowOptions, FlowResult } from "./types.js";

/** Which link to ask for. */
export interface LinkRequest {
  /** Where links of this kind come from, below the endpoint. */
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** Where the integration can be read, if it exists already. */
  readonly integrationPath?: string;
}

/** Gets the link, shows the dialog, tells the backend. */
export async function runFlow(
  backend: Backend,
  request: LinkRequest,
  options: FlowOptions,
): Promise<FlowResult> {
  if (options.signal?.aborted) throw aborted();
  if (options.container?.isConnected === false) throw dialogFailed("The container is not in the document.");
  const returnFocus = rememberFocus();
  await finishPendingQuickly(backend);
  const { path, body } = request;
  const answer = await backend.call({ method: "POST", path, body, signal: options.signal });
  const ending = await openDialog(readLink(answer.body), options).finally(returnFocus);
  if (typeof ending !== "string") return ending;
  return ending === "" ? finishWithoutToken(backend, request) : complete(backend, ending);
}

/** The activation token (empty where Kombo gave none), or that the end user closed the dialog. */
async function openDialog(link: string, options: FlowOptions): Promise<string | Cancelled> {
  // Naming the body is what makes the SDK notice when something removes its frame; unnamed, it waits for ever.
  const container = options.container ?? document.body;
  let bareSuccess = false;
  const onBareSuccess = () => {
    bareSuccess = true;
  };
  const stopAttending = attendFrame(container, { link, title: options.title, onBareSuccess });
  const show = options.showKomboConnect ?? komboSdk;
  try {
    return (await show(link, { container })) ?? "";
  } catch (error) {
    if (bareSuccess) return "";
    const name = error instanceof Error ? error.name : "";
    if (name === "KomboConnectCancelledError") return { status: "cancelled" };
    // The SDK's own words are left out: they may quote the link.
    throw name === "KomboConnectAlreadyOpenError" ? alreadyOpen() : dialogFailed("The dialog did not open.");
  } finally {
    stopAttending();
  }
}

/** Nothing to exchange: of an integration that exists the backend can be asked, of a new one it will hear. */
async function finishWithoutToken(backend: Backend, { integrationPath }: LinkRequest): Promise<FlowResult> {
  tellFlowFinished(backend.clock.now());
  if (integrationPath === undefined) return { status: "finished" };
  try {
    const answer = await backend.call({ method: "GET", path: integrationPath });
    return { status: "connected", integration: readIntegration(answer.body), first: false };
  } catch {
    return { status: "finished" };
  }
}

function dialogFailed(detail: string): KomboEmbedError {
  return new KomboEmbedError("dialog_failed", { detail });
}
