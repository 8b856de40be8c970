// Kombo's dialog. The SDK shows a bare iframe: it has no name for a screen reader, gets no focus, ignores Esc, and covers
// the page for ever if its page does not load or ends without data. This module makes up for that from outside.
import { showKomboConnect as komboSdk } from "@kombo-api/connect";
import { alreadyOpen, KomboEmbedError } from "./errors.js";
import { parseFields, parseUrl } from "./parse.js";
import { textsFor } from "./texts.js";
import type { Texts } from "./texts.js";
import type { Clock, FlowOptions } from "./types.js";

const SLOW_AFTER_MS = 10_000;

// Set through the CSS object model, which a strict content security policy allows. `all` resets what the page's own
// styles and its open dialogs set on elements, and what they inherit, such as `pointer-events: none`.
const LAYER =
  "all:initial;display:block;position:fixed;inset:0;width:100%;height:100%;border:0;overflow:hidden;";
// A frame whose color scheme differs from its page's is painted on an opaque ground. Kombo's page declares none.
const FRAME = `${LAYER}color-scheme:light`;
const BAR =
  "position:fixed;inset:auto 0 1.5rem;width:fit-content;margin:auto;padding:1rem;border-radius:.5rem;" +
  "background:#1f2937;color:#fff;font:1rem system-ui";
const BUTTON =
  "margin-inline-start:1rem;padding:.5rem 1rem;border-radius:.5rem;border:1px solid;background:none;color:inherit;" +
  "font:inherit";

/** Why this module closed the dialog: a success without data, a key, a page that is slow or was blocked. */
type CloseReason = "finished" | "escaped" | "dialog_timeout" | "dialog_blocked";

interface OpenDialog {
  readonly layer: HTMLDialogElement;
  frame: HTMLIFrameElement | null;
  closedBy: CloseReason | undefined;
}

/**
 * Open Kombo Connect in a modal `<dialog>` in `container`, and supervise its frame until it is gone.
 *
 * Modal dialogs are rendered in the browser's top layer, above and independent of everything in the page: transformed
 * and clipped ancestors, other dialogs, their focus traps and what they make inert.
 *
 * @returns The activation token (empty if Kombo sent none), or undefined if the end user closed the dialog.
 */
export async function showDialog(
  link: string,
  container: HTMLElement,
  clock: Clock,
  { title, language, showKomboConnect = komboSdk }: FlowOptions,
): Promise<string | undefined> {
  const ending = new AbortController();
  const texts = textsFor(language);
  const dialog: OpenDialog = { layer: showLayer(container), frame: null, closedBy: undefined };
  closeOnEvents(dialog, ending.signal); // before the SDK's listener, which throws on a success without data
  try {
    const outcome = showKomboConnect(link, { container: dialog.layer });
    dialog.frame = dialog.layer.querySelector("iframe");
    ending.signal.onabort = superviseLoading(dialog, texts, clock, title);
    return (await outcome) ?? "";
  } catch (error) {
    return outcomeOf(error, dialog.closedBy);
  } finally {
    ending.abort();
    hideLayer(dialog.layer);
  }
}

/** Cover the page with a modal dialog. A DOM without modal dialogs, such as those of tests, gets an open one. */
function showLayer(container: HTMLElement): HTMLDialogElement {
  const layer = document.createElement("dialog");
  layer.style.cssText = LAYER;
  container.append(layer);
  if ("showModal" in layer) layer.showModal();
  else (layer as HTMLElement).setAttribute("open", "");
  return layer;
}

function hideLayer(layer: HTMLDialogElement): void {
  // Removed alone, it would not give the focus back.
  if ("close" in layer) layer.close();
  (layer as HTMLElement).remove();
}

/** Interpret a rejection of the SDK, which takes the removal of its frame for a cancellation. */
function outcomeOf(error: unknown, closedBy: CloseReason | undefined): "" | undefined {
  if (closedBy === "finished") return "";
  if (closedBy === "dialog_timeout" || closedBy === "dialog_blocked") {
    throw new KomboEmbedError(closedBy, { detail: "Kombo's page did not load." });
  }
  const name = error instanceof Error ? error.name : "";
  if (name === "KomboConnectCancelledError") return undefined;
  // The SDK's own message is left out: it may quote the link.
  throw name === "KomboConnectAlreadyOpenError" ? alreadyOpen() : dialogFailed();
}

