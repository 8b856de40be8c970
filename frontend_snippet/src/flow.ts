// One flow, from the link to the recorded integration.
import { showKomboConnect as komboSdk } from "@kombo-api/connect";
import { tellFlowFinished } from "./activity.js";
import type { Backend } from "./backend.js";
import { complete, finishPendingQuickly } from "./completion.js";
import { aborted, KomboEmbedError } from "./errors.js";
import { alreadyOpen } from "./exclusive.js";
import { rememberFocus, showAttended } from "./frame.js";
import type { Removal } from "./frame.js";
import { getLink, noteClosed } from "./link.js";
import type { LinkRequest } from "./link.js";
import { readIntegration } from "./read.js";
import { textsFor } from "./texts.js";
import type { Cancelled, FlowOptions, FlowResult } from "./types.js";

/** Gets the link, shows the dialog, tells the backend. */
export async function runFlow(
  backend: Backend,
  request: LinkRequest,
  options: FlowOptions,
): Promise<FlowResult> {
  if (options.signal?.aborted) throw aborted();
  // Naming one, even the body, is what makes the SDK notice when something removes its frame.
  const container = options.container ?? modalWithFocus() ?? document.body;
  if (!container.isConnected) throw dialogFailed();
  const returnFocus = rememberFocus();
  await finishPendingQuickly(backend);
  const link = await getLink(backend, request, options);
  options.onPhase?.("open");
  const ending = await openDialog(link, container, backend, options).finally(returnFocus);
  if (typeof ending !== "string") return ending;
  options.onPhase?.("recording");
  return ending === "" ? finishWithoutToken(backend, request) : complete(backend, ending);
}

/** The activation token (empty where Kombo gave none), or that the end user closed the dialog. */
async function openDialog(
  link: string,
  container: HTMLElement,
  backend: Backend,
  { title, language, showKomboConnect = komboSdk }: FlowOptions,
): Promise<string | Cancelled> {
  let removal: Removal | undefined;
  const onRemove = (why: Removal) => {
    removal = why;
  };
  const attendance = { title, texts: textsFor(language), clock: backend.clock, onRemove };
  try {
    return (await showAttended(container, attendance, () => showKomboConnect(link, { container }))) ?? "";
  } catch (error) {
    if (removal === "finished") return "";
    if (removal === "slow" || removal === "blocked") throw neverShown(removal);
    const name = error instanceof Error ? error.name : "";
    // The SDK's own words are left out: they may quote the link.
    if (name !== "KomboConnectCancelledError") {
      throw name === "KomboConnectAlreadyOpenError" ? alreadyOpen() : dialogFailed();
    }
    noteClosed(backend, link);
    return { status: "cancelled" };
  }
}

/** A modal dialog of the page's makes all that is outside of it inert, ours too. */
function modalWithFocus(): HTMLElement | null | undefined {
  const dialog = document.activeElement?.closest("dialog");
  return dialog?.matches(":modal") ? dialog : undefined;
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

function neverShown(why: "slow" | "blocked"): KomboEmbedError {
  return why === "slow"
    ? new KomboEmbedError("dialog_timeout", { detail: "Kombo's page did not load." })
    : new KomboEmbedError("dialog_blocked", { detail: "Kombo's page was refused." });
}

function dialogFailed(): KomboEmbedError {
  return new KomboEmbedError("dialog_failed", { detail: "The dialog did not open." });
}
