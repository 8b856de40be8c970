// The types of the public functions: their options and results.

/** A kind of tool. The backend decides which of them are allowed. */
export type Category = "HRIS" | "ATS" | "ASSESSMENT" | "LMS";

/** A value of a list that Kombo may extend: editors complete the known ones, the compiler accepts any string. */
type Open<Known extends string> = Known | (string & Record<never, never>);

/** What an integration needs next. */
export type NextAction = "none" | "enable" | "reconnect" | "finish_setup" | "wait_for_sync" | "pending";

/** What an end user may do with an integration, beside the flows. */
export type IntegrationAction = "disconnect";

/** A customer's connected tool, as the backend returns it. */
export interface Integration {
  /** The public id: random, ours, safe to show. Kombo's own id never reaches the browser. */
  readonly id: string;
  readonly tool: string;
  /** The tool's name, such as "HiBob". Null until Kombo has reported it. */
  readonly tool_label?: string | null;
  readonly logo_url?: string | null;
  readonly category: Open<Category> | null;
  readonly organization_name: string | null;
  /** Null until Kombo has reported it. */
  readonly status: Open<"ACTIVE" | "INVALID" | "INACTIVE"> | null;
  /** Null until Kombo has reported it. A connected tool need not be set up: the first sync can take hours. */
  readonly setup_status: Open<"INCOMPLETE" | "FINAL_SYNC_PENDING" | "COMPLETED"> | null;
  readonly next_action: Open<NextAction>;
  /** UTC, RFC 3339. */
  readonly connected_at: string;
  /** UTC, RFC 3339. */
  readonly updated_at: string;
}

/** The end user finished, and the backend recorded it. `first` is false if it was recorded before. */
export interface Connected {
  readonly status: "connected";
  readonly integration: Integration;
  readonly first: boolean;
}

/**
 * The end user finished, but Kombo's page sent no activation token, so nothing could be recorded yet. The backend
 * learns of the integration by webhook, and `watch` then reports it.
 */
export interface Finished {
  readonly status: "finished";
}

/** The end user closed the dialog. This is not an error. */
export interface Cancelled {
  readonly status: "cancelled";
}

/** This customer has the tool already, so no dialog was opened. Offer to renew its credentials instead. */
export interface AlreadyConnected {
  readonly status: "already_connected";
  readonly integration: Integration;
  /** Run the flow that renews the credentials of `integration`, with the options of the first call. */
  reconnect(overrides?: FlowOptions): Promise<FlowResult>;
}

/** The phase of a flow: the link is requested, the dialog is open, the completion is recorded. */
export type Phase = "loading" | "open" | "recording";

/** The result of a flow for an existing integration. */
export type FlowResult = Connected | Finished | Cancelled;

/** The result of `connect`. Everything else is thrown as a `KomboEmbedError`. */
export type ConnectResult = FlowResult | AlreadyConnected;

/** Headers for the backend, or a function that is called before every request, so that it can renew them. */
export type HeadersSource = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

/** The function of Kombo's SDK that is used. It resolves with the activation token. */
export type ShowKomboConnect = (
  link: string,
  options?: { container?: HTMLElement },
) => Promise<string | null | undefined>;

/** The part of `fetch` that is used. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** A source of time, which tests replace. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Call `act` after `milliseconds`. Return a function that cancels it. */
  after(milliseconds: number, act: () => void): () => void;
}

/** How to reach the backend. */
export interface BackendOptions {
  /**
   * Where the backend is mounted, such as "/kombo" or "https://api.example.com/kombo". Default: the folder that this
   * module was served from, or "/kombo" if it is part of another bundle.
   */
  readonly endpoint?: string | undefined;
  /** Headers of every request: a bearer token, if the session is not a cookie. */
  readonly headers?: HeadersSource | undefined;
  /**
   * Whether to send cookies, as in `fetch`. Default: "same-origin" for the page's own origin, "include" for another.
   * Use "omit" with a bearer token if no cookie is needed.
   */
  readonly credentials?: RequestCredentials | undefined;
  /**
   * Ends the wait: the call rejects with `aborted`. Before the dialog is open, the request is aborted too. An open
   * dialog stays open, and its completion is still recorded.
   */
  readonly signal?: AbortSignal | undefined;
  /** A replacement of the browser's `fetch`. */
  readonly fetch?: Fetch | undefined;
  /** A replacement of `sessionStorage`, which keeps an activation token until the backend has responded. */
  readonly storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | undefined;
  /** A replacement of the browser's clock and timers. */
  readonly clock?: Clock | undefined;
}

/** The options of any flow. */
export interface FlowOptions extends BackendOptions {
  /** The language of Kombo's page: "en", "de", "fr", "it", "es". */
  readonly language?: string | undefined;
  /** Whether to request a new link instead of the cached one. */
  readonly fresh?: boolean | undefined;
  /**
   * The element that contains the dialog in the document. The dialog covers the page from wherever it is. Default: the
   * body.
   */
  readonly container?: HTMLElement | undefined;
  /** The dialog's name for screen readers. Default: "Connect your HR tool", in the language of the dialog. */
  readonly title?: string | undefined;
  /** Called with each phase of the flow. The promise settles with its outcome. */
  readonly onPhase?: ((phase: Phase) => void) | undefined;
  /** A replacement of Kombo's SDK. */
  readonly showKomboConnect?: ShowKomboConnect | undefined;
}

/** The options of `connect`. */
export interface ConnectOptions extends FlowOptions {
  /** Default: the backend's setting. */
  readonly category?: Category | undefined;
  /** Kombo's id of a tool, such as "personio". Its form opens at once, without the list of tools. */
  readonly tool?: string | undefined;
}
