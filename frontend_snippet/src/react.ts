// The connect flow as a hook, for React 18 or later.
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { openBackend } from "./backend.js";
import { finishPendingOnce } from "./completion.js";
import { Connector, IDLE } from "./connector.js";
import type { ConnectState } from "./connector.js";
import type { ConnectOptions, ConnectResult, FlowResult } from "./types.js";

export type { ConnectState } from "./connector.js";

/** The state of a component's flow, and the functions that change it. */
export interface KomboConnect extends ConnectState {
  /**
   * Let the end user connect a tool. Pass it to `onClick` as it is. Resolves with the result, or with undefined if the
   * flow failed: see `error`.
   */
  readonly connect: () => Promise<ConnectResult | undefined>;
  /** Let the end user renew the credentials of an existing integration. Resolves as `connect` does. */
  readonly reconnect: (integrationId: string) => Promise<FlowResult | undefined>;
  /** Forget the outcome of the last flow. */
  readonly reset: () => void;
}

const idle = (): ConnectState => IDLE;

/**
 * Connect tools from a component. The link is requested on the click, with the options of the last render.
 *
 * The functions stay the same for the life of the component. Unmounting does not end an open flow, and its completion
 * is recorded; `signal` ends the wait. The completions that an earlier page could not send are sent when the component
 * mounts, and become this component's result.
 */
export function useKomboConnect(options: ConnectOptions = {}): KomboConnect {
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const [connector] = useState(() => new Connector(() => latest.current));
  useEffect(() => {
    void finishPendingOnce(openBackend(latest.current)).then((recorded) => recorded.forEach(connector.adopt));
  }, [connector]);
  const state = useSyncExternalStore(connector.subscribe, connector.state, idle);
  const { connect, reconnect, reset } = connector;
  return useMemo(() => ({ ...state, connect, reconnect, reset }), [state, connect, reconnect, reset]);
}
