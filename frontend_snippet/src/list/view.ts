// What the list shows: its header, its rows, and what is to be said about it.
import { adoptStyles, createElement } from "../html.js";
import { Confirmation } from "./confirm.js";
import { entriesOf, search } from "./entries.js";
import type { Entry } from "./entries.js";
import { Menu } from "./menu.js";
import { Row } from "./row.js";
import type { Action, RowState, Words } from "./row.js";
import { CSS } from "./style.js";
import { fill } from "./texts.js";
import type { Integration } from "../index.js";

// Below, all rows are on the screen.
const SEARCH_FROM = 8;

/** What is to be shown. */
export interface ViewState extends Words {
  /** Undefined until the first response. */
  readonly integrations: readonly Integration[] | undefined;
  readonly actions: readonly string[];
  /** What is wrong with the list, if anything, and whether another attempt can help. */
  readonly trouble: { readonly text: string; readonly isError: boolean; readonly retry: boolean } | undefined;
  readonly rows: ReadonlyMap<string, RowState>;
}

const CALM: RowState = { busy: false, error: "", isOpen: false };

export class View {
  readonly #attention = createElement("p", { part: "attention", "data-testid": "attention" });
  readonly #search = createElement("input", { part: "search", type: "search", "data-testid": "search" });
  readonly #header = createElement("div", { part: "header" }, this.#attention, this.#search);
  readonly #trouble = createElement("span");
  readonly #retry = createElement("button", { part: "retry", type: "button" });
  readonly #notice = createElement("div", { part: "notice" }, this.#trouble, this.#retry);
  readonly #list = createElement("ul", { part: "list", role: "list" });
  readonly #loading = createElement("p", { part: "loading", role: "status" });
  readonly #empty = createElement("slot", { name: "empty" });
  readonly #notFound = createElement("p", { part: "not-found" });
  readonly #live = createElement("p", { part: "live", role: "status" });
  readonly #menu = new Menu();
  readonly #confirmation = new Confirmation();
  readonly #rows = new Map<string, Row>();
  readonly #onAction: (action: Action, entry: Entry) => void;
  #state: ViewState | undefined;

  constructor(shadow: ShadowRoot, onAction: (action: Action, entry: Entry) => void, onRetry: () => void) {
    this.#onAction = onAction;
    shadow.append(this.#header, this.#notice, this.#loading, this.#list, this.#notFound, this.#empty);
    shadow.append(this.#live, this.#menu.element, this.#confirmation.element);
    adoptStyles(shadow, CSS);
    this.#search.addEventListener("input", () => this.#searched());
    this.#retry.addEventListener("click", onRetry);
  }

  /** Show this from now on. */
  update(state: ViewState): void {
    this.#state = state;
    const { texts, integrations, trouble } = state;
    this.#list.ariaLabel = texts.title;
    this.#loading.hidden = Boolean(integrations ?? trouble);
    this.#loading.textContent = texts.loading;
    this.#trouble.textContent = trouble?.text ?? "";
    this.#notice.role = trouble?.isError ? "alert" : "status";
    this.#notice.hidden = !trouble;
    this.#retry.hidden = !trouble?.retry;
    this.#retry.textContent = texts.retry;
    this.#empty.textContent = texts.empty;
    this.#empty.hidden = integrations?.length !== 0;
    const entries = entriesOf(integrations ?? []);
    this.#showHeader(entries, state);
    this.#showRows(this.#find(entries, state), state);
  }

  /** Announce something to screen readers. */
  say(text: string): void {
    this.#live.textContent = text;
  }

  /** Ask before an integration is deleted; see `Confirmation`. The focus goes to the row below it. */
  confirm({ name, integration }: Entry, act: () => Promise<string>): void {
    const { texts } = this.#current();
    const place = [...this.#rows.keys()].indexOf(integration.id);
    this.#confirmation.ask(name, texts, act, () => this.#focusAt(place));
  }

  #current(): ViewState {
    if (!this.#state) throw new Error("The view shows nothing yet.");
    return this.#state;
  }

  #showHeader(entries: readonly Entry[], { texts }: ViewState): void {
    const urgent = entries.filter(({ needsAttention }) => needsAttention).length;
    this.#attention.hidden = urgent === 0;
    this.#attention.textContent = fill(texts.attention, urgent);
    this.#search.hidden = entries.length < SEARCH_FROM;
    this.#search.placeholder = this.#search.ariaLabel = texts.search;
  }

  #find(entries: readonly Entry[], { texts }: ViewState): readonly Entry[] {
    const query = this.#search.hidden ? "" : this.#search.value.trim();
    const found = search(entries, query);
    this.#notFound.hidden = found.length > 0 || entries.length === 0;
    this.#notFound.textContent = texts.notFound;
    return found;
  }

  #searched(): void {
    const state = this.#current();
    const found = this.#find(entriesOf(state.integrations ?? []), state);
    this.#showRows(found, state);
    const { length } = state.integrations ?? [];
    this.say(found.length > 0 ? `${found.length} / ${length}` : state.texts.notFound);
  }

  #showRows(entries: readonly Entry[], state: ViewState): void {
    const focused = this.#list.querySelector<HTMLElement>(":focus");
    const known = new Map(this.#rows);
    const ids = new Set(entries.map(({ integration }) => integration.id));
    for (const [id, row] of known) if (!ids.has(id)) row.element.remove(); // first, so that fewer rows move
    this.#rows.clear();
    this.#list.hidden = entries.length === 0;
    entries.forEach((entry, place) => {
      const { id } = entry.integration;
      const row = known.get(id) ?? this.#addRow(entry);
      row.update(entry, state.rows.get(id) ?? CALM, state);
      this.#rows.set(id, row);
      const there = this.#list.children[place] ?? null;
      if (there !== row.element) this.#list.insertBefore(row.element, there);
    });
    // An element that is moved loses the focus.
    if (focused?.isConnected) focused.focus();
  }

  #addRow(entry: Entry): Row {
    return new Row(
      entry,
      (action, row) => this.#onAction(action, row.entry),
      (row) => this.#openMenu(row),
    );
  }

  #openMenu(row: Row): void {
    const { texts, actions } = this.#current();
    const act = (action: Action) => () => this.#onAction(action, row.entry);
    const items = [{ label: texts.details, testId: "details", act: act("details") }];
    if (row.entry.integration.next_action !== "reconnect")
      items.push({ label: texts.reconnect, testId: "menu-reconnect", act: act("reconnect") });
    if (actions.includes("disconnect"))
      items.push({ label: texts.disconnect, testId: "disconnect", act: act("disconnect") });
    this.#menu.open(row.menuButton, items);
  }

  #focusAt(place: number): void {
    const rows = [...this.#rows.values()];
    this.#live.tabIndex = -1; // the last one is gone: what it says is read
    ((rows[place] ?? rows.at(-1))?.menuButton ?? this.#live).focus();
  }
}
