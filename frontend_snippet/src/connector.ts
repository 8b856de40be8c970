// The flows of one button and their state: one immutable value, which the element and the React hook render.
import { connect, finishSetup, reconnect } from "./connect.js";
import { KomboEmbedError } from "./errors.js";
import type { ConnectOptions, ConnectResult, FlowOptions, FlowResult, Phase } from "./types.js";

/** The state of a button: idle, in a phase of its flow, or the outcome of the last flow. */
export interface ConnectState {
  readonly status: "idle" | Phase | ConnectResult["status"] | "failed";
  /** The result of the last flow, until the next one starts. */
  readonly result: ConnectResult | undefined;
  /** The error of the last flow, until the next one starts. */
  readonly error: KomboEmbedError | undefined;
}

export const IDLE: ConnectState = { status: "idle", result: undefined, error: undefined };

/** Runs the flows of one button, one at a time, and keeps their state. */
export class Connector {
  readonly #options: () => ConnectOptions;
  #current = IDLE;
  #running: Promise<ConnectResult | undefined> | undefined;
  readonly #listeners = new Set<() => void>();

  /** `options` is called for each flow. */
  constructor(options: () => ConnectOptions) {
    this.#options = options;
  }

  readonly state = (): ConnectState => this.#current;

  /** Call `listener` after each change. Return a function that removes it. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** Run a flow, or join the one in progress. Resolves with its result, or with undefined if it failed. */
  readonly connect = (): Promise<ConnectResult | undefined> => this.#run(connect);

  /** Run a flow that renews the credentials of an existing integration. Resolves as `connect` does. */
  readonly reconnect = (integrationId: string): Promise<FlowResult | undefined> =>
    this.#run((options) => reconnect(integrationId, options)) as Promise<FlowResult | undefined>;

  /** Run a flow that finishes the setup of an existing integration. Resolves as `connect` does. */
  readonly finishSetup = (integrationId: string): Promise<FlowResult | undefined> =>
    this.#run((options) => finishSetup(integrationId, options)) as Promise<FlowResult | undefined>;

  /** Show the result of a flow that an earlier page started. */
  readonly adopt = (result: ConnectResult): void => {
    if (!this.#running) this.#change({ ...IDLE, status: result.status, result });
  };

  /** Forget the outcome of the last flow. */
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
      const expected = error instanceof KomboEmbedError;
      this.#change(expected ? { ...IDLE, status: "failed", error } : IDLE);
      if (!expected) throw error; // a mistake of the page's, such as an endpoint that is not a URL
      return undefined;
    }
  }

  #change(state: ConnectState): void {
    this.#current = state;
    for (const listener of this.#listeners) listener();
  }
}
