// Tests of the public types. Nothing here runs: `npm run check` compiles it.
import { connect, watch } from "../src/index.js";
import type { Connected, ConnectResult, KomboEmbedError } from "../src/index.js";
import type { KomboConnectButton } from "../src/element.js";
import { useKomboConnect } from "../src/react.js";

declare function same<A>(): <B>(
  ..._equal: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? [] : [never]
) => void;

export async function results(): Promise<void> {
  const result = await connect({ tool: "personio" });
  same<ConnectResult>()<typeof result>();
  if (result.status === "connected") same<boolean>()<typeof result.first>();
  if (result.status === "already_connected") await result.reconnect({ language: "de" });
  // @ts-expect-error a cancelled flow has no integration
  if (result.status === "cancelled") void result.integration;
}

export function options(): void {
  void connect({
    endpoint: "/kombo",
    headers: async () => ({ Authorization: "Bearer 1" }),
    credentials: "omit",
  });
  // @ts-expect-error there is no such category
  void connect({ category: "CRM" });
  watch((integrations) => integrations.map(({ next_action: next }) => next === "reconnect"), {
    onError: (error) => same<KomboEmbedError>()<typeof error>(),
  });
}

export function Button(): void {
  const { connect: click, reconnect, status, result, error } = useKomboConnect({ tool: "personio" });
  same<ConnectResult | undefined>()<typeof result>();
  same<KomboEmbedError | undefined>()<typeof error>();
  same<() => Promise<ConnectResult | undefined>>()<typeof click>();
  void reconnect("int_1");
  // @ts-expect-error there is no such state
  void (status === "pending");
}

export function elements(element: KomboConnectButton): void {
  element.addEventListener("kombo-connected", ({ detail }) => same<Connected>()<typeof detail>());
  document.addEventListener("kombo-failed", ({ detail }) => same<KomboEmbedError>()<typeof detail>());
  same<KomboConnectButton>()<HTMLElementTagNameMap["kombo-connect-button"]>();
  element.options = { headers: { Authorization: "Bearer 1" } };
  // @ts-expect-error a label is text
  element.label = 1;
}
