// One error class with a stable code. Neither its text nor its fields ever hold a link or a token.
import type { Integration } from "./types.js";

/** Codes of the backend's problem documents (DESIGN: section "HTTP surface"). */
export type ProblemCode =
  | "unauthenticated"
  | "forbidden"
  | "cross_origin"
  | "identity_error"
  | "identity_unavailable"
  | "invalid_request"
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

/** Codes of this module. */
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

/** A field that the backend refused, and why. */
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

/** Whatever went wrong, for the program in `code` and for a person in `detail`. */
export class KomboEmbedError extends Error {
  override readonly name = "KomboEmbedError";
  readonly code: ProblemCode | OwnCode | (string & Record<never, never>);
  readonly detail!: string;
  /** The HTTP status, where the backend answered. */
  readonly status: number | undefined;
  /** Seconds until it is worth trying again, where the backend said so. */
  readonly retryAfter: number | undefined;
  /** The fields that were refused, with `invalid_request`. */
  readonly errors: readonly FieldError[] | undefined;
  /** The integration that stands in the way, with `already_connected`. */
  readonly integration: Integration | undefined;

  constructor(code: KomboEmbedError["code"], { cause, ...details }: ErrorDetails) {
    super(details.detail, cause === undefined ? undefined : { cause });
    this.code = code;
    Object.assign(this, details);
  }
}

/** Tells that the caller's signal ended the wait. */
export function aborted(): KomboEmbedError {
  return new KomboEmbedError("aborted", { detail: "The caller gave up." });
}
