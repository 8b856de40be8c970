// Activation tokens that the backend has not answered yet, kept over a reload: a page that goes away between
// the end of the flow and the completion would lose the end user's work.
import type { Backend } from "./backend.js";
import { readFields } from "./read.js";
import type { BackendOptions } from "./types.js";

const KEY = "kombo-embed.pending";

/** How long an activation token is worth sending. Kombo documents no figure, only that it is short. */
export const LIFETIME_MS = 10 * 60_000;

type Store = NonNullable<BackendOptions["storage"]>;

/** A token, whose backend it is for, and since when it waits. */
interface Pending {
  readonly endpoint: string;
  readonly activationToken: string;
  readonly keptAt: number;
}

/** The tokens that wait for one backend. */
export class PendingTokens {
  readonly #backend: Backend;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** Those that are still worth sending, oldest first. */
  list(): string[] {
    return this.#load()
      .filter(({ endpoint }) => endpoint === this.#backend.endpoint)
      .map(({ activationToken }) => activationToken);
  }

  /** From now on; one that waits already gets no younger. */
  keep(activationToken: string): void {
    const { endpoint, clock } = this.#backend;
    if (this.list().includes(activationToken)) return;
    this.#save([...this.#load(), { endpoint, activationToken, keptAt: clock.now() }]);
  }

  discard(activationToken: string): void {
    this.#save(this.#load().filter((entry) => entry.activationToken !== activationToken));
  }

  /** What is stored and not too old. In private windows the storage may throw: then nothing is kept. */
  #load(): Pending[] {
    try {
      const entries: unknown = JSON.parse(this.#open().getItem(KEY) ?? "[]");
      const oldest = this.#backend.clock.now() - LIFETIME_MS;
      return Array.isArray(entries) ? entries.filter(isPending).filter(({ keptAt }) => keptAt > oldest) : [];
    } catch {
      return [];
    }
  }

  #save(entries: readonly Pending[]): void {
    try {
      if (entries.length > 0) this.#open().setItem(KEY, JSON.stringify(entries));
      else this.#open().removeItem(KEY);
    } catch {
      // Full or forbidden: the completion itself does not depend on it.
    }
  }

  #open(): Store {
    return this.#backend.storage ?? sessionStorage;
  }
}

function isPending(value: unknown): value is Pending {
  const { endpoint, activationToken, keptAt } = readFields(value);
  return typeof endpoint === "string" && typeof activationToken === "string" && typeof keptAt === "number";
}
