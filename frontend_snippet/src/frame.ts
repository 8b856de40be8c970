// Kombo's SDK shows a bare iframe: no name for a screen reader, the focus stays behind it, Esc does nothing, what
// never loads or ends without data covers the page for ever. All of it is made good from outside.
import { readFields, readUrl } from "./read.js";
import type { Texts } from "./texts.js";
import type { Clock } from "./types.js";
import { showWayOut } from "./way_out.js";

const SLOW_AFTER_MS = 10_000;

/** Why the frame was taken away from here: Kombo had no data to tell, a key, the button, the page's policy. */
export type Removal = "finished" | "escaped" | "slow" | "blocked";

/** What to know about the frame, and whom to tell. */
export interface Attendance {
  readonly title: string | undefined;
  readonly texts: Texts;
  readonly clock: Clock;
  /** Called before the frame is removed, which the SDK takes for a cancellation. */
  readonly onRemove: (why: Removal) => void;
}

/**
 * Calls `show`, which puts Kombo's frame into `container`, and looks after that frame until it is gone.
 *
 * Listens before the SDK does, which would otherwise be the first to hear of a success without data.
 */
export async function showAttended<T>(
  container: HTMLElement,
  attendance: Attendance,
  show: () => Promise<T>,
): Promise<T> {
  const ending = new AbortController();
  const { signal } = ending;
  let frame: HTMLIFrameElement | null = null;
  const removeOn = (why: Removal) => {
    attendance.onRemove(why);
    frame?.remove();
  };
  const onMessage = (event: MessageEvent) => isBareSuccess(event, frame) && removeOn("finished");
  window.addEventListener("message", onMessage, { signal });
  // Before the page's own listeners: a dialog of the page's, which this one lies on, would close with it.
  const onKey = (event: KeyboardEvent) => isEscape(event, frame) && removeOn("escaped");
  window.addEventListener("keydown", onKey, { signal, capture: true });
  const onBlock = (event: SecurityPolicyViolationEvent) => isBlocked(event, frame) && removeOn("blocked");
  document.addEventListener("securitypolicyviolation", onBlock, { signal });
  try {
    const shown = show();
    frame = container.querySelector(":scope > iframe:last-child");
    if (frame) prepare(frame, attendance, () => removeOn("slow"), signal);
    return await shown;
  } finally {
    ending.abort();
  }
}

function prepare(
  frame: HTMLIFrameElement,
  { title, texts, clock }: Attendance,
  giveUp: () => void,
  signal: AbortSignal,
): void {
  frame.title = title ?? texts.connect;
  // A frame and its page must agree on this, or the page is shown on an opaque ground. Kombo's declares none.
  frame.style.colorScheme = "light";
  frame.style.border = "0";
  let takeAway: (() => void) | undefined;
  const cancelTimer = clock.after(SLOW_AFTER_MS, () => {
    takeAway = showWayOut(frame, texts, giveUp);
  });
  const arrived = () => {
    cancelTimer();
    takeAway?.();
  };
  signal.addEventListener("abort", arrived);
  const onLoad = () => {
    arrived();
    // By then the end user may be typing in it: a frame that has the focus keeps it undisturbed.
    if (document.activeElement !== frame) frame.focus();
  };
  // An empty frame that is given the focus loses it to the page that arrives, so the arrival is waited for.
  frame.addEventListener("load", onLoad, { once: true });
}

function isBareSuccess(event: MessageEvent, frame: HTMLIFrameElement | null): boolean {
  const { type, data } = readFields(event.data);
  if (!frame || event.source !== frame.contentWindow || type !== "success" || data != null) return false;
  event.stopImmediatePropagation(); // the SDK would throw, and stay open
  return true;
}

/** Within the frame the keys are Kombo's; these are pressed while the focus is still, or again, outside. */
function isEscape(event: KeyboardEvent, frame: HTMLIFrameElement | null): boolean {
  if (!frame || event.key !== "Escape" || event.isComposing) return false;
  event.preventDefault();
  event.stopImmediatePropagation();
  return true;
}

function isBlocked(event: SecurityPolicyViolationEvent, frame: HTMLIFrameElement | null): boolean {
  const ours = frame && readUrl(event.blockedURI)?.origin === readUrl(frame.src)?.origin;
  return !!ours && event.disposition === "enforce" && event.effectiveDirective === "frame-src";
}

/**
 * Remembers what has the focus now. The answer gives it back, unless the page has moved it elsewhere since.
 */
export function rememberFocus(): () => void {
  const before = document.activeElement;
  return () => {
    const nowhere = document.activeElement === null || document.activeElement === document.body;
    if (nowhere && before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
  };
}
