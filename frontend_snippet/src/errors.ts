// The one error class. Neither its message nor its fields contain a link or a token.
import { explain } from "./texts.js";
import type { Integration } from "./types.js";

/** A code of the backend's problem documents (docs/errors.md). */
export type ProblemCode =
  | "unauthenticated"
  | "forbidden"
  | "cross_origin"
  | "identity_error"
  | "identity_unavailable"
  | "invalid_request"
  | "body_too_slow"
  | "already_connected"
  | "setup_not_available"
  | "integration_not_found"
  | "activation_rejected"
  | "rate_limited"
  | "store_unavailable"
  | "kombo_rate_limited"
  | "kombo_unavailable"
  | "kombo_timeout"
  | "kombo_rejected"
  | "kombo_invalid_response";

/** A code of this module. */
export type OwnCode =
  | "network"
  | "invalid_link"
  | "invalid_response"
  | "already_open"
  | "aborted"
  | "headers_failed"
  | "dialog_failed"
  | "dialog_blocked"
  | "dialog_timeout";

/** A field that the backend rejected, and the reason. */
export interface FieldError {
  readonly field: string;
  readonly reason: string;
}

interface ErrorDetails {
  readonly detail: string;
  readonly status?: number | undefined;
  readonly retryAfter?: number | undefined;
  readonly errors?: readonly FieldError[] | undefined;
  readonly integration?: Integration | undefined;
  readonly cause?: unknown;
}

/** A failure: `code` is for programs, `detail` for end users in the page's language, `message` for developers. */
export class KomboEmbedError extends Error {
  override readonly name = "KomboEmbedError";
  readonly code: ProblemCode | OwnCode | (string & Record<never, never>);
  readonly detail!: string;
  /** The HTTP status, if the backend responded. */
  readonly status: number | undefined;
  /** Seconds to wait before another attempt, if the backend sent `Retry-After`. */
  readonly retryAfter: number | undefined;
  /** The rejected fields, with `invalid_request`. */
  readonly errors: readonly FieldError[] | undefined;
  /** The existing integration, with `already_connected`. */
  readonly integration: Integration | undefined;

  constructor(code: KomboEmbedError["code"], details: ErrorDetails) {
    super(details.detail, details);
    this.code = code;
    Object.assign(this, details, { detail: explain({ code, ...details }) });
  }

  /** Recognize the errors of another copy of this module too: a joined flow may reject with one. */
  static override [Symbol.hasInstance](value: unknown): value is KomboEmbedError {
    return value instanceof Error && value.name === "KomboEmbedError";
  }
}

/** Return the error of a call whose `signal` was aborted. */
export function aborted(): KomboEmbedError {
  return new KomboEmbedError("aborted", { detail: "The caller aborted." });
}

/** Return the error of a call that needs the dialog while another flow uses it. */
export function alreadyOpen(): KomboEmbedError {
  return new KomboEmbedError("already_open", { detail: "Another flow is open." });
}
