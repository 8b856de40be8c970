"use client";
// The list of integrations as a hook, for pages that draw it themselves.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Dispatch, RefObject, SetStateAction } from "react";
import { disconnect } from "./connect.js";
import type { KomboEmbedError } from "./errors.js";
import { watch } from "./integrations.js";
import type { WatchDetails, WatchOptions } from "./integrations.js";
import type { Integration } from "./types.js";
import { useLatest } from "./use-latest.js";

/** The integrations of the signed-in end user's organisation, as last received, and what can be done with them. */
export interface IntegrationsState extends WatchDetails {
  /** Undefined until the first response. */
  readonly integrations: readonly Integration[] | undefined;
  /** Whether the first response, or the one to `refresh`, is outstanding. */
  readonly loading: boolean;
  /** The error of the last request, until one succeeds. After `unauthenticated` the watch goes on with `refresh` only. */
  readonly error: KomboEmbedError | undefined;
  /** Request the list now. Pass it to `onClick` as it is. */
  readonly refresh: () => void;
  /**
   * Delete an integration, at Kombo too, if `actions` contains "disconnect". This cannot be undone, so ask the end user
   * first. Rejects with a `KomboEmbedError`.
   */
  readonly disconnect: (integrationId: string) => Promise<void>;
}

type Received = Pick<IntegrationsState, "integrations" | "actions" | "loading" | "error">;

const LOADING: Received = { integrations: undefined, actions: [], loading: true, error: undefined };

/**
 * Watch the integrations while the component is mounted. Only a change of `endpoint` starts anew; the other options are those
 * of the first render, and `headers` is called with each request. The functions stay the same for the life of the component.
 */
export function useIntegrations(options: WatchOptions = {}): IntegrationsState {
  const latest = useLatest(options);
  const [received, setReceived] = useState(LOADING);
  const [attempt, setAttempt] = useState(0);
  const { endpoint } = options;
  const shown = useRef(endpoint); // the backend that the list is of
  useEffect(() => {
    const isSame = shown.current === endpoint;
    shown.current = endpoint;
    setReceived((before) => (isSame ? { ...before, loading: true } : LOADING));
    return watchInto(setReceived, latest, endpoint);
  }, [endpoint, attempt, latest]);
  const refresh = useCallback(() => setAttempt((before) => before + 1), []);
  const remove = useCallback(
    async (id: string) => {
      await disconnect(id, latest.current);
      setReceived((before) => without(before, id));
    },
    [latest],
  );
  return useMemo(() => ({ ...received, refresh, disconnect: remove }), [received, refresh, remove]);
}

/** Watch the integrations, and call the callbacks of the last render. Return a function that stops it. */
function watchInto(
  setReceived: Dispatch<SetStateAction<Received>>,
  latest: RefObject<WatchOptions>,
  endpoint: string | undefined,
): () => void {
  const setError = (error: KomboEmbedError | undefined) =>
    setReceived((before) => ({ ...before, loading: false, error }));
  return watch(
    (integrations, { actions }) => setReceived({ integrations, actions, loading: false, error: undefined }),
    {
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
    },
  );
}

function without(received: Received, integrationId: string): Received {
  return { ...received, integrations: received.integrations?.filter(({ id }) => id !== integrationId) };
}
