// How <kombo-connect-button> looks: through a constructed style sheet, which no content security policy refuses.
import { make } from "./make.js";

// The colours of the page's own color-scheme, light or dark, unless the page sets others.
const CSS =
  ":host{display:inline-block}[hidden]{display:none}p{margin:.5rem 0}p:empty{margin:0}" +
  "button{min-height:2.75rem;padding:var(--kombo-connect-padding,.5rem 1.25rem);" +
  "border:1px solid var(--kombo-connect-border,transparent);border-radius:var(--kombo-connect-radius,.5rem);" +
  "background:var(--kombo-connect-background,CanvasText);color:var(--kombo-connect-color,Canvas);" +
  "font:inherit;font-weight:600;cursor:pointer}[aria-disabled=true]{opacity:.7;cursor:default}" +
  "[aria-busy=true]{cursor:progress}";

let sheet: CSSStyleSheet | undefined;

/** What a button is made of. */
export interface Parts {
  readonly button: HTMLButtonElement;
  readonly label: HTMLSlotElement;
  readonly message: HTMLElement;
  readonly again: HTMLButtonElement;
}

/** Builds a button into `shadow`; the message is there from the start, or a screen reader would not hear of it. */
export function build(shadow: ShadowRoot): Parts {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  shadow.adoptedStyleSheets = [sheet];
  const button = make("button", { part: "button", type: "button" });
  const label = make("slot", {});
  const message = make("p", { part: "message", role: "alert" });
  const again = make("button", { part: "reconnect", type: "button", hidden: "" });
  button.append(label);
  shadow.append(button, message, again);
  return { button, label, message, again };
}
