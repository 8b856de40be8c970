// HTTP to our own backend: one function that sends, and errors that say what happened.
import { browserClock, untilAborted } from "./clock.js";
import { resolveEndpoint } from "./endpoint.js";
import { aborted, KomboEmbedError } from "./errors.js";
import { readProblem } from "./read.js";
import type { BackendOptions, Clock, HeadersSource } from "./types.js";

// Above the backend's own deadline of 10 s: who waits longer waits for a connection that is gone.
const PATIENCE_MS = 20_000;

/** One request to the backend. */
export interface Call {
  readonly method: "GET" | "POST";
  /** Below the endpoint, without a leading slash. */
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
  readonly etag?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The request outlives the page that sent it. */
  readonly keepalive?: boolean;
  readonly patienceMs?: number | undefined;
}

/** An answer that is no refusal: 2xx, or 304. */
export interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly etag: string | undefined;
}

/** The backend as one page reaches it. */
export interface Backend {
  readonly endpoint: string;
  readonly clock: Clock;
  readonly storage: BackendOptions["storage"];
  /** Sends, and throws a `KomboEmbedError` for whatever is not an answer. */
  call(call: Call): Promise<Answer>;
}

/** The backend that `options` describe. */
export function openBackend(options: BackendOptions): Backend {
  const endpoint = resolveEndpoint(options.endpoint);
  const clock = options.clock ?? browserClock;
  const send = options.fetch ?? ((input, init) => fetch(input, init));
  return {
    endpoint,
    clock,
    storage: options.storage,
    call(call) {
      return withPatience(call, clock, async (signal) => {
        const headers = await headersFor(call, options.headers);
        const response = await send(`${endpoint}/${call.path}`, {
          ...initFor(call, endpoint, options.credentials),
          headers,
          signal,
        });
        return readAnswer(response, clock);
      });
    },
  };
}

function initFor(call: Call, endpoint: string, credentials: RequestCredentials | undefined): RequestInit {
  // Another origin's session cookie travels only when asked for.
  const usual = new URL(endpoint).origin === location.origin ? "same-origin" : "include";
  const init: RequestInit = { method: call.method, credentials: credentials ?? usual };
  if (call.body) init.body = JSON.stringify(call.body);
  if (call.keepalive) init.keepalive = true;
  return init;
}

async function headersFor(call: Call, source: HeadersSource | undefined): Promise<Headers> {
  const headers = await hostHeaders(source);
  headers.set("Accept", "application/json");
  if (call.body) headers.set("Content-Type", "application/json");
  if (call.etag !== undefined) headers.set("If-None-Match", call.etag);
  return headers;
}

async function hostHeaders(source: HeadersSource | undefined): Promise<Headers> {
  try {
    return new Headers(typeof source === "function" ? await source() : source);
  } catch (cause) {
    throw new KomboEmbedError("headers_failed", { detail: "The headers cannot be had.", cause });
  }
}

/** Ends the wait when the caller aborts or nothing has come for too long, and tells the two apart. */
async function withPatience<T>(
  call: Call,
  clock: Clock,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (call.signal?.aborted) throw aborted();
  const ending = new AbortController();
  const end = () => ending.abort();
  call.signal?.addEventListener("abort", end);
  const cancelTimer = clock.after(call.patienceMs ?? PATIENCE_MS, end);
  try {
    return await untilAborted(work(ending.signal), ending.signal);
  } catch (error) {
    if (call.signal?.aborted) throw aborted();
    if (error instanceof KomboEmbedError && !ending.signal.aborted) throw error;
    throw new KomboEmbedError("network", { detail: "The backend could not be reached." });
  } finally {
    cancelTimer();
    call.signal?.removeEventListener("abort", end);
  }
}

async function readAnswer(response: Response, clock: Clock): Promise<Answer> {
  const body = parse(await response.text());
  if (!response.ok && response.status !== 304) throw readProblem(response, body, clock.now());
  return { status: response.status, body, etag: response.headers.get("ETag") ?? undefined };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a proxy's page; whoever reads the body says what is missing
  }
}
