// Kombo's SDK shows a bare iframe: no name for a screen reader, the focus stays behind it, and a success without
// data leaves it open for ever. All three are made good from outside.
import { readFields, readUrl } from "./read.js";

const TITLE = "Connect your HR tool";

/** What to know about the frame, and whom to tell. */
export interface Attendance {
  readonly link: string;
  readonly title: string | undefined;
  /** Called after a success without data; the frame is removed, which the SDK takes for a cancellation. */
  readonly onBareSuccess: () => void;
}

/**
 * Looks after the frame that the SDK is about to put into `container`. To be called before the SDK, whose own
 * listener would otherwise be the first to hear of a success without data. The answer ends it.
 */
export function attendFrame(container: HTMLElement, attendance: Attendance): () => void {
  const ending = new AbortController();
  const { signal } = ending;
  let frame: HTMLIFrameElement | undefined;
  const observer = new MutationObserver(() => {
    frame ??= findFrame(container, attendance.link);
    if (!frame) return;
    observer.disconnect();
    frame.title = attendance.title ?? TITLE;
    focusOnceLoaded(frame);
  });
  observer.observe(container, { childList: true });
  signal.addEventListener("abort", () => observer.disconnect());
  const onMessage = (event: MessageEvent) => closeAfterBareSuccess(event, frame, attendance);
  window.addEventListener("message", onMessage, { signal });
  return () => ending.abort();
}

/**
 * An empty frame that is given the focus loses it to the page that arrives, so the arrival is waited for. By then
 * the end user may be typing in it: a frame that has the focus keeps it undisturbed.
 */
function focusOnceLoaded(frame: HTMLIFrameElement): void {
  const focus = () => {
    if (document.activeElement !== frame) frame.focus();
  };
  frame.addEventListener("load", focus, { once: true });
}

function closeAfterBareSuccess(
  event: MessageEvent,
  frame: HTMLIFrameElement | undefined,
  { onBareSuccess }: Attendance,
): void {
  const { type, data } = readFields(event.data);
  if (!frame || event.source !== frame.contentWindow || type !== "success" || data != null) return;
  event.stopImmediatePropagation(); // the SDK would throw, and stay open
  onBareSuccess();
  frame.remove();
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

/** The SDK adds to the link's query, so only what is before it is compared. */
function findFrame(container: HTMLElement, link: string): HTMLIFrameElement | undefined {
  const frames = [...container.querySelectorAll<HTMLIFrameElement>(":scope > iframe")];
  return frames.find((frame) => addressOf(frame.src) === addressOf(link));
}

function addressOf(address: string): string | undefined {
  const url = readUrl(address);
  return url && url.origin + url.pathname;
}
