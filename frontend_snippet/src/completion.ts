// Telling the backend that a flow is finished. Losing this loses the end user's work, so it is repeated, and
// it survives the page.
import { tellFlowFinished } from "./activity.js";
import { openBackend } from "./backend.js";
import type { Answer, Backend } from "./backend.js";
import { pauseUnlessStirred } from "./clock.js";
import { KomboEmbedError } from "./errors.js";
import { LIFETIME_MS, PendingTokens } from "./pending.js";
import { readIntegration } from "./read.js";
import type { BackendOptions, Connected, Integration } from "./types.js";

const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 1_000;
const ALL_WITHIN_MS = 60_000;
const PASSING = new Set([429, 502, 503, 504]);

/** How hard to try. */
interface Effort {
  readonly attempts: number;
  readonly patienceMs?: number;
}

// Those that this page is sending right now; a sweep leaves them alone.
const sending = new Set<string>();
const swept = new Set<string>();
const watchedFor = new Set<string>();

/** Exchanges the activation token for the recorded integration. */
export async function complete(
  backend: Backend,
  activationToken: string,
  effort: Effort = { attempts: ATTEMPTS },
): Promise<Connected> {
  const pending = new PendingTokens(backend);
  pending.keep(activationToken);
  sending.add(activationToken);
  try {
    const answer = await sendPatiently(backend, activationToken, effort);
    pending.discard(activationToken);
    return { status: "connected", integration: readIntegration(answer.body), first: answer.status === 201 };
  } catch (error) {
    if (isDefinite(error)) pending.discard(activationToken);
    else finishWhenBack(backend);
    throw error;
  } finally {
    sending.delete(activationToken);
    tellFlowFinished(backend.clock.now());
  }
}

/**
 * Sends what a page that went away could not: call it where your page starts, if it uses neither `watch` nor
 * `connect` at once. Answers with the integrations that were recorded by it. Never throws for the backend's
 * sake: what cannot be sent now is kept for the next time, up to ten minutes.
 */
export async function finishPending(options: BackendOptions = {}): Promise<Integration[]> {
  const found = await sweep(openBackend(options), { attempts: ATTEMPTS });
  return found.map(({ integration }) => integration);
}

/** As `finishPending`, with one short attempt each: somebody is waiting for what comes after. */
export async function finishPendingQuickly(backend: Backend): Promise<void> {
  await sweep(backend, { attempts: 1, patienceMs: 5_000 });
}

/** As `finishPending`, once for a backend and page. */
export async function finishPendingOnce(backend: Backend): Promise<Connected[]> {
  if (swept.has(backend.endpoint)) return [];
  swept.add(backend.endpoint);
  return sweep(backend, { attempts: ATTEMPTS });
}

async function sweep(backend: Backend, effort: Effort): Promise<Connected[]> {
  const found: Connected[] = [];
  for (const activationToken of new PendingTokens(backend).list()) {
    if (sending.has(activationToken)) continue;
    try {
      found.push(await complete(backend, activationToken, effort));
    } catch {
      // Refused for good and discarded, or kept for the next time.
    }
  }
  return found;
}

/** What could not be sent is sent when the network is back, or the page is, from the back/forward cache. */
function finishWhenBack(backend: Backend): void {
  if (watchedFor.has(backend.endpoint)) return;
  watchedFor.add(backend.endpoint);
  const finish = () => void sweep(backend, { attempts: ATTEMPTS });
  window.addEventListener("online", finish);
  window.addEventListener("pageshow", (event) => event.persisted && finish());
}

async function sendPatiently(backend: Backend, activationToken: string, effort: Effort): Promise<Answer> {
  const { clock } = backend;
  const endsAt = clock.now() + LIFETIME_MS;
  let [attempt, giveUpAt] = [1, clock.now() + ALL_WITHIN_MS];
  for (;;) {
    try {
      return await send(backend, activationToken, effort);
    } catch (error) {
      const wait = pauseBefore(error, attempt);
      if (wait === undefined || attempt >= effort.attempts) throw error;
      if (navigator.onLine === false && clock.now() < endsAt) {
        // An attempt that could not succeed does not count.
        await pauseUnlessStirred(clock, endsAt - clock.now());
        giveUpAt = clock.now() + ALL_WITHIN_MS;
        continue;
      }
      if (clock.now() + wait > giveUpAt) throw error;
      await pauseUnlessStirred(clock, wait);
      attempt += 1;
    }
  }
}

function send(backend: Backend, activationToken: string, { patienceMs }: Effort): Promise<Answer> {
  const body = { activation_token: activationToken };
  return backend.call({ method: "POST", path: "completions", body, keepalive: true, patienceMs });
}

/** Milliseconds until the next attempt may succeed, or undefined where none will. */
function pauseBefore(error: unknown, attempt: number): number | undefined {
  if (!(error instanceof KomboEmbedError)) return undefined;
  const passing = error.code === "network" || (error.status !== undefined && PASSING.has(error.status));
  if (!passing) return undefined;
  return Math.max(FIRST_PAUSE_MS * 2 ** (attempt - 1), (error.retryAfter ?? 0) * 1000);
}

/** A refusal that asking again does not change. A login (401) and a rate limit (429) pass. */
function isDefinite(error: unknown): boolean {
  const status = error instanceof KomboEmbedError ? error.status : undefined;
  return status !== undefined && status >= 400 && status < 500 && status !== 401 && status !== 429;
}
