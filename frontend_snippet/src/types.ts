// The words that a page and this module share: what goes in, what comes out.

/** A kind of tool. The backend decides which of them are allowed. */
export type Category = "HRIS" | "ATS" | "ASSESSMENT" | "LMS";

/** Kombo's word from a closed list that may grow: the known ones complete in an editor, any other passes. */
type Open<Known extends string> = Known | (string & Record<never, never>);

/** What an integration needs from a person next, if anything. */
export type NextAction = "none" | "enable" | "reconnect" | "finish_setup" | "wait_for_sync";

/** A customer's connected tool, as the backend tells it. */
export interface Integration {
  /** The public id: random, ours, safe to show. Kombo's own id never reaches the browser. */
  readonly id: string;
  readonly tool: string;
  readonly category: Open<Category> | null;
  readonly organization_name: string | null;
  /** Null until Kombo has told. */
  readonly status: Open<"ACTIVE" | "INVALID" | "INACTIVE"> | null;
  /** Null until Kombo has told. Connected does not mean set up: the first sync can take hours. */
  readonly setup_status: Open<"INCOMPLETE" | "FINAL_SYNC_PENDING" | "COMPLETED"> | null;
  readonly next_action: Open<NextAction>;
  /** UTC, RFC 3339. */
  readonly connected_at: string;
  /** UTC, RFC 3339. */
  readonly updated_at: string;
}

/** The end user finished, and the backend has recorded it. `first` is false when it knew already. */
export interface Connected {
  readonly status: "connected";
  readonly integration: Integration;
  readonly first: boolean;
}

/**
 * The end user finished, but Kombo's page gave no activation token to record it with. The backend learns of
 * it by webhook; `watch` shows it when it does.
 */
export interface Finished {
  readonly status: "finished";
}

/** The end user closed the dialog. Nothing went wrong. */
export interface Cancelled {
  readonly status: "cancelled";
}

/** This customer has the tool already: nothing was opened. Offer to renew its credentials instead. */
export interface AlreadyConnected {
  readonly status: "already_connected";
  readonly integration: Integration;
  /** Runs the flow that renews the credentials of `integration`, with the options of the first call. */
  reconnect(overrides?: FlowOptions): Promise<FlowResult>;
}

/** How far a flow is: the link is being asked for, the dialog is open, the backend is being told. */
export type Phase = "loading" | "open" | "recording";

/** How a flow over an integration that exists can end. */
export type FlowResult = Connected | Finished | Cancelled;

/** How `connect` can end. Everything else is thrown as a `KomboEmbedError`. */
export type ConnectResult = FlowResult | AlreadyConnected;

/** Headers for the backend, or a function that is asked before every request (so that it can renew them). */
export type HeadersSource = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

/** The part of Kombo's SDK that is used. It resolves with the activation token. */
export type ShowKomboConnect = (
  link: string,
  options?: { container?: HTMLElement },
) => Promise<string | null | undefined>;

/** The part of `fetch` that is used. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Where time comes from; a test passes its own. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls `act` after `milliseconds`; the answer cancels it. */
  after(milliseconds: number, act: () => void): () => void;
}

/** How the backend is reached. */
export interface BackendOptions {
  /**
   * Where the backend is mounted, such as "/kombo" or "https://api.example.com/kombo". Default: the folder
   * that this module was served from, or "/kombo" when it is part of another bundle.
   */
  readonly endpoint?: string | undefined;
  /** Sent with every request: a bearer token, where the session is not a cookie. */
  readonly headers?: HeadersSource | undefined;
  /**
   * Whether cookies travel, as `fetch` has it. Default: "same-origin" for the page's own origin, "include" for
   * another. With a bearer token "omit" says that no cookie is needed.
   */
  readonly credentials?: RequestCredentials | undefined;
  /**
   * Gives up waiting. Before the dialog is open the request ends too; an open dialog cannot be closed from
   * here, so the caller is told `aborted` and the flow goes on: what the end user finishes is still recorded.
   */
  readonly signal?: AbortSignal | undefined;
  /** In place of the browser's `fetch`. */
  readonly fetch?: Fetch | undefined;
  /** In place of `sessionStorage`, which remembers an activation token until the backend has answered. */
  readonly storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | undefined;
  /** In place of the browser's clock and timers. */
  readonly clock?: Clock | undefined;
}

/** What any flow takes. */
export interface FlowOptions extends BackendOptions {
  /** Of Kombo's page: "en", "de", "fr", "it", "es". */
  readonly language?: string | undefined;
  /** Asks for a new link instead of the one that the backend has cached. */
  readonly fresh?: boolean | undefined;
  /**
   * The element that gets the dialog; for pages whose own dialog keeps the focus inside. Default: the modal
   * `<dialog>` that has the focus, if one does, else the body.
   */
  readonly container?: HTMLElement | undefined;
  /** What a screen reader calls the dialog. Default: "Connect your HR tool", in the language of the dialog. */
  readonly title?: string | undefined;
  /** Told how far the flow is; how it ends is what the promise says. */
  readonly onPhase?: ((phase: Phase) => void) | undefined;
  /** In place of Kombo's SDK. */
  readonly showKomboConnect?: ShowKomboConnect | undefined;
}

/** What `connect` takes. */
export interface ConnectOptions extends FlowOptions {
  /** Default: what the backend is set to. */
  readonly category?: Category | undefined;
  /** Kombo's id of a tool, such as "personio": its form opens at once, without the list of tools. */
  readonly tool?: string | undefined;
}
