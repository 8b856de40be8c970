// The list of integrations in React: the hook, and the component, also rendered by a server.
import { act, createElement, StrictMode, version } from "react";
import type { ReactNode } from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { KomboIntegrations, useIntegrations } from "../src/react.js";
import type { IntegrationsState, KomboIntegrationsProps } from "../src/react.js";
import type { WatchOptions } from "../src/index.js";
import { json, page, PERSONIO, problem, settled, silence } from "./fakes.js";

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

const HIBOB = { ...PERSONIO, id: "int_2", tool: "hibob" };
const REACT = `React ${version.split(".")[0]}`;

let unmounts: (() => void)[] = [];
let states: IntegrationsState[] = [];
const latest = (): IntegrationsState => states.at(-1)!;

beforeEach(() => {
  states = [];
});

afterEach(() => {
  for (const unmount of unmounts) unmount();
  unmounts = [];
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function List({ options }: { options: WatchOptions }): ReactNode {
  const state = useIntegrations(options);
  states.push(state);
  return state.integrations?.map(({ id, tool }) => createElement("p", { key: id }, tool));
}

async function mount(node: ReactNode, { strict = false } = {}) {
  const place = document.body.appendChild(document.createElement("div"));
  const root = createRoot(place);
  const draw = (given: ReactNode) =>
    act(async () => {
      root.render(strict ? createElement(StrictMode, null, given) : given);
      await settled();
    });
  await draw(node);
  const unmount = () => act(() => root.unmount());
  unmounts.push(unmount);
  return { place, draw, unmount };
}

const mountList = (options: WatchOptions, given: { strict?: boolean } = {}) =>
  mount(createElement(List, { options }), given);

describe(`useIntegrations with ${REACT}`, () => {
  it("is loading until the first response, and then has the list and the actions", async () => {
    const { backend, options } = page();
    backend.on("GET integrations", () => json(200, { integrations: [PERSONIO], actions: ["disconnect"] }));
    const { place } = await mountList(options);
    expect(states[0]).toMatchObject({
      integrations: undefined,
      actions: [],
      loading: true,
      error: undefined,
    });
    expect(latest()).toMatchObject({
      integrations: [PERSONIO],
      actions: ["disconnect"],
      loading: false,
      error: undefined,
    });
    expect(place.textContent).toBe("personio");
  });

  it("has the error of a failed request, and the list again after it", async () => {
    const { backend, clock, options } = page();
    const onError = vi.fn();
    const onRecovery = vi.fn();
    backend.on(
      "GET integrations",
      problem(503, "kombo_unavailable"),
      json(200, { integrations: [PERSONIO] }),
    );
    await mountList({ ...options, onError, onRecovery });
    expect(latest()).toMatchObject({ integrations: undefined, loading: false });
    expect(latest().error?.code).toBe("kombo_unavailable");
    await act(() => clock.advance(60_000));
    expect(latest()).toMatchObject({ integrations: [PERSONIO], loading: false, error: undefined });
    expect([onError.mock.calls.length, onRecovery.mock.calls.length]).toEqual([1, 1]);
  });

  it("keeps the list while later requests fail", async () => {
    const { backend, clock, options } = page();
    backend.on("GET integrations", json(200, { integrations: [PERSONIO] }), problem(500, "internal_error"));
    await mountList(options);
    await act(() => clock.advance(5000));
    expect(latest()).toMatchObject({ integrations: [PERSONIO], error: { code: "internal_error" } });
  });

  it("follows changes", async () => {
    const { backend, clock, options } = page();
    backend.on(
      "GET integrations",
      json(200, { integrations: [PERSONIO] }),
      json(200, { integrations: [PERSONIO, HIBOB] }),
    );
    const { place } = await mountList(options);
    await act(() => clock.advance(5000));
    expect(place.textContent).toBe("personiohibob");
  });

  it("refreshes on request, showing the list meanwhile", async () => {
    const { backend, options } = page();
    await mountList(options);
    const { refresh } = latest();
    backend.on("GET integrations", silence, json(200, { integrations: [HIBOB] }));
    await act(async () => refresh());
    expect(latest()).toMatchObject({ integrations: [PERSONIO], loading: true });
    await act(async () => {
      refresh();
      await settled();
    });
    expect(latest()).toMatchObject({ integrations: [HIBOB], loading: false });
    expect(latest().refresh).toBe(refresh);
  });

  it("is no longer loading after a refresh that brings the same list", async () => {
    const { options } = page();
    await mountList(options);
    await act(async () => {
      latest().refresh();
      await settled();
    });
    expect(latest()).toMatchObject({ integrations: [PERSONIO], loading: false });
  });

  it("goes on after the end user has signed in again, with a refresh", async () => {
    const { backend, clock, options } = page();
    backend.on("GET integrations", problem(401, "unauthenticated"), json(200, { integrations: [PERSONIO] }));
    await mountList(options);
    await act(() => clock.advance(60_000));
    expect(backend.count("GET integrations")).toBe(1);
    expect(latest().error?.code).toBe("unauthenticated");
    await act(async () => {
      latest().refresh();
      await settled();
    });
    expect(latest()).toMatchObject({ integrations: [PERSONIO], loading: false, error: undefined });
  });

  it("disconnects, and removes the integration from the list at once", async () => {
    const { backend, options } = page();
    backend
      .on("GET integrations", json(200, { integrations: [PERSONIO, HIBOB] }), silence)
      .on("DELETE integrations/int_1", () => new Response(null, { status: 204 }));
    await mountList(options);
    await act(() => latest().disconnect("int_1"));
    expect(latest().integrations).toEqual([HIBOB]);
    expect(backend.count("GET integrations")).toBe(2); // other lists learn of it, too
  });

  it("rejects and keeps the list if the disconnection fails", async () => {
    const { backend, options } = page();
    backend.on("DELETE integrations/int_1", problem(403, "forbidden"));
    await mountList(options);
    await act(() => expect(latest().disconnect("int_1")).rejects.toMatchObject({ code: "forbidden" }));
    expect(latest()).toMatchObject({ integrations: [PERSONIO], error: undefined });
  });

  it("starts anew for another endpoint, and does not mix the lists", async () => {
    const [first, second] = [page(), page()];
    second.backend.on("GET integrations", silence);
    const { draw } = await mountList(first.options);
    await draw(createElement(List, { options: second.options }));
    expect(latest()).toMatchObject({ integrations: undefined, loading: true });
  });

  it("watches once in StrictMode, and no longer after it is unmounted", async () => {
    const { backend, clock, options } = page();
    const { unmount } = await mountList(options, { strict: true });
    expect(latest()).toMatchObject({ integrations: [PERSONIO], loading: false });
    const before = backend.count("GET integrations");
    await act(() => clock.advance(5000));
    expect(backend.count("GET integrations")).toBe(before + 1);
    unmount();
    await clock.advance(60_000);
    expect(backend.count("GET integrations")).toBe(before + 1);
  });

  it("does not render again with other objects of the same options", async () => {
    const { options } = page();
    const { draw } = await mountList(options);
    const [count, before] = [states.length, latest()];
    await draw(createElement(List, { options: { ...options } }));
    expect(states.length).toBe(count + 1);
    expect(latest()).toBe(before);
  });

  it("renders on a server", () => {
    const errors = vi.spyOn(console, "error");
    expect(renderToString(createElement(List, { options: {} }))).toBe("");
    expect(latest()).toMatchObject({ integrations: undefined, loading: true });
    expect(errors).not.toHaveBeenCalled();
  });
});

function rowsOf(place: Element): (string | undefined)[] {
  const { shadowRoot } = place.querySelector("kombo-integrations")!;
  return [...shadowRoot!.querySelectorAll<HTMLElement>("[part=row]")].map(({ dataset }) => dataset["tool"]);
}

const component = (props: KomboIntegrationsProps) => createElement(KomboIntegrations, props);

describe(`<KomboIntegrations/> with ${REACT}`, () => {
  it.each([false, true])("lists the integrations (StrictMode: %s)", async (strict) => {
    const { options } = page();
    const { place } = await mount(component(options), { strict });
    expect(rowsOf(place)).toEqual(["personio"]);
  });

  it("calls the callbacks of the last render, once each, also in StrictMode", async () => {
    const { backend, options } = page();
    backend
      .on("GET integrations", () => json(200, { integrations: [PERSONIO], actions: ["disconnect"] }))
      .on("DELETE integrations/int_1", () => new Response(null, { status: 204 }));
    const [first, second, listed] = [vi.fn(), vi.fn(), vi.fn()];
    const { place, draw } = await mount(
      component({ ...options, onIntegrations: listed, onDisconnected: first }),
      { strict: true },
    );
    expect(listed).toHaveBeenCalledWith({ integrations: [PERSONIO] });
    await draw(component({ ...options, onDisconnected: second }));
    await act(async () => {
      const root = place.querySelector("kombo-integrations")!.shadowRoot!;
      for (const part of ["row-menu", "disconnect", "confirm-disconnect"]) {
        root.querySelector<HTMLElement>(`[data-testid=${part}]`)!.click();
      }
      await settled();
    });
    expect(first).not.toHaveBeenCalled();
    expect(second.mock.calls).toEqual([[{ integration: PERSONIO }]]);
  });

  it("passes on attributes, the language and the content of an empty list", async () => {
    const { backend, options } = page();
    backend.on("GET integrations", () => json(200, { integrations: [] }));
    const empty = createElement("b", null, "Nothing yet");
    const props = { ...options, empty, className: "wide", id: "tools", language: "de" as const };
    const { place, draw } = await mount(component(props));
    const element = place.querySelector("kombo-integrations")!;
    expect([element.className, element.id, element.textContent]).toEqual(["wide", "tools", "Nothing yet"]);
    expect(element.querySelector("[slot=empty] > b")).not.toBeNull();
    await draw(component({ ...props, hidden: true }));
    expect(element.hasAttribute("hidden")).toBe(true);
  });

  it("follows a change of the endpoint and of the language", async () => {
    const [first, second] = [page(), page()];
    second.backend.on("GET integrations", () => json(200, { integrations: [HIBOB] }));
    const { place, draw } = await mount(component(first.options));
    await draw(component({ ...second.options, language: "fr" }));
    expect(rowsOf(place)).toEqual(["hibob"]);
    const root = place.querySelector("kombo-integrations")!.shadowRoot!;
    expect(root.querySelector("[part=status]")!.textContent).toBe("Connecté");
  });

  it("sends no request after it is unmounted", async () => {
    const { backend, clock, options } = page();
    const { unmount } = await mount(component(options), { strict: true });
    unmount();
    const before = backend.sent.length;
    await clock.advance(60_000);
    expect(backend.sent.length).toBe(before);
  });

  it("is rendered by a server as an empty element, which the browser fills without a mismatch", async () => {
    const { backend, options } = page();
    // An earlier test has defined the element, so that it is filled before the options are there.
    vi.stubGlobal("fetch", backend.fetch);
    const errors = vi.spyOn(console, "error");
    const node = component({ ...options, className: "wide", empty: "Nothing yet" });
    const place = document.body.appendChild(document.createElement("div"));
    place.innerHTML = renderToString(node);
    expect(place.innerHTML).toBe(
      '<kombo-integrations class="wide"><div slot="empty">Nothing yet</div></kombo-integrations>',
    );
    await act(async () => {
      const root = hydrateRoot(place, node, { onRecoverableError: (error) => console.error(error) });
      unmounts.push(() => act(() => root.unmount()));
      await settled();
    });
    expect(rowsOf(place)).toEqual(["personio"]);
    expect(errors).not.toHaveBeenCalled();
  });
});
