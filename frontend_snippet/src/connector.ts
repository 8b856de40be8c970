// What a button knows of its flow: one value that says all, and that changes only as a whole.
import { connect, reconnect } from "./connect.js";
import { KomboEmbedError } from "./errors.js";
import type { ConnectOptions, ConnectResult, FlowOptions, FlowResult, Phase } from "./types.js";

/** Where a button stands: nothing happened yet, a flow is under way, or how the last one ended. */
export interface ConnectState {
  readonly status: "idle" | Phase | ConnectResult["status"] | "failed";
  /** How the last flow ended, until the next begins. */
  readonly result: ConnectResult | undefined;
  /** Why the last flow failed, until the next begins. */
  readonly error: KomboEmbedError | undefined;
}

export const IDLE: ConnectState = { status: "idle", result: undefined, error: undefined };

/** One button's flows, one after the other, and their state to look at and to listen to. */
export class Connector {
  readonly #options: () => ConnectOptions;
  #current = IDLE;
  #running: Promise<ConnectResult | undefined> | undefined;
  readonly #listeners = new Set<() => void>();

  /** `options` is asked at each click, for what holds then. */
  constructor(options: () => ConnectOptions) {
    this.#options = options;
  }

  readonly state = (): ConnectState => this.#current;

  /** Calls `listener` after every change; the answer ends that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** Runs a flow, or joins the one that runs. Resolves with how it ended; with undefined where it failed. */
  readonly connect = (): Promise<ConnectResult | undefined> => this.#run(connect);

  /** As `connect`, over an integration that exists. */
  readonly reconnect = (integrationId: string): Promise<FlowResult | undefined> =>
    this.#run((options) => reconnect(integrationId, options)) as Promise<FlowResult | undefined>;

  /** Shows how a flow ended that was begun elsewhere: on an earlier page. */
  readonly adopt = (result: ConnectResult): void => {
    if (!this.#running) this.#change({ ...IDLE, status: result.status, result });
  };

  /** Forgets how the last flow ended. */
  readonly reset = (): void => {
    if (!this.#running) this.#change(IDLE);
  };

  #run(start: (options: FlowOptions) => Promise<ConnectResult>): Promise<ConnectResult | undefined> {
    this.#running ??= this.#follow(start).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #follow(start: (options: FlowOptions) => Promise<ConnectResult>): Promise<ConnectResult | undefined> {
    const options = this.#options();
    const onPhase = (status: Phase) => {
      this.#change({ ...IDLE, status });
      options.onPhase?.(status);
    };
    onPhase("loading");
    try {
      const result = await start({ ...options, onPhase });
      this.#change({ ...IDLE, status: result.status, result });
      return result;
    } catch (error) {
      const ours = error instanceof KomboEmbedError;
      this.#change(ours ? { ...IDLE, status: "failed", error } : IDLE);
      if (!ours) throw error; // the page's own mistake, such as an endpoint that is no address
      return undefined;
    }
  }

  #change(state: ConnectState): void {
    this.#current = state;
    for (const listener of this.#listeners) listener();
  }
}
