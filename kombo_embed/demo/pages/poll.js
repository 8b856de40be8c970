// Polls a resource that has an ETag while the page is visible, and at once when it becomes visible again.

/**
 * Calls `onChange` with the response of `path`, first as it is and then whenever it changes.
 *
 * @returns A function that polls now, for when a change is likely.
 */
export function poll(path, { seconds, onChange, onTrouble, onSignedOut }) {
  let etag;
  let timer;
  let running = false;
  let failures = 0;

  async function refresh() {
    clearTimeout(timer);
    if (running || document.visibilityState !== "visible") return;
    running = true;
    try {
      const response = await fetch(path, {
        headers: etag ? { "If-None-Match": etag } : {},
        cache: "no-store",
      });
      const text = await response.text(); // of a 304, too: an unread body counts as a failed request
      if (response.status === 401) return onSignedOut();
      if (!response.ok && response.status !== 304) throw new Error(`responded with ${response.status}`);
      if (response.ok) {
        etag = response.headers.get("ETag");
        onChange(JSON.parse(text));
      }
      failures = 0;
    } catch {
      failures += 1;
    } finally {
      running = false;
    }
    onTrouble(failures > 0);
    timer = setTimeout(refresh, Math.min(30, seconds * 2 ** failures) * 1000);
  }

  document.addEventListener("visibilitychange", refresh);
  void refresh();
  return refresh;
}
