// Recording a finished flow at the backend. A lost activation token loses the end user's work, so it is stored until the
// backend has responded, sent again with backoff, and sent by a later page if this one goes away.
import { openBackend } from "./backend.js";
import type { Backend, BackendResponse } from "./backend.js";
import { KomboEmbedError } from "./errors.js";
import { flowFinished, pageState } from "./page-state.js";
import { parseFields, parseIntegration } from "./parse.js";
import type { BackendOptions, Clock, Connected, Integration } from "./types.js";

const STORAGE_KEY = "kombo-embed.pending";
// Kombo documents no lifetime of an activation token, only that it is short.
const TOKEN_LIFETIME_MS = 10 * 60_000;
const FIRST_BACKOFF_MS = 1_000;
const RETRY_DEADLINE_MS = 60_000;
const TRANSIENT = [408, 429, 502, 503, 504];

interface RetryPolicy {
  readonly attempts: number;
  /** Of one attempt. */
  readonly timeoutMs?: number;
}

const PATIENT: RetryPolicy = { attempts: 5 };
// The end user waits for the dialog meanwhile.
const QUICK: RetryPolicy = { attempts: 1, timeoutMs: 5_000 };

/** Exchange the activation token for the recorded integration. */
export async function complete(
  backend: Backend,
  activationToken: string,
  policy: RetryPolicy = PATIENT,
): Promise<Connected> {
  const { sending } = pageState();
  keepToken(backend, activationToken);
  sending.add(activationToken);
  try {
    const { status, body } = await sendWithRetries(backend, activationToken, policy);
    forgetToken(backend, activationToken);
    return { status: "connected", integration: parseIntegration(body), first: status === 201 };
  } catch (error) {
    if (isFinal(error)) forgetToken(backend, activationToken);
    else resumeLater(backend);
    throw error;
  } finally {
    sending.delete(activationToken);
    flowFinished(backend.clock.now());
  }
}

/**
 * Send the completions that an earlier page could not send. Call it where your page starts, if the page uses neither
 * `watch` nor `connect` at once.
 *
 * A failure of the backend does not reject: a completion that cannot be sent now is kept for up to ten minutes.
 *
 * @returns The integrations that were recorded by this call.
 */
export async function finishPending(options: BackendOptions = {}): Promise<Integration[]> {
  const recorded = await sendPending(openBackend(options), PATIENT);
  return recorded.map(({ integration }) => integration);
}

/** Send the same completions with one short attempt each. */
export async function finishPendingQuickly(backend: Backend): Promise<void> {
  await sendPending(backend, QUICK);
}

/** Send the same completions, but only once per page and backend. */
export async function finishPendingOnce(backend: Backend): Promise<Connected[]> {
  const { resumed } = pageState();
  if (resumed.has(backend.endpoint)) return [];
  resumed.add(backend.endpoint);
  return sendPending(backend, PATIENT);
}

async function sendPending(backend: Backend, policy: RetryPolicy): Promise<Connected[]> {
  const { sending } = pageState();
  const recorded: Connected[] = [];
  for (const activationToken of pendingTokens(backend)) {
    // Another call may be sending this one, or may have sent it while this call was sending the one before.
    if (sending.has(activationToken) || !pendingTokens(backend).includes(activationToken)) continue;
    try {
      recorded.push(await complete(backend, activationToken, policy));
    } catch {
      // Rejected and removed, or kept for later.
    }
  }
  return recorded;
}

/** Send what is pending when the network comes back, or the page does from the back/forward cache. */
function resumeLater(backend: Backend): void {
  const { resumable } = pageState();
  if (resumable.has(backend.endpoint)) return;
  resumable.add(backend.endpoint);
  const resume = () => void sendPending(backend, PATIENT);
  window.addEventListener("online", resume);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) resume();
  });
}

