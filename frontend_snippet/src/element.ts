// <kombo-connect-button>, for pages without a build. Importing this module defines it.
import { openBackend } from "./backend.js";
import { finishPendingOnce } from "./completion.js";
import { Connector } from "./connector.js";
import type { ConnectState } from "./connector.js";
import { build } from "./element_look.js";
import type { Parts } from "./element_look.js";
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

// Where there is no page (a server that renders one), the module can be imported all the same.
const Base: typeof HTMLElement = globalThis.HTMLElement ?? class {};

const NAME = "kombo-connect-button";
const ATTRIBUTES = ["endpoint", "tool", "category", "language", "label", "disabled"] as const;
const BUSY = new Set<ConnectState["status"]>(["loading", "open", "recording"]);

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

/** The attributes as properties. */
export interface KomboConnectButton {
  endpoint: string | null;
  tool: string | null;
  category: string | null;
  language: string | null;
  label: string | null;
  disabled: boolean;
}

/**
 * A button that connects a tool.
 *
 * Attributes: `endpoint`, `tool`, `category`, `language`, `label` (or content of its own), `disabled`; `options`, a
 * property, takes all that `connect` takes. Events, which bubble: `kombo-connected`, `kombo-finished`,
 * `kombo-cancelled` and `kombo-already-connected` with the result as `detail`, `kombo-failed` with the error. Unless
 * `kombo-already-connected` is cancelled, the button offers to reconnect. Parts: `button`, `message`,
 * `reconnect`; the button of a flow that is under way is a `busy` one too.
 */
export class KomboConnectButton extends Base {
  static readonly observedAttributes = ATTRIBUTES;

  readonly #connector = new Connector(() => this.#wishes());
  readonly #parts: Parts;
  #more: ConnectOptions = {};

  constructor() {
    super();
    this.#parts = build(this.attachShadow({ mode: "open", delegatesFocus: true }));
    this.#parts.button.addEventListener("click", () => void this.connect());
    this.#parts.again.addEventListener("click", () => void this.#reconnect());
    this.#connector.subscribe(() => this.#draw());
  }

  /** What `connect` takes and no attribute can say: `headers`, `container`, ... An attribute wins. */
  get options(): ConnectOptions {
    return this.#more;
  }

  set options(options: ConnectOptions) {
    this.#more = options;
    this.#draw();
  }

  /** Where the flow stands. */
  get status(): ConnectState["status"] {
    return this.#connector.state().status;
  }

  /** As a click does. Resolves with how it ended; with undefined where it failed or is not possible now. */
  async connect(): Promise<ConnectResult | undefined> {
    if (this.disabled || BUSY.has(this.status)) return undefined;
    return this.#announce(await this.#connector.connect());
  }

  connectedCallback(): void {
    for (const name of [...ATTRIBUTES, "options"] as const) {
      // One that the page set before this class was there hides the class's own: it is set once more.
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete (this as Partial<KomboConnectButton>)[name];
      Object.assign(this, { [name]: value });
    }
    this.#draw();
    // In a turn of its own, in which the page can still say what the backend is to be asked with.
    queueMicrotask(() => void this.#finish());
  }

  attributeChangedCallback(): void {
    this.#draw();
  }

  async #reconnect(): Promise<void> {
    const { result } = this.#connector.state();
    if (result?.status !== "already_connected") return;
    this.#parts.button.focus(); // the other one goes
    this.#announce(await this.#connector.reconnect(result.integration.id));
  }

  /** What an earlier page could not tell the backend, and whoever listens here. */
  async #finish(): Promise<void> {
    for (const connected of await finishPendingOnce(openBackend(this.#wishes()))) {
      this.#connector.adopt(connected);
      this.#announce(connected);
    }
  }

  #announce(result: ConnectResult | undefined): ConnectResult | undefined {
    const { status, error } = this.#connector.state();
    const kind = result ? result.status.replace("_", "-") : status;
    if (kind === "idle") return undefined;
    const event = new CustomEvent(`kombo-${kind}`, {
      bubbles: true,
      composed: true,
      cancelable: true,
      detail: result ?? error,
    });
    // Taken off the page meanwhile, it has nobody above it: then the document tells those who listen there.
    const offersNothing = !(this.isConnected ? this : document).dispatchEvent(event);
    if (offersNothing) this.#connector.reset();
    return result;
  }

  #wishes(): ConnectOptions {
    const { endpoint, tool, language } = this;
    const category = this.category as Category | null;
    const said = Object.entries({ endpoint, tool, category, language }).filter(([, value]) => value);
    return { ...this.#more, ...Object.fromEntries(said) };
  }

  #draw(): void {
    const { button, label, message, again } = this.#parts;
    const { status, error } = this.#connector.state();
    const { language = this.closest<HTMLElement>("[lang]")?.lang } = this.#wishes();
    const texts = textsFor(language);
    const busy = BUSY.has(status);
    const already = status === "already_connected";
    button.setAttribute("part", busy ? "button busy" : "button");
    button.setAttribute("aria-busy", String(busy));
    // Not `disabled`, which would take the focus from it: it comes back here when the dialog closes.
    button.setAttribute("aria-disabled", String(busy || this.disabled));
    label.textContent = this.label || texts.connect;
    const failed = error && (error.status === 401 ? texts.signIn : texts.failed);
    message.textContent = failed ?? (already ? texts.already : "");
    again.textContent = texts.reconnect;
    again.hidden = !already;
  }
}

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

// A page may hold this module twice, once in its bundle and once served.
if (globalThis.customElements && !customElements.get(NAME)) customElements.define(NAME, KomboConnectButton);
