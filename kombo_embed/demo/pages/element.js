// Makes elements. Texts become text nodes, so that user input is never parsed as HTML.

const drawnFrom = new WeakMap();

/** Returns an element with attributes (`false` and `null` omit one) and children, elements or texts. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

/**
 * Makes the children of `list` those of `items`, one each. A child whose item did not change stays as it is,
 * the focus stays in its row, and a new child has `data-new`, except at the list's first rendering.
 */
export function renderList(list, items, draw) {
  const known = new Map([...list.children].map((child) => [child.dataset.id, child]));
  const first = !list.dataset.rendered;
  list.dataset.rendered = "";
  const children = items.map((item) => {
    const text = JSON.stringify(item);
    const before = known.get(item.id);
    if (before && drawnFrom.get(before) === text) return before;
    const child = draw(item);
    child.dataset.id = item.id;
    drawnFrom.set(child, text);
    if (!before && !first) child.dataset.new = "";
    return child;
  });
  const focused =
    list.contains(document.activeElement) && document.activeElement.closest("[data-id]").dataset.id;
  list.replaceChildren(...children);
  if (focused) focusRow(children.find((child) => child.dataset.id === focused));
}

/** Focuses the button of a row, or the row itself if its button is gone, so that the keyboard continues there. */
function focusRow(row) {
  const button = row?.querySelector("button");
  if (row && !button) row.tabIndex = -1;
  (button ?? row)?.focus();
}
