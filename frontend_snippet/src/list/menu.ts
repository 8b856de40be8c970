// The menu of a row: one for the whole list. As a popover it is in the browser's top layer, and the browser closes it on Esc
// and on clicks outside of it.
import { createElement } from "../html.js";

/** An item of the menu. */
export interface MenuItem {
  readonly label: string;
  readonly testId: string;
  readonly act: () => void;
}

const MARGIN = 8;

export class Menu {
  readonly element = createElement("div", { part: "menu", role: "menu", popover: "", hidden: "" });
  #button: HTMLButtonElement | undefined;

  constructor() {
    this.element.addEventListener("keydown", (event) => this.#walk(event));
    this.element.addEventListener("beforetoggle", ({ newState }) => {
      if (newState === "closed") this.#closed();
    });
  }

  /** Open the menu at a button. */
  open(button: HTMLButtonElement, items: readonly MenuItem[]): void {
    const { element } = this;
    this.#closed();
    this.#button = button;
    button.ariaExpanded = "true";
    element.ariaLabel = button.ariaLabel;
    element.replaceChildren(...items.map((item) => this.#draw(item)));
    element.hidden = false;
    // A browser without popovers shows it at the same place.
    if ("showPopover" in element) element.showPopover();
    this.#place(button.getBoundingClientRect());
    this.#items[0]?.focus({ preventScroll: true });
  }

  get #items(): HTMLElement[] {
    return [...this.element.querySelectorAll("button")];
  }

  #draw({ label, testId, act }: MenuItem): HTMLElement {
    const attributes = { part: `menu-item ${testId}`, type: "button", role: "menuitem", tabindex: "-1" };
    const item = createElement("button", { ...attributes, "data-testid": testId }, label);
    item.addEventListener("click", () => {
      this.#close(); // first, so that what opens next can give the focus back to the button
      act();
    });
    return item;
  }

  /** Below the button, or above it where there is no space; within the window. */
  #place({ bottom, right, top }: DOMRect): void {
    const { style, offsetHeight: height, offsetWidth: width } = this.element;
    style.left = `${Math.max(MARGIN, right - width)}px`;
    style.top = `${bottom + height + MARGIN < innerHeight ? bottom : Math.max(MARGIN, top - height)}px`;
  }

  #close(): void {
    if ("hidePopover" in this.element) this.element.hidePopover();
    this.#closed();
  }

  /** Give the focus back, unless a click has moved it already. */
  #closed(): void {
    const button = this.#button;
    this.#button = undefined;
    if (button) button.ariaExpanded = "false";
    if (this.element.querySelector(":focus")) button?.focus({ preventScroll: true });
    this.element.hidden = true;
  }

  #walk(event: KeyboardEvent): void {
    const items = this.#items;
    const at = items.indexOf(event.target as HTMLElement);
    const place = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Tab") this.#close(); // the focus moves on from the button
    if (place === undefined) return;
    event.preventDefault();
    items.at(place % items.length)?.focus();
  }
}
