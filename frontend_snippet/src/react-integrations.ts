"use client";
// <KomboIntegrations/>: the element <kombo-integrations> as a component.
import { createElement, useEffect, useRef } from "react";
import type { HTMLAttributes, ReactElement, ReactNode, RefObject } from "react";
import { define } from "./html.js";
import { KomboIntegrations as Element, NAME } from "./integrations-class.js";
import type { IntegrationsOptions, KomboIntegrationsEvents } from "./integrations-class.js";
import { useLatest } from "./use-latest.js";

type Callback = (detail: unknown) => void;
type Detail<Name extends keyof KomboIntegrationsEvents> = KomboIntegrationsEvents[Name]["detail"];

/** The props of `KomboIntegrations`: the options of `reconnect` and `watch`, callbacks, and attributes such as `className`. */
export interface KomboIntegrationsProps
  extends
    IntegrationsOptions,
    Pick<HTMLAttributes<HTMLElement>, "className" | "style" | "id" | "hidden" | "lang" | "aria-label"> {
  /** Replaces the text of an empty list. */
  readonly empty?: ReactNode;
  readonly onIntegrations?: (detail: Detail<"kombo-integrations">) => void;
  readonly onConnected?: (detail: Detail<"kombo-connected">) => void;
  readonly onFinished?: (detail: Detail<"kombo-finished">) => void;
  readonly onCancelled?: (detail: Detail<"kombo-cancelled">) => void;
  readonly onFailed?: (detail: Detail<"kombo-failed">) => void;
  readonly onDisconnected?: (detail: Detail<"kombo-disconnected">) => void;
}

const EVENTS = {
  "kombo-integrations": "onIntegrations",
  "kombo-connected": "onConnected",
  "kombo-finished": "onFinished",
  "kombo-cancelled": "onCancelled",
  "kombo-failed": "onFailed",
  "kombo-disconnected": "onDisconnected",
} as const;

/**
 * The list of the signed-in end user's integrations, live, with what an end user can do about them. A server renders the
 * empty element, which the browser fills. Options other than `endpoint` and `language` are those of the first render;
 * `headers` is called with each request.
 */
export function KomboIntegrations({ empty, ...props }: KomboIntegrationsProps): ReactElement {
  const element = useRef<Element>(null);
  const latest = useLatest(props);
  const { endpoint, language, className, style, id, hidden, lang, "aria-label": label } = props;
  useEffect(() => {
    const { current } = element;
    if (!current) return undefined;
    current.options = { ...latest.current, endpoint, language };
    define(NAME, Element);
    return listen(current, latest);
  }, [endpoint, language, latest]);
  const slotted = empty === undefined ? undefined : createElement("div", { slot: "empty" }, empty);
  // React 18 passes `className` to custom elements as an attribute of this name.
  const attributes = { class: className, style, id, hidden: hidden || undefined, lang, "aria-label": label };
  return createElement(NAME, { ref: element, ...attributes }, slotted);
}

/** Call the callbacks of the last render. Return a function that ends it. */
function listen(element: Element, latest: RefObject<KomboIntegrationsProps>): () => void {
  const ending = new AbortController();
  for (const [event, prop] of Object.entries(EVENTS)) {
    const call = ({ detail }: CustomEvent) => (latest.current[prop] as Callback | undefined)?.(detail);
    element.addEventListener(event, call as EventListener, { signal: ending.signal });
  }
  return () => ending.abort();
}
