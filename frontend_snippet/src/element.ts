// <kombo-connect-button>, for pages without a build. Importing this module defines it.
import { openBackend } from "./backend.js";
import { finishPendingOnce } from "./completion.js";
import { Connector } from "./connector.js";
import type { ConnectState } from "./connector.js";
import type { KomboEmbedError } from "./errors.js";
import { textsFor } from "./texts.js";
import type {
  AlreadyConnected,
  Cancelled,
  Category,
  Connected,
  ConnectOptions,
  ConnectResult,
  Finished,
} from "./types.js";

// A server that renders pages may import this module too, and has neither.
const { HTMLElement: Base = Object as unknown as typeof HTMLElement, customElements: registry } =
  globalThis as Partial<typeof globalThis>;

const NAME = "kombo-connect-button";
const ATTRIBUTES = ["endpoint", "tool", "category", "language", "label", "disabled"] as const;
const BUSY = new Set<ConnectState["status"]>(["loading", "open", "recording"]);

// For a constructed style sheet, which no content security policy blocks. The system colours follow the page's
// `color-scheme`.
const CSS =
  ":host{display:inline-block}[hidden]{display:none}p{margin:.5rem 0}p:empty{margin:0}" +
  "button{min-height:2.75rem;padding:var(--kombo-connect-padding,.5rem 1.25rem);" +
  "border:1px solid var(--kombo-connect-border,transparent);border-radius:var(--kombo-connect-radius,.5rem);" +
  "background:var(--kombo-connect-background,CanvasText);color:var(--kombo-connect-color,Canvas);" +
  "font:inherit;font-weight:600;cursor:pointer}[aria-disabled=true]{opacity:.7;cursor:default}" +
  "[aria-busy=true]{cursor:progress}";

/** The events of a `<kombo-connect-button>`. */
export interface KomboConnectEvents {
  "kombo-connected": CustomEvent<Connected>;
  "kombo-finished": CustomEvent<Finished>;
  "kombo-cancelled": CustomEvent<Cancelled>;
  "kombo-already-connected": CustomEvent<AlreadyConnected>;
  "kombo-failed": CustomEvent<KomboEmbedError>;
}

declare global {
  interface HTMLElementTagNameMap {
    "kombo-connect-button": KomboConnectButton;
  }
  interface HTMLElementEventMap extends KomboConnectEvents {}
  interface DocumentEventMap extends KomboConnectEvents {}
}

/**
 * A button that connects a tool.
 *
 * Attributes: `endpoint`, `tool`, `category`, `language`, `label` (or the element's content), `disabled`. The property
 * `options` takes everything that `connect` takes. Events, which bubble: `kombo-connected`, `kombo-finished`,
 * `kombo-cancelled` and `kombo-already-connected` with the result as `detail`, `kombo-failed` with the error. Unless
 * `kombo-already-connected` is cancelled, the button offers to reconnect. Parts: `button`, `message`, `reconnect`; while
 * a flow is in progress the button is also the part `busy`.
 */
export class KomboConnectButton extends Base {
  static readonly observedAttributes = ATTRIBUTES;

  declare endpoint: string | null;
  declare tool: string | null;
  declare category: string | null;
  declare language: string | null;
  declare label: string | null;
  declare disabled: boolean;

  readonly #connector = new Connector(() => this.#connectOptions());
  readonly #parts: Parts;
  #options: ConnectOptions = {};

  constructor() {
    super();
    this.#parts = buildParts(this.attachShadow({ mode: "open", delegatesFocus: true }));
    this.#parts.button.addEventListener("click", () => void this.connect());
    this.#parts.reconnect.addEventListener("click", () => void this.#reconnect());
    this.#connector.subscribe(() => this.#render());
  }

  /** The options of `connect` that are no attributes: `headers`, `container`, ... An attribute takes precedence. */
  get options(): ConnectOptions {
    return this.#options;
  }

  set options(options: ConnectOptions) {
    this.#options = options;
    this.#render();
  }

  /** The state of the flow. */
  get status(): ConnectState["status"] {
    return this.#connector.state().status;
  }

  /** Do what a click does. Resolves with the result, or with undefined if it failed or is not possible now. */
  async connect(): Promise<ConnectResult | undefined> {
    if (this.disabled || BUSY.has(this.status)) return undefined;
    return this.#dispatch(await this.#connector.connect());
  }

