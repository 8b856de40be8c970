import { act, createElement, StrictMode, version } from "react";
import type { ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { useKomboConnect } from "../src/react.js";
import type { KomboConnect } from "../src/react.js";
import type { ConnectOptions } from "../src/index.js";
import { page, PERSONIO, problem, settled, TOKEN } from "./fakes.js";

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

let unmounts: (() => void)[] = [];
let latest: KomboConnect;
let renders = 0;

beforeEach(() => {
  renders = 0;
});

afterEach(() => {
  for (const unmount of unmounts) unmount();
  unmounts = [];
});

function Button({ options }: { options: ConnectOptions }): ReactNode {
  renders += 1;
  latest = useKomboConnect(options);
  return createElement("button", { onClick: latest.connect }, latest.status);
}

function mount(options: ConnectOptions, { strict = false } = {}) {
  const place = document.body.appendChild(document.createElement("div"));
  const root = createRoot(place);
  const draw = (given: ConnectOptions) => {
    const button = createElement(Button, { options: given });
    act(() => root.render(strict ? createElement(StrictMode, null, button) : button));
  };
  draw(options);
  const unmount = () => act(() => root.unmount());
  unmounts.push(unmount);
  return { draw, unmount, click: () => act(async () => place.querySelector("button")!.click()) };
}

describe(`useKomboConnect with React ${version.split(".")[0]}`, () => {
  it("reports the phase and the result of the flow", async () => {
    const { sdk, options } = page();
    const { click } = mount(options);
    expect(latest).toMatchObject({ status: "idle", result: undefined, error: undefined });
    await click();
    await act(settled);
    expect(latest.status).toBe("open");
    await act(() => sdk.finish());
    expect(latest).toMatchObject({ status: "connected", result: { integration: PERSONIO } });
    act(() => latest.reset());
    expect(latest).toMatchObject({ status: "idle", result: undefined });
  });

  it("reports the error of a flow, and rejects nothing", async () => {
    const { backend, options } = page();
    backend.on("POST links", problem(429, "rate_limited"));
    mount(options);
    await act(async () => expect(await latest.connect()).toBeUndefined());
    expect(latest).toMatchObject({ status: "failed", error: { code: "rate_limited" } });
  });

  it("reports a headers function that fails", async () => {
    const { options } = page();
    mount(options);
    mount({ ...options, headers: () => Promise.reject(new Error("no login")) });
    await act(() => latest.connect());
    expect(latest.error?.code).toBe("headers_failed");
  });

  it("sends one request and opens one dialog in StrictMode, after several clicks", async () => {
    const { backend, sdk, options } = page();
    const { click } = mount(options, { strict: true });
    await click();
    await click();
    await act(() => sdk.finish());
    expect(backend.calls).toEqual(["POST links", "POST completions"]);
    expect(sdk.opened).toHaveLength(1);
  });

  it("joins the open dialog when it is mounted again", async () => {
    const { backend, sdk, options } = page();
    const first = mount(options);
    await first.click();
    first.unmount();
    const second = mount(options);
    await second.click();
    await act(() => sdk.finish());
    expect(latest.status).toBe("connected");
    expect(backend.calls).toEqual(["POST links", "POST completions"]);
  });

  it("records the completion of a flow that is open when it is unmounted", async () => {
    const { backend, sdk, options } = page();
    const { click, unmount } = mount(options);
    await click();
    unmount();
    await act(() => sdk.finish());
    expect(backend.calls).toEqual(["POST links", "POST completions"]);
  });

  it("uses the options of the last render, and returns the same functions at each", async () => {
    const { backend, sdk, options } = page();
    const { draw, click } = mount({ ...options, tool: "personio" });
    const { connect, reconnect, reset } = latest;
    draw({ ...options, tool: "workday" });
    expect([latest.connect, latest.reconnect, latest.reset]).toEqual([connect, reconnect, reset]);
    await click();
    await act(() => sdk.finish());
    expect(backend.last("POST links").body).toEqual({ integration_tool: "workday" });
  });

  it("returns the same object while nothing changes", () => {
    const { options } = page();
    const { draw } = mount(options);
    const before = latest;
    draw({ ...options });
    expect(renders).toBe(2);
    expect(latest).toBe(before);
  });

  it("reconnects", async () => {
    const { backend, sdk, options } = page();
    backend.on("POST integrations/int_1/relink", () =>
      Response.json({ link: "https://connect.kombo.dev/r" }),
    );
    mount(options);
    await act(async () => {
      const result = latest.reconnect("int_1");
      await sdk.finish();
      expect(await result).toMatchObject({ status: "connected" });
    });
    expect(backend.calls).toEqual(["POST integrations/int_1/relink", "POST completions"]);
  });

  it("sends the pending completions of an earlier page, and reports the result", async () => {
    const { backend, clock, storage, options } = page();
    const entry = { endpoint: backend.endpoint, activationToken: TOKEN, keptAt: clock.now() - 1000 };
    storage.setItem("kombo-embed.pending", JSON.stringify([entry]));
    mount(options, { strict: true });
    await act(settled);
    expect(backend.calls).toEqual(["POST completions"]);
    expect(latest).toMatchObject({ status: "connected", result: { integration: PERSONIO } });
  });
});
