// <kombo-connect-button>, for pages without a build.
import { openBackend } from "./backend.js";
import { finishPendingOnce } from "./completion.js";
import { Connector } from "./connector.js";
import type { ConnectState } from "./connector.js";
import type { KomboEmbedError } from "./errors.js";
import { adoptStyles, BaseElement, createElement, reflect, upgrade } from "./html.js";
import { onIntent, prefetch } from "./prefetch.js";
import { explain, textsFor, toolName } from "./texts.js";
import type {
  AlreadyConnected,
  Cancelled,
  Category,
  Connected,
  ConnectOptions,
  ConnectResult,
  Finished,
} from "./types.js";

export const NAME = "kombo-connect-button";
const ATTRIBUTES = ["endpoint", "tool", "category", "language", "label", "prefetch", "disabled"] as const;
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
export class KomboConnectButton extends BaseElement {
  static readonly observedAttributes = ATTRIBUTES;

  declare endpoint: string | null;
  declare tool: string | null;
  declare category: string | null;
  declare language: string | null;
  declare label: string | null;
  /** "intent": call `prefetch` when the pointer or the focus is on the button. Default: never. */
  declare prefetch: string | null;
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
    onIntent(this, () => {
      const idle = !this.disabled && !BUSY.has(this.status);
      if (this.prefetch === "intent" && idle) void prefetch(this.#connectOptions());
    });
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
    upgrade(this, [...ATTRIBUTES, "options"]);
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
    const { status, error, result } = this.#connector.state();
    const { language = this.closest<HTMLElement>("[lang]")?.lang } = this.#connectOptions();
    const texts = textsFor(language);
    const busy = BUSY.has(status);
    const already = status === "already_connected";
    button.setAttribute("part", busy ? "button busy" : "button");
    button.setAttribute("aria-busy", String(busy));
    // Not `disabled`: the button would lose the focus, which returns to it when the dialog closes.
    button.setAttribute("aria-disabled", String(busy || this.disabled));
    label.textContent = this.label || texts.connect;
    const failed = error && explain(error, texts);
    const tool = result && "integration" in result ? toolName(result.integration) : "";
    const success = status === "connected" ? `✓ ${texts.connected(tool)}` : "";
    message.textContent = failed ?? (already ? texts.already(tool) : success);
    reconnect.textContent = texts.reconnect;
    reconnect.hidden = !already;
  }
}

// The attributes as properties.
reflect(KomboConnectButton, ATTRIBUTES, ["disabled"]);

interface Parts {
  readonly button: HTMLButtonElement;
  readonly label: HTMLSlotElement;
  readonly message: HTMLElement;
  readonly reconnect: HTMLButtonElement;
}

function buildParts(shadow: ShadowRoot): Parts {
  adoptStyles(shadow, CSS);
  const label = createElement("slot");
  const button = createElement("button", { part: "button", type: "button" }, label);
  // Present from the start: screen readers announce only changes of a live region that exists.
  const message = createElement("p", { part: "message", role: "alert" });
  const reconnect = createElement("button", { part: "reconnect", type: "button", hidden: "" });
  shadow.append(button, message, reconnect);
  return { button, label, message, reconnect };
}
