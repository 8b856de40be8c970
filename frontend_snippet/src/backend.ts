// HTTP to our own backend: its address, its requests, and their deadline.
import { aborted, KomboEmbedError } from "./errors.js";
import { parseProblem } from "./parse.js";
import type { BackendOptions, Clock, HeadersSource } from "./types.js";

const MODULE_PATH = "/kombo-embed.js";
const DEFAULT_ENDPOINT = "/kombo";
// Above the backend's own deadline of 10 s, whose problem document says more than our timeout.
const TIMEOUT_MS = 20_000;

/** A request to the backend. */
export interface BackendRequest {
  readonly method: "GET" | "POST" | "DELETE";
  /** Below the endpoint, without a leading slash. */
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
  readonly etag?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Whether the request outlives the page. */
  readonly keepalive?: boolean;
  readonly timeoutMs?: number | undefined;
}

/** A successful response: 2xx, or 304. */
export interface BackendResponse {
  readonly status: number;
  readonly body: unknown;
  readonly etag: string | undefined;
}

/** The backend, as one call's options describe it. */
export interface Backend {
  readonly endpoint: string;
  readonly clock: Clock;
  readonly storage: BackendOptions["storage"];
  /** Send a request. Reject with a `KomboEmbedError` if the response is not a success, or missing. */
  send(request: BackendRequest): Promise<BackendResponse>;
}

const browserClock: Clock = {
  now: () => Date.now(),
  after(milliseconds, act) {
    const timer = setTimeout(act, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** Return the backend that `options` describe. */
export function openBackend({ clock = browserClock, ...options }: BackendOptions): Backend {
  const endpoint = resolveEndpoint(options.endpoint);
  // Not passed on as it is: the browser's `fetch` works only as a call on the window.
  const fetchFrom = options.fetch ?? ((url, init) => fetch(url, init));
  return {
    endpoint,
    clock,
    storage: options.storage,
    send(request) {
      return withinDeadline(request, clock, async (signal) => {
        const headers = await requestHeaders(request, options.headers);
        const init = requestInit(request, endpoint, options.credentials);
        const response = await fetchFrom(`${endpoint}/${request.path}`, { ...init, headers, signal });
        return parseResponse(response, clock);
      });
    },
  };
}

/**
 * Return the folder that the backend served `moduleUrl` from. The address of a host's own bundle does not reveal the
 * backend's, so only our own file name counts.
 */
export function endpointOf(moduleUrl: string): string {
  if (!/^https?:/.test(moduleUrl)) return DEFAULT_ENDPOINT;
  const { origin, pathname } = new URL(moduleUrl);
  return pathname.endsWith(MODULE_PATH) ? origin + pathname.slice(0, -MODULE_PATH.length) : DEFAULT_ENDPOINT;
}

/** Return an absolute address without a trailing slash, so that equal endpoints are equal strings. */
function resolveEndpoint(endpoint: string = endpointOf(import.meta.url)): string {
  const { origin, pathname } = new URL(endpoint, document.baseURI);
  return origin + pathname.replace(/\/+$/, "");
}

function requestInit(
  { method, body, keepalive = false }: BackendRequest,
  endpoint: string,
  credentials: RequestCredentials | undefined,
): RequestInit {
  // `fetch` sends no cookie to another origin by default.
  const fallback = new URL(endpoint).origin === location.origin ? "same-origin" : "include";
  return {
    method,
    keepalive,
    credentials: credentials ?? fallback,
    body: body ? JSON.stringify(body) : null,
  };
}

async function requestHeaders(request: BackendRequest, source: HeadersSource | undefined): Promise<Headers> {
  const headers = await hostHeaders(source);
  headers.set("Accept", "application/json");
  if (request.body) headers.set("Content-Type", "application/json");
  if (request.etag) headers.set("If-None-Match", request.etag);
  return headers;
}

async function hostHeaders(source: HeadersSource | undefined): Promise<Headers> {
  try {
    return new Headers(typeof source === "function" ? await source() : source);
  } catch (cause) {
    throw new KomboEmbedError("headers_failed", { detail: "The headers function failed.", cause });
  }
}

/** Run `work` until the caller aborts or the request's timeout, and distinguish the two. */
async function withinDeadline<T>(
  { signal, timeoutMs = TIMEOUT_MS }: BackendRequest,
  clock: Clock,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (signal?.aborted) throw aborted();
  const ending = new AbortController();
  const end = () => ending.abort();
  signal?.addEventListener("abort", end);
  const cancelTimer = clock.after(timeoutMs, end);
  try {
    return await untilAborted(work(ending.signal), ending.signal);
  } catch (error) {
    if (signal?.aborted) throw aborted();
    if (error instanceof KomboEmbedError && !ending.signal.aborted) throw error;
    throw new KomboEmbedError("network", { detail: "The backend could not be reached." });
  } finally {
    cancelTimer();
    signal?.removeEventListener("abort", end);
  }
}

/** Settle as `promise` does, unless `signal` comes first. The work behind the promise goes on. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(aborted());
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

async function parseResponse(response: Response, clock: Clock): Promise<BackendResponse> {
  const body = parseJson(await response.text());
  if (!response.ok && response.status !== 304) throw parseProblem(response, body, clock.now());
  return { status: response.status, body, etag: response.headers.get("ETag") ?? undefined };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a proxy's page: the parser of the body reports what is missing
  }
}
