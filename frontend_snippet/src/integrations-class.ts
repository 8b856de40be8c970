// <kombo-integrations>: the customer's integrations, live, with what an end user can do about them. It uses the public names of
// the first module only, so that the served file of this one can import them.
import { disconnect, finishSetup, KomboEmbedError, reconnect, watch } from "./index.js";
import type { FlowResult, Integration } from "./index.js";
import { BaseElement, reflect, upgrade } from "./html.js";
import type { Entry } from "./list/entries.js";
import type { IntegrationsOptions, KomboIntegrationsEvents } from "./list/options.js";
import type { Action, RowState, Words } from "./list/row.js";
import { fill, knownLanguage, listTexts } from "./list/texts.js";
import { View } from "./list/view.js";
import type { ViewState } from "./list/view.js";
import { explain, textsFor } from "./texts.js";

export type { IntegrationsOptions, KomboIntegrationsEvents } from "./list/options.js";

export const NAME = "kombo-integrations";
const ATTRIBUTES = ["endpoint", "language"] as const;

declare global {
  interface HTMLElementTagNameMap {
    "kombo-integrations": KomboIntegrations;
  }
  interface HTMLElementEventMap extends KomboIntegrationsEvents {}
  interface DocumentEventMap extends KomboIntegrationsEvents {}
}

/**
 * The list of the signed-in end user's integrations.
 *
 * Attributes: `endpoint`, `language`. The property `options` takes the options of `reconnect` and `watch`. The slot `empty`
 * replaces the text of an empty list. Events, which bubble: `kombo-integrations` with every change of the list,
 * `kombo-connected`, `kombo-finished`, `kombo-cancelled` and `kombo-failed` as of `<kombo-connect-button>`, and
 * `kombo-disconnected`.
 */
export class KomboIntegrations extends BaseElement {
  static readonly observedAttributes = ATTRIBUTES;

  declare endpoint: string | null;
  declare language: string | null;

  readonly #view: View;
  readonly #rows = new Map<string, RowState>();
  #options: IntegrationsOptions = {};
  #ending: AbortController | undefined;
  #integrations: readonly Integration[] | undefined;
  #actions: readonly string[] = [];
  #error: KomboEmbedError | undefined;

