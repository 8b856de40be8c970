// What the server tells the page's scripts.

/** The JSON that stands in the page. */
export function readContext() {
  return JSON.parse(document.getElementById("context").textContent);
}
