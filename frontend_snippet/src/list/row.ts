// One integration of the list. Its element stays the same while its content changes, so that the focus stays too.
import { createElement } from "../html.js";
import type { Entry } from "./entries.js";
import { drawLogo } from "./logo.js";
import { fill, textOf } from "./texts.js";
import type { ListTexts } from "./texts.js";
import type { Texts } from "../texts.js";

/** What an end user does with a row. */
export type Action = "reconnect" | "finish_setup" | "disconnect" | "details";

/** What a row shows beside its integration. */
export interface RowState {
  readonly busy: boolean;
  readonly error: string;
  readonly isOpen: boolean;
}

/** How a list writes its texts and dates. */
export interface Words {
  readonly texts: Texts & ListTexts;
  readonly language: string;
}

// A value of the backend's may be the name of a property that every object has.
const TONES = new Map([
  ["none", "good"],
  ["reconnect", "warn"],
  ["finish_setup", "warn"],
  ["enable", "warn"],
]);

export class Row {
  readonly element: HTMLLIElement;
  readonly menuButton: HTMLButtonElement;
  readonly #parts = {
    name: createElement("p", { part: "name" }),
    meta: createElement("p", { part: "meta" }),
    advice: createElement("p", { part: "advice" }),
    error: createElement("p", { part: "error", role: "alert" }),
    status: createElement("span", { part: "status" }),
    action: createElement("button", { part: "action", type: "button" }),
    details: createElement("dl", { part: "details" }),
  };
  #logo = createElement("span");
  #shown = "";
  entry: Entry;

  constructor(entry: Entry, onAction: (action: Action, row: Row) => void, onMenu: (row: Row) => void) {
    this.entry = entry;
    const { name, meta, advice, error, status, action, details } = this.#parts;
    this.menuButton = createElement(
      "button",
      {
        part: "menu-button",
        type: "button",
        "data-testid": "row-menu",
        "aria-haspopup": "menu",
        "aria-expanded": "false",
      },
      "⋯",
    );
    const text = createElement("div", { part: "text" }, name, meta, advice, error);
    this.element = createElement(
      "li",
      { part: "row", "data-testid": "integration" },
      ...[this.#logo, text, createElement("div", { part: "side" }, status, action), this.menuButton, details],
    );
    action.addEventListener("click", () => onAction(this.entry.integration.next_action as Action, this));
    this.menuButton.addEventListener("click", () => onMenu(this));
  }

  /** Show the current state, changing nothing if it is the same. */
  update(entry: Entry, state: RowState, words: Words): void {
    this.entry = entry;
    const shown = JSON.stringify([entry, state, words.language]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#showTool(entry, words);
    this.#showStatus(entry, words.texts);
    this.#showAction(entry, state, words.texts);
    this.#parts.error.textContent = state.error;
    this.#parts.details.hidden = !state.isOpen;
    this.#parts.details.replaceChildren(...(state.isOpen ? detailsOf(entry, words) : []));
  }

  #showTool(entry: Entry, words: Words): void {
    const { name, meta } = this.#parts;
    const { tool, status } = entry.integration;
    Object.assign(this.element.dataset, { tool, status: status ?? "" });
    if (name.textContent !== entry.name) {
      const logo = drawLogo(entry);
      this.#logo.replaceWith(logo);
      this.#logo = logo;
    }
    name.textContent = entry.name;
    meta.replaceChildren(...metaOf(entry, words).map((text) => createElement("span", {}, text)));
    this.menuButton.ariaLabel = fill(words.texts.more, entry.name);
  }

  #showStatus({ integration, isDuplicate }: Entry, texts: Words["texts"]): void {
    const { status, advice } = this.#parts;
    const next = integration.next_action;
    status.textContent = textOf(texts, "state", next) ?? next;
    status.dataset["tone"] = TONES.get(next) ?? "plain";
    // Only Kombo can enable an integration again.
    const what = next === "enable" ? texts.support : textOf(texts, "advice", next);
    advice.textContent = [what, isDuplicate && texts.duplicate].filter(Boolean).join(" ");
    advice.hidden = !advice.textContent;
  }

  #showAction({ integration, name }: Entry, { busy }: RowState, texts: Words["texts"]): void {
    const { action } = this.#parts;
    const next = integration.next_action;
    const label =
      next === "reconnect" ? texts.reconnect : next === "finish_setup" ? texts.finishSetup : undefined;
    action.hidden = !label;
    action.textContent = label ?? "";
    action.ariaLabel = `${label ?? ""} ${name}`;
    action.ariaDisabled = String(busy);
    action.dataset["testid"] = label ? next.replace("_", "-") : "";
    this.element.ariaBusy = String(busy);
  }
}

/** The texts below the name: category and date. */
function metaOf({ integration }: Entry, { texts, language }: Words): string[] {
  const { category, connected_at: connectedAt } = integration;
  const date = `${texts.addedAt}: ${formatDate(connectedAt, language, false)}`;
  return category ? [textOf(texts, "category", category) ?? category, date] : [date];
}

function detailsOf({ integration }: Entry, { texts, language }: Words): HTMLElement[] {
  const { organization_name: organization, connected_at: connected, updated_at: updated, id } = integration;
  const values = [
    [texts.organization, organization],
    [texts.addedAt, formatDate(connected, language, true)],
    [texts.updatedAt, formatDate(updated, language, true)],
    [texts.reference, id],
  ] as const;
  return values.flatMap(([label, value]) =>
    value ? [createElement("dt", {}, label), createElement("dd", {}, value)] : [],
  );
}

function formatDate(date: string, language: string, withTime: boolean): string {
  const moment = new Date(date);
  if (Number.isNaN(moment.getTime())) return date;
  return moment.toLocaleString(language, {
    dateStyle: "medium",
    ...(withTime ? { timeStyle: "short" } : {}),
  });
}
