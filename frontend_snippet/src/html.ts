// What both custom elements need of the DOM. A server that renders pages imports this too, and has no DOM.

/** `HTMLElement`; on a server, a class that nothing instantiates. */
export const { HTMLElement: BaseElement = Object as unknown as typeof HTMLElement } = globalThis as Partial<
  typeof globalThis
>;

/** Define a custom element, unless another copy of this module has. Without a DOM, do nothing. */
export function define(name: string, element: CustomElementConstructor): void {
  const { customElements: registry } = globalThis as Partial<typeof globalThis>;
  if (registry && !registry.get(name)) registry.define(name, element);
}

/** Create an element without markup, which a content security policy may block. */
export function createElement<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Readonly<Record<string, string>> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Give a shadow root its styles: as a constructed sheet, which no content security policy blocks, where there is one. */
export function adoptStyles(shadow: ShadowRoot, css: string): void {
  try {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    shadow.adoptedStyleSheets = [sheet];
  } catch {
    shadow.prepend(createElement("style", {}, css)); // the DOM of some tests
  }
}

/** Add a property for each attribute. `flags` are present or absent, the others have a text or null. */
export function reflect(
  element: typeof HTMLElement,
  names: readonly string[],
  flags: readonly string[] = [],
): void {
  for (const name of names) {
    const isFlag = flags.includes(name);
    Object.defineProperty(element.prototype, name, {
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
}

/** Set again what the page set before the element was defined: such a property hides the accessor of its name. */
export function upgrade(element: HTMLElement, names: readonly string[]): void {
  for (const name of names) {
    if (!Object.hasOwn(element, name)) continue;
    const value: unknown = Reflect.get(element, name);
    Reflect.deleteProperty(element, name);
    Reflect.set(element, name, value);
  }
}
