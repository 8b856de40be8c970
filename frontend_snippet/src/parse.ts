// Parsing of untrusted input: each response of the backend, and each message of a frame, passes through here.
import { KomboEmbedError } from "./errors.js";
import type { FieldError } from "./errors.js";
import type { Integration } from "./types.js";

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

type Fields = Readonly<Record<string, unknown>>;

/** Return the fields of a JSON object; none for any other value. */
export function parseFields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

/** Return `text` as a URL, or undefined if it is none. */
export function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

function parseText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/**
 * Return the link of a `/links` response.
 *
 * A string that is no URL would leave Kombo's SDK "already open" for the life of the page, so it is rejected here.
 */
export function parseLink(body: unknown): string {
  const link = parseText(parseFields(body)["link"]);
  if (!link) throw missing("link");
  if (!isSafe(link)) throw new KomboEmbedError("invalid_link", { detail: "The link cannot be opened." });
  return link;
}

/** Return Kombo's origin of the response to a prefetch, or undefined if it has none. */
export function parseLinkOrigin(body: unknown): string | undefined {
  const origin = parseText(parseFields(body)["link_origin"]);
  return origin && isSafe(origin) ? origin : undefined;
}

/** Plain http is for the local sandbox: on this machine, or, for a page that is itself on plain http, beside it. */
function isSafe(address: string): boolean {
  const { protocol, hostname } = parseUrl(address) ?? {};
  if (!hostname || protocol !== "http:") return protocol === "https:";
  const isPlainPage = location.protocol === "http:" && !LOOPBACK.includes(location.hostname);
  return LOOPBACK.includes(hostname) || isPlainPage;
}

/** Return the integration of a response that contains one. */
export function parseIntegration(body: unknown): Integration {
  const integration = findIntegration(body);
  if (!integration) throw missing("integration");
  return integration;
}

/** A page of the list of integrations. Backends before version 0.2 send neither a cursor nor actions. */
export interface IntegrationsPage {
  readonly integrations: Integration[];
  readonly nextCursor: string | undefined;
  readonly actions: readonly string[];
}

/** Return the page of an `/integrations` response. */
export function parseIntegrations(body: unknown): IntegrationsPage {
  const { integrations, next_cursor: cursor, actions } = parseFields(body);
  if (!Array.isArray(integrations) || !integrations.every(isIntegration))
    throw missing("list of integrations");
  return {
    integrations,
    nextCursor: parseText(cursor),
    actions: Array.isArray(actions) ? actions.filter((action) => typeof action === "string") : [],
  };
}

/** Return the error that a problem document, or any other failed response, describes. */
export function parseProblem({ status, headers }: Response, body: unknown, now: number): KomboEmbedError {
  const { code, detail, title, errors } = parseFields(body);
  return new KomboEmbedError(parseText(code) ?? "invalid_response", {
    detail: parseText(detail) ?? parseText(title) ?? `The backend answered ${status}.`,
    status,
    retryAfter: parseRetryAfter(headers.get("Retry-After"), now),
    errors: parseFieldErrors(errors),
    integration: findIntegration(body),
  });
}

/** Return the seconds from now. HTTP allows a number of seconds or a date. */
function parseRetryAfter(value: string | null, now: number): number | undefined {
  if (!value) return undefined;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - now) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : undefined;
}

function parseFieldErrors(value: unknown): FieldError[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.map(parseFields).map(({ field, reason }) => ({
    field: parseText(field) ?? "",
    reason: parseText(reason) ?? "",
  }));
}

function findIntegration(body: unknown): Integration | undefined {
  const { integration } = parseFields(body);
  return isIntegration(integration) ? integration : undefined;
}

function isIntegration(value: unknown): value is Integration {
  const { id, tool } = parseFields(value);
  return Boolean(parseText(id) && parseText(tool));
}

function missing(what: string): KomboEmbedError {
  return new KomboEmbedError("invalid_response", { detail: `The response has no ${what}.` });
}
