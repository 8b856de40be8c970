"use client";
// The connect flow as a hook, and the list of integrations as a hook and a component, for React 18 or later.
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { openBackend } from "./backend.js";
import { finishPendingOnce } from "./completion.js";
import { Connector, IDLE } from "./connector.js";
import type { ConnectState } from "./connector.js";
import type { KomboElements } from "./element-attributes.js";
import { prefetch } from "./prefetch.js";
import type { ConnectOptions, ConnectResult, FlowResult } from "./types.js";

export type { ConnectState } from "./connector.js";
export { KomboIntegrations } from "./react-integrations.js";
export type { KomboIntegrationsProps } from "./react-integrations.js";
export { useIntegrations } from "./use-integrations.js";
export type { IntegrationsState } from "./use-integrations.js";

type JsxElements = {
  [Name in keyof KomboElements]: DetailedHTMLProps<
    HTMLAttributes<KomboElements[Name]["element"]>,
    KomboElements[Name]["element"]
  > &
    KomboElements[Name]["attributes"];
};

declare module "react" {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- React's own types name it so
  namespace JSX {
    interface IntrinsicElements extends JsxElements {}
  }
}

/** The state of a component's flow, and the functions that change it. */
export interface KomboConnect extends ConnectState {
  /**
   * Let the end user connect a tool. Pass it to `onClick` as it is. Resolves with the result, or with undefined if the
   * flow failed: see `error`.
   */
  readonly connect: () => Promise<ConnectResult | undefined>;
  /** Let the end user renew the credentials of an existing integration. Resolves as `connect` does. */
  readonly reconnect: (integrationId: string) => Promise<FlowResult | undefined>;
  /** Let the end user finish the setup of an existing integration. Resolves as `connect` does. */
  readonly finishSetup: (integrationId: string) => Promise<FlowResult | undefined>;
  /** Warm up for `connect`. Pass it to `onPointerEnter` and `onFocus` as it is. Never rejects. */
  readonly prefetch: () => Promise<void>;
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
  const warmUp = useCallback(() => prefetch(latest.current), []);
  return useMemo(() => {
    const { connect, reconnect, finishSetup, reset } = connector;
    return { ...state, connect, reconnect, finishSetup, prefetch: warmUp, reset };
  }, [state, connector, warmUp]);
}