async function sendWithRetries(
  backend: Backend,
  activationToken: string,
  { attempts, timeoutMs }: RetryPolicy,
): Promise<BackendResponse> {
  const { clock } = backend;
  const body = { activation_token: activationToken };
  const expiresAt = clock.now() + TOKEN_LIFETIME_MS;
  let deadline = clock.now() + RETRY_DEADLINE_MS;
  for (let attempt = 1; ;) {
    try {
      return await backend.send({ method: "POST", path: "completions", body, keepalive: true, timeoutMs });
    } catch (error) {
      const backoff = attempt < attempts ? backoffMs(error, attempt) : undefined;
      const offline = !navigator.onLine && clock.now() < expiresAt;
      if (backoff === undefined || (!offline && clock.now() + backoff > deadline)) throw error;
      await pause(clock, offline ? expiresAt - clock.now() : backoff);
      // An attempt without a network does not count.
      if (offline) deadline = clock.now() + RETRY_DEADLINE_MS;
      else attempt += 1;
    }
  }
}

/** Return the milliseconds until the next attempt, or undefined if none can succeed. */
function backoffMs(error: unknown, attempt: number): number | undefined {
  if (!(error instanceof KomboEmbedError)) return undefined;
  const { code, status = 0, retryAfter = 0 } = error;
  if (code !== "network" && !TRANSIENT.includes(status)) return undefined;
  return Math.max(FIRST_BACKOFF_MS * 2 ** (attempt - 1), retryAfter * 1000);
}

/** Report whether another attempt gets the same response. The lack of a login (401) is temporary, too. */
function isFinal(error: unknown): boolean {
  const { status = 0 } = error instanceof KomboEmbedError ? error : {};
  return status >= 400 && status < 500 && status !== 401 && !TRANSIENT.includes(status);
}

/** Wait, but no longer than until the network or the page comes back, or the page goes away: the last opportunity. */
function pause(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const ending = new AbortController();
    const end = () => {
      cancelTimer();
      ending.abort();
      resolve();
    };
    const cancelTimer = clock.after(milliseconds, end);
    for (const event of ["online", "pageshow", "pagehide"]) {
      window.addEventListener(event, end, { signal: ending.signal });
    }
  });
}

/** An activation token without a response, as it is stored. */
interface PendingToken {
  readonly endpoint: string;
  readonly activationToken: string;
  readonly keptAt: number;
}

/** Return the stored tokens of the backend, oldest first. They survive a reload. */
function pendingTokens(backend: Backend): string[] {
  return load(backend)
    .filter(({ endpoint }) => endpoint === backend.endpoint)
    .map(({ activationToken }) => activationToken);
}

/** Store a token. One that is stored already keeps its age. */
function keepToken(backend: Backend, activationToken: string): void {
  const { endpoint, clock } = backend;
  if (pendingTokens(backend).includes(activationToken)) return;
  save(backend, [...load(backend), { endpoint, activationToken, keptAt: clock.now() }]);
}

function forgetToken(backend: Backend, activationToken: string): void {
  save(
    backend,
    load(backend).filter((entry) => entry.activationToken !== activationToken),
  );
}

function load(backend: Backend): PendingToken[] {
  try {
    const entries: unknown = JSON.parse(storageOf(backend).getItem(STORAGE_KEY) ?? "[]");
    const oldest = backend.clock.now() - TOKEN_LIFETIME_MS;
    return Array.isArray(entries)
      ? entries.filter(isPendingToken).filter(({ keptAt }) => keptAt > oldest)
      : [];
  } catch {
    return []; // in private windows the storage may throw
  }
}

function save(backend: Backend, entries: readonly PendingToken[]): void {
  try {
    if (entries.length > 0) storageOf(backend).setItem(STORAGE_KEY, JSON.stringify(entries));
    else storageOf(backend).removeItem(STORAGE_KEY);
  } catch {
    // Full or forbidden: the completion itself does not depend on it.
  }
}

function storageOf({ storage }: Backend): NonNullable<BackendOptions["storage"]> {
  return storage ?? sessionStorage;
}

function isPendingToken(value: unknown): value is PendingToken {
  const { endpoint, activationToken, keptAt } = parseFields(value);
  return typeof endpoint === "string" && typeof activationToken === "string" && typeof keptAt === "number";
}