  constructor() {
    super();
    this.#view = new View(
      this.attachShadow({ mode: "open" }),
      (action, entry) => this.#act(action, entry),
      () => this.#start(),
    );
  }

  /** The options of `reconnect` and `watch`. An attribute takes precedence. */
  get options(): IntegrationsOptions {
    return this.#options;
  }

  set options(options: IntegrationsOptions) {
    this.#options = options;
    if (this.#ending) this.#start();
  }

  /** The integrations; undefined until they are loaded. */
  get integrations(): readonly Integration[] | undefined {
    return this.#integrations;
  }

  connectedCallback(): void {
    upgrade(this, [...ATTRIBUTES, "options"]);
    this.#render();
    // In a turn of its own, so that the page can set `options` first.
    queueMicrotask(() => {
      if (this.isConnected && !this.#ending) this.#start();
    });
  }

  disconnectedCallback(): void {
    this.#ending?.abort();
    this.#ending = undefined;
  }

  attributeChangedCallback(name: string): void {
    if (name === "endpoint" && this.#ending) this.#start();
    this.#render();
  }

  #start(): void {
    this.#ending?.abort();
    this.#ending = new AbortController();
    const { signal } = this.#ending;
    const settle = (error: KomboEmbedError | undefined) => {
      if (signal.aborted) return;
      this.#error = error;
      this.#render();
    };
    for (const event of ["online", "offline"]) addEventListener(event, () => this.#render(), { signal });
    settle(undefined);
    watch(
      (integrations, { actions }) => {
        this.#integrations = integrations;
        this.#actions = actions;
        settle(undefined);
        this.#dispatch("integrations", { integrations });
      },
      { ...this.#flowOptions(), signal, onError: settle, onRecovery: () => settle(undefined) },
    );
  }

  #flowOptions(): IntegrationsOptions {
    const { endpoint } = this;
    return { ...this.#options, ...(endpoint && { endpoint }) };
  }

  /** The language of the attribute, the options, or the page around. */
  #language(): string {
    const around = this.closest<HTMLElement>("[lang]")?.lang;
    return this.language || this.#options.language || around || document.documentElement.lang || "en";
  }

  #act(action: Action, entry: Entry): void {
    const { id } = entry.integration;
    const state = this.#rows.get(id);
    if (action === "details") this.#setRow(id, { isOpen: !state?.isOpen });
    else if (action === "disconnect") this.#view.confirm(entry, () => this.#disconnect(entry));
    else if (!state?.busy) void this.#run(action === "reconnect" ? reconnect : finishSetup, entry);
  }

  async #run(flow: typeof reconnect, { integration: { id }, name }: Entry): Promise<void> {
    this.#setRow(id, { busy: true, error: "" });
    try {
      const language = knownLanguage(this.#language()); // the backend refuses others
      const result = await flow(id, { title: name, ...this.#flowOptions(), language });
      this.#setRow(id, { busy: false });
      this.#report(result, name);
    } catch (error) {
      this.#setRow(id, { busy: false, error: this.#explain(error) });
    }
  }

  #report(result: FlowResult, name: string): void {
    if (result.status === "connected") this.#view.say(this.#texts().connected(name));
    this.#dispatch(result.status, result);
  }

  /** Delete an integration. Return the error to show, or "". */
  async #disconnect({ integration, name }: Entry): Promise<string> {
    try {
      await disconnect(integration.id, this.#flowOptions());
    } catch (error) {
      // Another person may have deleted it meanwhile.
      if ((error as KomboEmbedError).code !== "integration_not_found") return this.#explain(error);
    }
    this.#integrations = this.#integrations?.filter(({ id }) => id !== integration.id);
    this.#render();
    this.#view.say(fill(this.#texts().disconnected, name));
    this.#dispatch("disconnected", { integration });
    return "";
  }

  /** Return the text for the end user about an error, and dispatch it. A mistake of the page's is thrown. */
  #explain(error: unknown): string {
    if (!(error instanceof KomboEmbedError)) throw error;
    this.#dispatch("failed", error);
    return explain(error, this.#texts());
  }

  #setRow(id: string, changes: Partial<RowState>): void {
    this.#rows.set(id, { busy: false, error: "", isOpen: false, ...this.#rows.get(id), ...changes });
    this.#render();
  }

  #dispatch(name: string, detail: unknown): void {
    const event = new CustomEvent(`kombo-${name}`, { bubbles: true, composed: true, detail });
    // An element that was removed meanwhile has no ancestors for the event to bubble to.
    (this.isConnected ? this : document).dispatchEvent(event);
  }

  #texts(): Words["texts"] {
    const language = this.#language();
    return { ...textsFor(language), ...listTexts(language) };
  }

  #render(): void {
    if (!this.isConnected) return;
    this.#view.update({
      integrations: this.#integrations,
      actions: this.#actions,
      rows: this.#rows,
      texts: this.#texts(),
      language: this.#language(),
      trouble: this.#trouble(),
    });
  }

  #trouble(): ViewState["trouble"] {
    const texts = this.#texts();
    if (this.#error?.status === 401) return { text: texts.signIn, isError: true, retry: true };
    if (this.#error?.code === "forbidden") return { text: this.#error.detail, isError: true, retry: false };
    if (!navigator.onLine) return { text: texts.offline, isError: false, retry: false };
    if (!this.#error) return undefined;
    const isError = !this.#integrations;
    return { text: texts.stale, isError, retry: true };
  }
}

reflect(KomboIntegrations, ATTRIBUTES);