  connectedCallback(): void {
    for (const name of [...ATTRIBUTES, "options"] as const) {
      // A property that the page set before the element was defined hides the accessor, so it is set once more.
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      Reflect.deleteProperty(this, name);
      Object.assign(this, { [name]: value });
    }
    this.#render();
    // In a turn of its own, so that the page can set `options` first.
    queueMicrotask(() => void this.#finishPending());
  }

  attributeChangedCallback(): void {
    this.#render();
  }

  async #reconnect(): Promise<void> {
    const { result } = this.#connector.state();
    if (result?.status !== "already_connected") return;
    this.#parts.button.focus(); // the reconnect button disappears
    this.#dispatch(await this.#connector.reconnect(result.integration.id));
  }

  /** Send the completions that an earlier page could not send, and dispatch their events here. */
  async #finishPending(): Promise<void> {
    for (const connected of await finishPendingOnce(openBackend(this.#connectOptions()))) {
      this.#connector.adopt(connected);
      this.#dispatch(connected);
    }
  }

  #dispatch(result: ConnectResult | undefined): ConnectResult | undefined {
    const { status, error } = this.#connector.state();
    const kind = result ? result.status.replace("_", "-") : status;
    if (kind === "idle") return undefined;
    const event = new CustomEvent(`kombo-${kind}`, {
      bubbles: true,
      composed: true,
      cancelable: true,
      detail: result ?? error,
    });
    // An element that was removed meanwhile has no ancestors for the event to bubble to.
    const cancelled = !(this.isConnected ? this : document).dispatchEvent(event);
    if (cancelled) this.#connector.reset();
    return result;
  }

  #connectOptions(): ConnectOptions {
    const { endpoint, tool, language } = this;
    const category = this.category as Category | null;
    const given = Object.entries({ endpoint, tool, category, language }).filter(([, value]) => value);
    return { ...this.#options, ...Object.fromEntries(given) };
  }

  #render(): void {
    const { button, label, message, reconnect } = this.#parts;
    const { status, error } = this.#connector.state();
    const { language = this.closest<HTMLElement>("[lang]")?.lang } = this.#connectOptions();
    const texts = textsFor(language);
    const busy = BUSY.has(status);
    const already = status === "already_connected";
    button.setAttribute("part", busy ? "button busy" : "button");
    button.setAttribute("aria-busy", String(busy));
    // Not `disabled`: the button would lose the focus, which returns to it when the dialog closes.
    button.setAttribute("aria-disabled", String(busy || this.disabled));
    label.textContent = this.label || texts.connect;
    const failed = error && (error.status === 401 ? texts.signIn : texts.failed);
    message.textContent = failed ?? (already ? texts.already : "");
    reconnect.textContent = texts.reconnect;
    reconnect.hidden = !already;
  }
}

// The attributes as properties.
for (const name of ATTRIBUTES) {
  const isFlag = name === "disabled";
  Object.defineProperty(KomboConnectButton.prototype, name, {
    configurable: true,
    enumerable: true,
    get(this: HTMLElement) {
      return isFlag ? this.hasAttribute(name) : this.getAttribute(name);
    },
    set(this: HTMLElement, value: unknown) {
      if (isFlag ? !value : value == null) this.removeAttribute(name);
      else this.setAttribute(name, isFlag ? "" : String(value));
    },
  });
}

// Another copy of this module may have defined it.
if (registry && !registry.get(NAME)) registry.define(NAME, KomboConnectButton);

interface Parts {
  readonly button: HTMLButtonElement;
  readonly label: HTMLSlotElement;
  readonly message: HTMLElement;
  readonly reconnect: HTMLButtonElement;
}

let sheet: CSSStyleSheet | undefined;

function buildParts(shadow: ShadowRoot): Parts {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(CSS);
  }
  shadow.adoptedStyleSheets = [sheet];
  const button = createElement("button", { part: "button", type: "button" });
  const label = createElement("slot", {});
  // Present from the start: screen readers announce only changes of an alert that exists.
  const message = createElement("p", { part: "message", role: "alert" });
  const reconnect = createElement("button", { part: "reconnect", type: "button", hidden: "" });
  button.append(label);
  shadow.append(button, message, reconnect);
  return { button, label, message, reconnect };
}

/** Create an element without markup, which a content security policy may block. */
function createElement<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Readonly<Record<string, string>>,
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
