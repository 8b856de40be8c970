// The customer's integrations: listed once, or watched with as few requests as a person in front of the page can notice.
import { openBackend } from "./backend.js";
import type { Backend } from "./backend.js";
import { finishPendingOnce } from "./completion.js";
import type { KomboEmbedError } from "./errors.js";
import { onFlowFinished, pageState } from "./page-state.js";
import { PageReader } from "./pages.js";
import type { IntegrationList } from "./pages.js";
import type { BackendOptions, Integration, IntegrationAction } from "./types.js";

const INTERVAL_SECONDS = 5;
const INTERVAL_AFTER_FLOW_SECONDS = 2;
const AFTER_FLOW_MS = 60_000;
const MAX_BACKOFF_MS = 60_000;

/** What `watch` takes. */
export interface WatchOptions extends BackendOptions {
  /** Seconds between two requests. Default: 5. */
  readonly intervalSeconds?: number | undefined;
  /** The same, in the minute after a flow of this page finished. Default: 2. */
  readonly intervalAfterFlowSeconds?: number | undefined;
  /** Called for each failed request. `unauthenticated` (401) stops the watch; after other errors it goes on. */
  readonly onError?: ((error: KomboEmbedError) => void) | undefined;
  /** Called when a request succeeds after failed ones, also if the list has not changed. */
  readonly onRecovery?: (() => void) | undefined;
}

/**
 * Return the integrations of the signed-in end user's organisation.
 *
 * @throws KomboEmbedError for every failure; see its `code`.
 */
export async function listIntegrations(options: BackendOptions = {}): Promise<Integration[]> {
  const list = await new PageReader().read(openBackend(options), options.signal);
  return list?.integrations ?? [];
}

/** What the end user may do with the integrations: `["disconnect"]`, or nothing. */
export interface WatchDetails {
  readonly actions: readonly (IntegrationAction | (string & Record<never, never>))[];
}

type WatchCallback = (integrations: Integration[], details: WatchDetails) => void;

/**
 * Call `callback` with the integrations of the signed-in end user's organisation: once at the start, then on every
 * change. Requests are sent only while the page is visible and online, at once when it becomes so again, more often
 * after a flow, with backoff while the backend fails, and one at a time.
 *
 * @returns A function that stops the watch. `options.signal` does the same.
 */
export function watch(callback: WatchCallback, options: WatchOptions = {}): () => void {
  const watcher = new Watcher(openBackend(options), callback, options);
  watcher.start();
  return () => watcher.stop();
}

interface PollRequest {
  readonly ending: AbortController;
  /** Whether a flow finished after the request was sent. */
  outdated: boolean;
}

class Watcher {
  readonly #backend: Backend;
  readonly #callback: WatchCallback;
  readonly #options: WatchOptions;
  readonly #ending = new AbortController();
  #request: PollRequest | undefined;
  #cancelTimer: (() => void) | undefined;
  #away = false;
  #failures = 0;
  #notBefore = 0;
  readonly #pages = new PageReader();
  #reported: string | undefined;

  constructor(backend: Backend, callback: WatchCallback, options: WatchOptions) {
    this.#backend = backend;
    this.#callback = callback;
    this.#options = options;
  }

  start(): void {
    const { signal } = this.#ending;
    if (this.#options.signal?.aborted) return;
    this.#options.signal?.addEventListener("abort", () => this.stop(), { signal });
    document.addEventListener("visibilitychange", () => this.#poll(), { signal });
    window.addEventListener("online", () => this.#poll(), { signal });
    window.addEventListener("pagehide", () => this.#leave(), { signal });
    window.addEventListener("pageshow", () => this.#comeBack(), { signal });
    signal.addEventListener(
      "abort",
      onFlowFinished(() => this.#pollForNews()),
    );
    void finishPendingOnce(this.#backend);
    this.#poll();
  }

  stop(): void {
    this.#ending.abort();
    this.#pause();
  }

  get #stopped(): boolean {
    return this.#ending.signal.aborted;
  }

  /** Send a request, unless something prevents it; the end of that something calls this again. */
  #poll(): void {
    this.#cancelTimer?.();
    if (this.#request || this.#stopped || this.#away) return;
    if (document.visibilityState !== "visible" || !navigator.onLine) return;
    const wait = this.#notBefore - this.#backend.clock.now();
    if (wait > 0) this.#pollIn(wait);
    else void this.#pollNow();
  }

  /** Send a request, after the one in progress if there is one: its response may be older than the news. */
  #pollForNews(): void {
    if (this.#request) this.#request.outdated = true;
    else this.#poll();
  }

  async #pollNow(): Promise<void> {
    const request: PollRequest = { ending: new AbortController(), outdated: false };
    this.#request = request;
    const { signal } = request.ending;
    try {
      const list = await this.#pages.read(this.#backend, signal);
      if (list && !signal.aborted) this.#report(list);
      this.#recover();
    } catch (error) {
      if (!signal.aborted) this.#fail(error as KomboEmbedError); // `send` and the parser throw nothing else
    }
    if (this.#request !== request) return; // paused meanwhile; a later request took over
    this.#request = undefined;
    if (request.outdated) this.#poll();
    else this.#pollIn(this.#intervalMs());
  }

  #report(list: IntegrationList): void {
    // Without an ETag (hidden by a proxy, or by CORS) every response is a whole list, changed or not.
    const reported = JSON.stringify(list);
    if (reported === this.#reported) return;
    this.#reported = reported;
    // In a turn of its own, so that an error of the callback's surfaces as the page's and does not stop the watch.
    queueMicrotask(() => {
      if (!this.#stopped) this.#callback(list.integrations, { actions: list.actions });
    });
  }

  #recover(): void {
    if (this.#failures > 0) queueMicrotask(() => this.#options.onRecovery?.());
    this.#failures = 0;
  }

  #fail(error: KomboEmbedError): void {
    this.#failures += 1;
    this.#notBefore = this.#backend.clock.now() + (error.retryAfter ?? 0) * 1000;
    queueMicrotask(() => this.#options.onError?.(error));
    if (error.status === 401) this.stop();
  }

  #intervalMs(): number {
    const { intervalSeconds = INTERVAL_SECONDS, intervalAfterFlowSeconds = INTERVAL_AFTER_FLOW_SECONDS } =
      this.#options;
    const afterFlow = this.#backend.clock.now() - pageState().finishedAt < AFTER_FLOW_MS;
    const interval = (afterFlow ? intervalAfterFlowSeconds : intervalSeconds) * 1000;
    return this.#failures === 0 ? interval : Math.min(MAX_BACKOFF_MS, interval * 2 ** this.#failures);
  }

  #pollIn(milliseconds: number): void {
    if (!this.#stopped) this.#cancelTimer = this.#backend.clock.after(milliseconds, () => this.#poll());
  }

  #leave(): void {
    this.#away = true;
    this.#pause();
  }

  #comeBack(): void {
    if (!this.#away) return; // the first `pageshow` of the page
    this.#away = false;
    this.#poll();
  }

  #pause(): void {
    this.#cancelTimer?.();
    this.#request?.ending.abort();
    this.#request = undefined;
  }
}
