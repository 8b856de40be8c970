"use client";
// The list of integrations as a hook, for pages that draw it themselves.
import { useEffect, useState } from "react";
import type { KomboEmbedError } from "./errors.js";
import { watch } from "./integrations.js";
import type { WatchDetails, WatchOptions } from "./integrations.js";
import type { Integration } from "./types.js";
import { useLatest } from "./use-latest.js";

/** The integrations of the signed-in end user's organisation, as last received. */
export interface IntegrationsState extends WatchDetails {
  /** Undefined until the first response. */
  readonly integrations: readonly Integration[] | undefined;
  /** The error of the last request, until one succeeds. `unauthenticated` is final: the watch has stopped. */
  readonly error: KomboEmbedError | undefined;
}

const LOADING: IntegrationsState = { integrations: undefined, actions: [], error: undefined };

/**
 * Watch the integrations while the component is mounted. Only a change of `endpoint` starts anew; the other options are those
 * of the first render, and `headers` is called with each request.
 */
export function useIntegrations(options: WatchOptions = {}): IntegrationsState {
  const latest = useLatest(options);
  const [state, setState] = useState(LOADING);
  const { endpoint } = options;
  useEffect(() => {
    const setError = (error: KomboEmbedError | undefined) => setState((before) => ({ ...before, error }));
    setState(LOADING);
    return watch((integrations, { actions }) => setState({ integrations, actions, error: undefined }), {
      ...latest.current,
      ...(endpoint !== undefined && { endpoint }),
      onError(error) {
        setError(error);
        latest.current.onError?.(error);
      },
      onRecovery() {
        setError(undefined);
        latest.current.onRecovery?.();
      },
    });
  }, [endpoint, latest]);
  return state;
}