/** Return the error of a dialog that could not be opened. */
export function dialogFailed(): KomboEmbedError {
  return new KomboEmbedError("dialog_failed", { detail: "The dialog did not open." });
}

function close(dialog: OpenDialog, reason: CloseReason): void {
  dialog.closedBy = reason;
  dialog.frame?.remove();
}

function closeOnEvents(dialog: OpenDialog, signal: AbortSignal): void {
  window.addEventListener("message", (event) => closeOnBareSuccess(dialog, event), { signal });
  // In the capture phase, since a dialog of the page's below this one would close too.
  window.addEventListener("keydown", (event) => closeOnEscape(dialog, event), { signal, capture: true });
  // By the back gesture of a phone, or by the page.
  dialog.layer.addEventListener("close", () => close(dialog, "escaped"), { signal });
  document.addEventListener("securitypolicyviolation", (event) => closeIfBlocked(dialog, event), { signal });
}

function closeOnBareSuccess(dialog: OpenDialog, event: MessageEvent): void {
  const { type, data } = parseFields(event.data);
  if (event.source !== dialog.frame?.contentWindow || type !== "success" || data != null) return;
  event.stopImmediatePropagation(); // the SDK would throw, and stay open
  close(dialog, "finished");
}

/** Inside the frame the keys are Kombo's. These are pressed while the focus is outside of it. */
function closeOnEscape(dialog: OpenDialog, event: KeyboardEvent): void {
  if (!dialog.frame || event.key !== "Escape" || event.isComposing) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  close(dialog, "escaped");
}

function closeIfBlocked(dialog: OpenDialog, event: SecurityPolicyViolationEvent): void {
  const { blockedURI, disposition, effectiveDirective } = event;
  if (!dialog.frame || disposition !== "enforce" || effectiveDirective !== "frame-src") return;
  if (parseUrl(blockedURI)?.origin === parseUrl(dialog.frame.src)?.origin) close(dialog, "dialog_blocked");
}

/** Name the frame, focus it when its page has loaded, and offer to close it until then. Return what ends the offer. */
function superviseLoading(dialog: OpenDialog, texts: Texts, clock: Clock, title = texts.connect): () => void {
  if (!dialog.frame) return () => undefined;
  const loaded = offerToClose(dialog.frame, texts, clock, () => close(dialog, "dialog_timeout"));
  prepareFrame(dialog.frame, title, loaded);
  return loaded;
}

function prepareFrame(frame: HTMLIFrameElement, title: string, loaded: () => void): void {
  frame.title = title;
  if (frame.parentElement) frame.parentElement.ariaLabel = title;
  frame.style.cssText = FRAME;
  const onLoad = () => {
    loaded();
    // The end user may be typing in it by now.
    if (document.activeElement !== frame) frame.focus();
  };
  // Focused no earlier, since an empty frame loses the focus to the page that loads in it.
  frame.addEventListener("load", onLoad, { once: true });
}

/** Show a button that closes a slow dialog. Return a function that removes it, or prevents it. */
function offerToClose(frame: HTMLElement, texts: Texts, clock: Clock, onClose: () => void): () => void {
  let bar: HTMLElement | undefined;
  const cancelTimer = clock.after(SLOW_AFTER_MS, () => {
    bar = showCloseBar(frame, texts, onClose);
  });
  return () => {
    cancelTimer();
    bar?.remove();
  };
}

/** Show a bar with a button above the frame, which covers the whole page. */
function showCloseBar(frame: HTMLElement, texts: Texts, onClose: () => void): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.append(texts.close);
  button.style.cssText = BUTTON;
  button.addEventListener("click", onClose);
  const bar = document.createElement("div");
  bar.setAttribute("role", "alertdialog");
  bar.setAttribute("aria-label", texts.failed);
  bar.style.cssText = BAR;
  bar.append(texts.failed, button);
  frame.after(bar);
  button.focus({ preventScroll: true });
  return bar;
}

/** Remember the focused element. Return a function that focuses it again, unless the page has moved the focus. */
export function rememberFocus(): () => void {
  const before = document.activeElement;
  return () => {
    const { activeElement, body } = document;
    const unfocused = !activeElement || activeElement === body;
    if (unfocused && before instanceof HTMLElement && before.isConnected)
      before.focus({ preventScroll: true });
  };
}
