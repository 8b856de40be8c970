// For pages made with React, 18 or later: the same flow, as a hook.
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { openBackend } from "./backend.js";
import { finishPendingOnce } from "./completion.js";
import { Connector, IDLE } from "./connector.js";
import type { ConnectState } from "./connector.js";
import type { ConnectOptions, ConnectResult, FlowResult } from "./types.js";

export type { ConnectState } from "./connector.js";

/** What `useKomboConnect` gives: the state of this component's flow, and what can be done. */
export interface KomboConnect extends ConnectState {
  /**
   * Lets the end user connect a tool; hand it to `onClick` as it is. Resolves with how it ended, or with
   * undefined where it failed: `error` says why.
   */
  readonly connect: () => Promise<ConnectResult | undefined>;
  /** The same over an integration that exists: renews its credentials. */
  readonly reconnect: (integrationId: string) => Promise<FlowResult | undefined>;
  /** Forgets how the last flow ended. */
  readonly reset: () => void;
}

const idle = (): ConnectState => IDLE;

/**
 * Connects tools from a component. The link is fetched on the click, with the options of the last render.
 *
 * The functions stay the same for the life of the component. Unmounting ends nothing: what the end user has begun
 * goes on, and what they finish is recorded; `signal` ends the wait. What an earlier page could not tell the
 * backend is told when the component mounts, and then shown as this component's result.
 */
export function useKomboConnect(options: ConnectOptions = {}): KomboConnect {
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const [connector] = useState(() => new Connector(() => latest.current));
  useEffect(() => {
    void finishPendingOnce(openBackend(latest.current)).then((found) => found.forEach(connector.adopt));
  }, [connector]);
  const state = useSyncExternalStore(connector.subscribe, connector.state, idle);
  const { connect, reconnect, reset } = connector;
  return useMemo(() => ({ ...state, connect, reconnect, reset }), [state, connect, reconnect, reset]);
}
