// Long lists: pages with cursors, and what the end user may do.
import { describe, expect, it } from "vitest";
import { listIntegrations, watch } from "../src/index.js";
import { json, page, PERSONIO, problem, settled } from "./fakes.js";

const many = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, place) => ({ ...PERSONIO, id: `int_${from + place}` }));
const ids = (list: readonly { id: string }[]) => list.map(({ id }) => id);

describe("a list of several pages", () => {
  function placePages() {
    const surroundings = page();
    surroundings.backend
      .on("GET integrations", json(200, { integrations: many(0, 3), next_cursor: "a/b+c", actions: [] }))
      .on("GET integrations?cursor=a%2Fb%2Bc", json(200, { integrations: many(3, 5), next_cursor: null }));
    return surroundings;
  }

  it("is read to its end", async () => {
    const { options } = placePages();
    expect(ids(await listIntegrations(options))).toEqual(ids(many(0, 5)));
  });

  it("is watched as one, and pages that did not change are not sent again", async () => {
    const { backend, clock, options } = placePages();
    const tagged =
      (place: number, tag: string, next: string | null, list = many(place, place + 1)) =>
      () => {
        const sent = backend.sent.at(-1)!.headers.get("If-None-Match");
        if (sent === tag) return new Response(null, { status: 304 });
        return json(200, { integrations: list, next_cursor: next }, { ETag: tag });
      };
    backend
      .on("GET integrations", tagged(0, '"1"', "n"))
      .on("GET integrations?cursor=n", tagged(1, '"2"', null));
    const seen: string[][] = [];
    const stop = watch((list) => seen.push(ids(list)), options);
    await clock.advance(5_000);
    expect(seen).toEqual([["int_0", "int_1"]]);
    expect(backend.calls).toHaveLength(4);
    backend.on("GET integrations?cursor=n", tagged(7, '"3"', null));
    await clock.advance(5_000);
    expect(seen).toEqual([
      ["int_0", "int_1"],
      ["int_0", "int_7"],
    ]);
    stop();
  });

  it("ends even if the backend's does not", async () => {
    const { backend, options } = page();
    const endless = json(200, { integrations: [PERSONIO], next_cursor: "x" });
    backend.on("GET integrations", endless).on("GET integrations?cursor=x", endless);
    expect(await listIntegrations(options)).toHaveLength(100);
  });

  it("fails as a whole", async () => {
    const { backend, options } = placePages();
    backend.on("GET integrations?cursor=a%2Fb%2Bc", problem(503, "store_unavailable"));
    await expect(listIntegrations(options)).rejects.toMatchObject({ code: "store_unavailable" });
  });
});

describe("what the end user may do", () => {
  async function actionsOf(body: object): Promise<readonly string[] | undefined> {
    const { backend, options } = page();
    backend.on("GET integrations", json(200, { integrations: [], ...body }));
    let actions: readonly string[] | undefined;
    const stop = watch((_, details) => (actions = details.actions), options);
    await settled();
    stop();
    return actions;
  }

  it("is what the backend says", async () => {
    expect(await actionsOf({ actions: ["disconnect"] })).toEqual(["disconnect"]);
    expect(await actionsOf({ actions: [] })).toEqual([]);
  });

  it.each([undefined, null, "disconnect", [1, null]])(
    "is nothing if the backend says %j",
    async (actions) => {
      expect(await actionsOf({ actions })).toEqual([]);
    },
  );
});

describe("a watch that recovers", () => {
  it("reports it, also if the list has not changed", async () => {
    const { backend, clock, options } = page();
    const list = json(200, { integrations: [PERSONIO] });
    backend.on("GET integrations", list.clone(), problem(503, "store_unavailable"), list);
    const seen: string[] = [];
    const stop = watch(() => seen.push("list"), {
      ...options,
      onError: ({ code }) => seen.push(code),
      onRecovery: () => seen.push("recovered"),
    });
    await clock.advance(20_000);
    expect(seen).toEqual(["list", "store_unavailable", "recovered"]);
    stop();
  });
});
