// Kombo's frame covers the whole page. While nothing has come into it, this is what there is to click.
import { make } from "./make.js";
import type { Texts } from "./texts.js";

// Set through the object model, which a strict content security policy lets pass.
const BAR =
  "position:fixed;inset:auto 0 1.5rem;width:fit-content;margin:auto;padding:1rem;border-radius:.5rem;" +
  "background:#1f2937;color:#fff;font:1rem system-ui;z-index:";
const BUTTON =
  "margin-inline-start:1rem;padding:.5rem 1rem;border:1px solid;border-radius:.5rem;background:none;color:inherit;" +
  "font:inherit";

/** Shows, above the frame, that nothing came, and a button that closes it. The answer takes it away again. */
export function showWayOut(frame: HTMLElement, texts: Texts, close: () => void): () => void {
  const button = make("button", { type: "button" });
  button.append(texts.close);
  button.addEventListener("click", close);
  const bar = make("div", { role: "alertdialog", "aria-label": texts.failed });
  bar.append(texts.failed, button);
  bar.style.cssText = BAR + frame.style.zIndex;
  button.style.cssText = BUTTON;
  frame.after(bar);
  button.focus({ preventScroll: true });
  return () => bar.remove();
}
