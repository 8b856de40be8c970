// Keeps something current that has an ETag: asks while the page is visible, at once when it is shown again.

/**
 * Calls `onChange` with what `path` answers, first as it is and then whenever it changes.
 *
 * @returns A function that asks now, for when there is reason to believe in news.
 */
export function poll(path, { seconds, onChange, onTrouble, onSignedOut }) {
  let etag;
  let timer;
  let asking = false;
  let failures = 0;

  async function ask() {
    clearTimeout(timer);
    if (asking || document.visibilityState !== "visible") return;
    asking = true;
    try {
      const response = await fetch(path, {
        headers: etag ? { "If-None-Match": etag } : {},
        cache: "no-store",
      });
      const text = await response.text(); // of a 304 too: a body that nobody reads counts as a failed request
      if (response.status === 401) return onSignedOut();
      if (!response.ok && response.status !== 304) throw new Error(`answered ${response.status}`);
      if (response.ok) {
        etag = response.headers.get("ETag");
        onChange(JSON.parse(text));
      }
      failures = 0;
    } catch {
      failures += 1;
    } finally {
      asking = false;
    }
    onTrouble(failures > 0);
    timer = setTimeout(ask, Math.min(30, seconds * 2 ** failures) * 1000);
  }

  document.addEventListener("visibilitychange", ask);
  void ask();
  return ask;
}
