// One fake for each peer: the backend, Kombo's SDK, time, storage.
import type { Clock, Fetch, Integration, ShowKomboConnect } from "../src/index.js";

export const LINK = "https://connect.kombo.dev/v1?token=link-secret";
export const TOKEN = "activation-secret";

export const PERSONIO: Integration = {
  id: "int_1",
  tool: "personio",
  category: "HRIS",
  organization_name: "Acme",
  status: "ACTIVE",
  setup_status: "COMPLETED",
  next_action: "none",
  connected_at: "2026-01-01T00:00:00Z",
  updated_at: "2026-01-01T00:00:00Z",
};

/** A request, as the backend received it. */
export interface Sent {
  readonly method: string;
  readonly path: string;
  readonly url: string;
  readonly headers: Headers;
  readonly body: unknown;
  readonly init: RequestInit;
}

type Reply = Response | Error | (() => Response | Promise<Response>);

let backends = 0;

/** A backend with the replies of the test. */
export class FakeBackend {
  readonly sent: Sent[] = [];
  // One per test, since listeners of an earlier test's page remain.
  readonly endpoint = `http://localhost:3000/kombo-${(backends += 1)}`;
  private readonly replies = new Map<string, Reply[]>();

  constructor() {
    this.on("POST links", () => json(200, { link: LINK, expires_at: "2099-01-01T00:00:00Z" }));
    this.on("POST completions", () => json(201, { integration: PERSONIO }));
    this.on("GET integrations", () => json(200, { integrations: [PERSONIO] }));
  }

  /** Set the replies to a request, in their order. The last one is repeated. */
  on(call: string, ...replies: Reply[]): this {
    this.replies.set(call, replies);
    return this;
  }

  readonly fetch: Fetch = async (url, init) => {
    const path = url.startsWith(this.endpoint) ? url.slice(this.endpoint.length + 1) : url;
    const method = init.method ?? "GET";
    const body: unknown = typeof init.body === "string" ? JSON.parse(init.body) : undefined;
    this.sent.push({ method, path, url, init, body, headers: new Headers(init.headers) });
    const replies = this.replies.get(`${method} ${path}`) ?? [];
    const reply = replies.length > 1 ? replies.shift() : replies[0];
    if (reply === undefined) return problem(404, "integration_not_found");
    if (reply instanceof Error) throw reply;
    return typeof reply === "function" ? reply() : reply.clone();
  };

  /** The requests, as "POST links". */
  get calls(): string[] {
    return this.sent.map(({ method, path }) => `${method} ${path}`);
  }

  count(call: string): number {
    return this.calls.filter((made) => made === call).length;
  }

  last(call: string): Sent {
    const found = this.sent.filter(({ method, path }) => `${method} ${path}` === call).at(-1);
    if (!found) throw new Error(`the backend never received ${call}, only: ${this.calls.join(", ")}`);
    return found;
  }
}

export const json = (status: number, body: unknown, headers: HeadersInit = {}): Response =>
  new Response(JSON.stringify(body), {
    status,
    headers: { "Content-Type": "application/json", ...Object.fromEntries(new Headers(headers)) },
  });

export const problem = (
  status: number,
  code: string,
  more: object = {},
  headers: HeadersInit = {},
): Response =>
  json(
    status,
    { type: "about:blank", title: "A title", status, detail: "A detail.", code, ...more },
    headers,
  );

/** A reply that never arrives. */
export const silence = (): Promise<Response> => new Promise(() => {});

/** What `fetch` rejects with if the network fails. */
export const unreachable = new TypeError("Failed to fetch");

/** A fake of Kombo's SDK: each dialog is open until the test ends it. */
export class FakeSdk {
  readonly opened: { link: string; container: HTMLElement | undefined }[] = [];
  private settle: { resolve(token: string | null | undefined): void; reject(error: Error): void } | undefined;

  readonly show: ShowKomboConnect = (link, options) => {
    this.opened.push({ link, container: options?.container });
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
  };

  async finish(token: string | null | undefined = TOKEN): Promise<void> {
    await this.open();
    this.settle?.resolve(token);
    await settled();
  }

  async fail(name: string, message = "as the SDK says"): Promise<void> {
    await this.open();
    this.settle?.reject(Object.assign(new Error(message), { name }));
    await settled();
  }

  async open(): Promise<void> {
    await settled();
    if (!this.settle) throw new Error("the dialog is not open");
  }
}

/** An end user who finishes at once. */
export const finishing: ShowKomboConnect = () => Promise.resolve(TOKEN);

let days = 0;

/** A clock that the test advances. Each one starts on another day. */
export class FakeClock implements Clock {
  private time = Date.UTC(2026, 0, (days += 1));
  private timers: { at: number; act: () => void }[] = [];

  now = (): number => this.time;

  after = (milliseconds: number, act: () => void): (() => void) => {
    const timer = { at: this.time + milliseconds, act };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  };

  /** The number of timers that have not fired. */
  get waiting(): number {
    return this.timers.length;
  }

  async advance(milliseconds: number): Promise<void> {
    const end = this.time + milliseconds;
    await settled();
    for (let next = this.due(end); next; next = this.due(end)) {
      this.time = next.at;
      this.timers = this.timers.filter((timer) => timer !== next);
      next.act();
      await settled();
    }
    this.time = end;
  }

  private due(end: number): { at: number; act: () => void } | undefined {
    return this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
  }
}

/** A sessionStorage that a reload does not empty. */
export class FakeStorage {
  readonly items = new Map<string, string>();
  getItem = (key: string): string | null => this.items.get(key) ?? null;
  setItem = (key: string, value: string): void => void this.items.set(key, value);
  removeItem = (key: string): void => void this.items.delete(key);
}

/** The storage of some private windows. */
export const forbiddenStorage = {
  getItem: (): never => forbid(),
  setItem: (): never => forbid(),
  removeItem: (): never => forbid(),
};

function forbid(): never {
  throw new DOMException("The operation is insecure.", "SecurityError");
}

/** Resolve after all pending promises and microtasks have settled. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** The state that the copies of the module share in a page. */
export const PAGE_STATE = Symbol.for("kombo-embed.page.v1");

/** Everything that surrounds the module in a page that was just loaded. */
export function page(): {
  backend: FakeBackend;
  sdk: FakeSdk;
  clock: FakeClock;
  storage: FakeStorage;
  options: {
    endpoint: string;
    fetch: Fetch;
    showKomboConnect: ShowKomboConnect;
    clock: Clock;
    storage: FakeStorage;
  };
} {
  Reflect.deleteProperty(globalThis, PAGE_STATE);
  const [backend, sdk, clock, storage] = [
    new FakeBackend(),
    new FakeSdk(),
    new FakeClock(),
    new FakeStorage(),
  ];
  const { endpoint, fetch } = backend;
  return {
    backend,
    sdk,
    clock,
    storage,
    options: { endpoint, fetch, clock, storage, showKomboConnect: sdk.show },
  };
}
