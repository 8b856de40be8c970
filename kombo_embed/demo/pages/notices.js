// One notice at a time, above the list, in a live region that exists from the start.
import { element } from "./element.js";

const ICONS = { good: "✓", plain: "i", warn: "!" };

/** Renders a notice in place of the previous one; `act` (a label and a function) gives it a button. */
export function showNotice({ tone, title, text, act, lasting = false }) {
  const close = () => hideNotice({ returnFocus: true });
  const place = document.getElementById("notices");
  place.replaceChildren(
    element(
      "div",
      { class: `notice ${tone}`, "data-testid": "notice", "data-tone": tone },
      element("span", { class: "badge", "aria-hidden": "true" }, ICONS[tone]),
      element("p", {}, element("strong", {}, title), text ? ` ${text}` : null),
      act &&
        element(
          "button",
          { type: "button", class: "button secondary small", click: () => (close(), act.run()) },
          act.label,
        ),
      !lasting &&
        element("button", { type: "button", class: "close", "aria-label": "Dismiss", click: close }, "×"),
    ),
  );
}

/** Removes the notice. */
export function hideNotice({ returnFocus = false } = {}) {
  const place = document.getElementById("notices");
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren();
  if (returnFocus && hadFocus) document.getElementById("connect").focus();
}
