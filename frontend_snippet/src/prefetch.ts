// Warming up before a click: the backend caches the link, and the browser connects to Kombo. No link reaches the page, so
// none of an earlier login, or past its end, can be opened: the click requests it, and the backend finds it at once.
import { openBackend } from "./backend.js";
import { connectBody } from "./connect.js";
import type { KomboEmbedError } from "./errors.js";
import { pageState } from "./page-state.js";
import { parseLinkOrigin } from "./parse.js";
import type { ConnectOptions } from "./types.js";

// A link is cached for longer, but the end user may sign in as another person meanwhile.
const REPEAT_AFTER_MS = 5 * 60_000;
const RETRY_AFTER_MS = 60_000;
const INTENTS = ["pointerenter", "focusin", "touchstart"];

/**
 * Let the backend mint and cache the link of a `connect` with the same options, and connect to Kombo's origin. Call it
 * when a click is likely. It is sent once in a few minutes, and counts towards the rate limit of the backend only if the
 * link is not cached yet.
 *
 * It never rejects: after a failure, the click does the work.
 */
export async function prefetch(options: ConnectOptions = {}): Promise<void> {
  if (options.fresh) return; // the click does not want a cached link
  try {
    const backend = openBackend(options);
    const body = { ...connectBody(options), fresh: undefined };
    const key = JSON.stringify([backend.endpoint, body]);
    const { prefetched } = pageState();
    const now = backend.clock.now();
    if (now < (prefetched.get(key) ?? 0)) return;
    prefetched.set(key, now + REPEAT_AFTER_MS); // set now, so that concurrent calls send one request
    const answer = await backend
      .send({ method: "POST", path: "links", body: { ...body, prefetch: true }, signal: options.signal })
      .catch((error: unknown) => {
        const { retryAfter = 0 } = error as KomboEmbedError; // `send` throws nothing else
        prefetched.set(key, backend.clock.now() + Math.max(RETRY_AFTER_MS, retryAfter * 1000));
      });
    const origin = answer && parseLinkOrigin(answer.body);
    if (origin) preconnect(origin);
  } catch {
    // An endpoint that is not a URL: `connect` reports it.
  }
}

/** Call `act` when the end user is about to click the element. */
export function onIntent(element: HTMLElement, act: () => void): void {
  for (const intent of INTENTS) element.addEventListener(intent, act, { passive: true });
}

function preconnect(origin: string): void {
  const known = [...document.head.querySelectorAll<HTMLLinkElement>("link[rel=preconnect]")];
  if (known.some(({ href }) => href.startsWith(origin))) return;
  document.head.append(Object.assign(document.createElement("link"), { rel: "preconnect", href: origin }));
}
