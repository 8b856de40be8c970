// The question before an integration is deleted: a modal dialog, which keeps the focus and gives it back.
import { createElement } from "../html.js";
import { fill } from "./texts.js";
import type { ListTexts } from "./texts.js";

export class Confirmation {
  readonly #title = createElement("h2", { id: "title" });
  readonly #text = createElement("p", { id: "text" });
  readonly #error = createElement("p", { part: "error", role: "alert" });
  readonly #cancel = createElement("button", { part: "cancel", type: "button" });
  readonly #confirm = createElement("button", {
    part: "confirm",
    type: "button",
    "data-testid": "confirm-disconnect",
  });
  readonly element = createElement(
    "dialog",
    { part: "dialog", role: "alertdialog", "aria-labelledby": "title", "aria-describedby": "text" },
    ...[this.#title, this.#text, this.#error],
    createElement("div", { part: "buttons" }, this.#cancel, this.#confirm),
  );
  #busy = false;
  #act: (() => Promise<string>) | undefined;
  #done: (() => void) | undefined;

  constructor() {
    this.#cancel.addEventListener("click", () => this.#close());
    this.#confirm.addEventListener("click", () => void this.#run());
    this.element.addEventListener("cancel", (event) => {
      if (this.#busy) event.preventDefault(); // the request goes on
    });
  }

  /** Ask, and on a confirmation call `act`, which returns the error to show, or ""; then `done`, with the dialog closed. */
  ask(name: string, texts: ListTexts, act: () => Promise<string>, done: () => void): void {
    this.#act = act;
    this.#done = done;
    this.#title.textContent = fill(texts.confirm, name);
    this.#text.textContent = texts.consequence;
    this.#error.textContent = "";
    this.#cancel.textContent = texts.cancel;
    this.#confirm.textContent = texts.disconnect;
    if ("showModal" in this.element) this.element.showModal(); // the DOM of some tests has none
    this.#cancel.focus();
  }

  async #run(): Promise<void> {
    if (this.#busy) return;
    this.#setBusy(true);
    this.#error.textContent = "";
    const error = await this.#act?.();
    this.#setBusy(false);
    this.#error.textContent = error ?? "";
    if (error) return;
    this.#close();
    this.#done?.();
  }

  #setBusy(busy: boolean): void {
    this.#busy = busy;
    this.#confirm.ariaDisabled = this.#confirm.ariaBusy = String(busy);
  }

  #close(): void {
    if (!this.#busy && "close" in this.element) this.element.close();
  }
}
