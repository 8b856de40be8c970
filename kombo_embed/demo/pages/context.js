// The server's data for the page's scripts.

/** Returns the JSON in the page. */
export function readContext() {
  return JSON.parse(document.getElementById("context").textContent);
}
