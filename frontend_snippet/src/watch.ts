// Keeps a page's list of integrations current, asking as little as a person in front of it would notice.
import { lastFlowFinishedAt, onFlowFinished } from "./activity.js";
import { openBackend } from "./backend.js";
import type { Answer, Backend } from "./backend.js";
import { finishPendingOnce } from "./completion.js";
import type { KomboEmbedError } from "./errors.js";
import { readIntegrations } from "./read.js";
import type { BackendOptions, Integration } from "./types.js";

const INTERVAL_SECONDS = 5;
const INTERVAL_AFTER_FLOW_SECONDS = 2;
const AFTER_FLOW_MS = 60_000;
const LONGEST_PAUSE_MS = 60_000;

/** What `watch` takes. */
export interface WatchOptions extends BackendOptions {
  /** Between two requests. Default: 5. */
  readonly intervalSeconds?: number | undefined;
  /** The same, in the minute after a flow of this page finished. Default: 2. */
  readonly intervalAfterFlowSeconds?: number | undefined;
  /** Told of every request that failed. After `unauthenticated` (401) the watch has stopped; else it goes on. */
  readonly onError?: ((error: KomboEmbedError) => void) | undefined;
}

/**
 * Calls `callback` with the integrations of the signed-in end user's organisation, first as they are and then
 * whenever they change. Asks only while the page is visible and online, at once when it is again, more often
 * after a flow, more rarely while the backend fails, and never twice at a time.
 *
 * @returns A function that ends it. `options.signal` does the same.
 */
export function watch(
  callback: (integrations: Integration[]) => void,
  options: WatchOptions = {},
): () => void {
  const watcher = new Watcher(openBackend(options), callback, options);
  watcher.start();
  return () => watcher.stop();
}

class Watcher {
  readonly #backend: Backend;
  readonly #callback: (integrations: Integration[]) => void;
  readonly #options: WatchOptions;
  readonly #ending = new AbortController();
  #request: AbortController | undefined;
  #cancelTimer: () => void = () => {};
  #askAgain = false;
  #away = false;
  #failures = 0;
  #notBefore = 0;
  #etag: string | undefined;
  #told: string | undefined;

  constructor(backend: Backend, callback: (integrations: Integration[]) => void, options: WatchOptions) {
    this.#backend = backend;
    this.#callback = callback;
    this.#options = options;
  }

  start(): void {
    const { signal } = this.#ending;
    this.#options.signal?.addEventListener("abort", () => this.stop(), { signal });
    if (this.#options.signal?.aborted) return this.stop();
    document.addEventListener("visibilitychange", () => this.#ask(), { signal });
    window.addEventListener("online", () => this.#ask(), { signal });
    window.addEventListener("pagehide", () => this.#leave(), { signal });
    window.addEventListener("pageshow", () => this.#comeBack(), { signal });
    signal.addEventListener(
      "abort",
      onFlowFinished(() => this.#askAnew()),
    );
    void finishPendingOnce(this.#backend);
    this.#ask();
  }

  stop(): void {
    this.#ending.abort();
    this.#pause();
  }

  get #stopped(): boolean {
    return this.#ending.signal.aborted;
  }

  /** Asks now, if that makes sense; whatever stands against it now will call again when it is over. */
  #ask(): void {
    this.#cancelTimer();
    if (this.#request || !this.#mayAsk()) return;
    const wait = this.#notBefore - this.#backend.clock.now();
    if (wait > 0) this.#askIn(wait);
    else void this.#askNow();
  }

  /** Asks now, and once more if a request is under way that may have been answered before the news. */
  #askAnew(): void {
    this.#askAgain = this.#request !== undefined;
    this.#ask();
  }

  #mayAsk(): boolean {
    const present = !this.#away && document.visibilityState === "visible" && navigator.onLine !== false;
    return present && !this.#stopped;
  }

  async #askNow(): Promise<void> {
    const request = new AbortController();
    this.#request = request;
    this.#askAgain = false;
    const { signal } = request;
    try {
      this.#tell(await this.#backend.call({ method: "GET", path: "integrations", etag: this.#etag, signal }));
      this.#failures = 0;
    } catch (error) {
      if (!signal.aborted) this.#fail(error as KomboEmbedError); // `call` throws nothing else
    }
    if (this.#request !== request) return; // left meanwhile; whoever is asking now goes on
    this.#request = undefined;
    if (this.#askAgain) this.#ask();
    else this.#askIn(this.#interval());
  }

  #tell({ status, body, etag }: Answer): void {
    if (status === 304) return;
    const integrations = readIntegrations(body);
    this.#etag = etag;
    // Without an ETag (hidden by a proxy, or by CORS) every answer is a whole list, changed or not.
    const told = JSON.stringify(integrations);
    if (told === this.#told) return;
    this.#told = told;
    // In a turn of its own: an error of the page's is the page's, and does not end the watch.
    queueMicrotask(() => {
      if (!this.#stopped) this.#callback(integrations);
    });
  }

  #fail(error: KomboEmbedError): void {
    this.#failures += 1;
    this.#notBefore = this.#backend.clock.now() + (error.retryAfter ?? 0) * 1000;
    queueMicrotask(() => this.#options.onError?.(error));
    if (error.status === 401) this.stop();
  }

  #interval(): number {
    const { intervalSeconds, intervalAfterFlowSeconds } = this.#options;
    const busy = this.#backend.clock.now() - lastFlowFinishedAt() < AFTER_FLOW_MS;
    const seconds = busy
      ? (intervalAfterFlowSeconds ?? INTERVAL_AFTER_FLOW_SECONDS)
      : (intervalSeconds ?? INTERVAL_SECONDS);
    return this.#failures === 0
      ? seconds * 1000
      : Math.min(LONGEST_PAUSE_MS, seconds * 1000 * 2 ** this.#failures);
  }

  #askIn(milliseconds: number): void {
    if (!this.#stopped) this.#cancelTimer = this.#backend.clock.after(milliseconds, () => this.#ask());
  }

  #leave(): void {
    this.#away = true;
    this.#pause();
  }

  #comeBack(): void {
    if (!this.#away) return; // the page's first showing
    this.#away = false;
    this.#ask();
  }

  #pause(): void {
    this.#cancelTimer();
    this.#request?.abort();
    this.#request = undefined;
  }
}
