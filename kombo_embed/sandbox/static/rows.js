/** Keeps the rows of a list: unchanged rows stay as they are, so that focus, scrolling and open details stay. */

const drawn = new WeakMap();

/** Makes the rows of a list those of `items`, in this order; `key` returns what identifies an item. */
export function renderRows(list, items, { key, draw }) {
  const before = drawn.get(list) ?? new Map();
  const now = new Map();
  for (const item of items) {
    const text = JSON.stringify(item);
    const known = before.get(key(item));
    now.set(key(item), known?.text === text ? known : { text, row: redraw(known?.row, draw(item)) });
  }
  drawn.set(list, now);
  place(list, [...now.values()].map(({ row }) => row));
}

/** Replaces a row where it stands, with its details as open and its control as focused as before. */
function redraw(before, row) {
  if (!before) return row;
  const wasOpen = before.querySelector("details")?.open;
  if (wasOpen) row.querySelector("details")?.setAttribute("open", "");
  const focused = before.contains(document.activeElement) && document.activeElement.dataset.act;
  before.replaceWith(row);
  if (focused) (row.querySelector(`[data-act="${focused}"]`) ?? row.querySelector("button, summary"))?.focus();
  return row;
}

function place(list, rows) {
  const wanted = new Set(rows);
  for (const row of [...list.children]) if (!wanted.has(row)) row.remove();
  rows.forEach((row, index) => {
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
  });
}
