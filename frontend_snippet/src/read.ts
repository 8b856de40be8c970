// What comes from outside is read here, once, before anything believes it.
import { KomboEmbedError } from "./errors.js";
import type { FieldError } from "./errors.js";
import type { Integration } from "./types.js";

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

type Fields = Readonly<Record<string, unknown>>;

/** The fields of a JSON object; of anything else, none. */
export function readFields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

/** The address that `text` spells, if it spells one. */
export function readUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

function readText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/**
 * The link of a `/links` answer. Kombo's SDK stays "already open" for the life of the page once it was given
 * something that is no URL, so it never gets one unread.
 */
export function readLink(body: unknown): string {
  const link = readText(readFields(body)["link"]);
  if (link === undefined) throw unreadable("The backend answered without a link.");
  const url = readUrl(link);
  const safe = url?.protocol === "https:" || (url?.protocol === "http:" && LOOPBACK.has(url.hostname));
  if (!safe) throw new KomboEmbedError("invalid_link", { detail: "The backend's link cannot be opened." });
  return link;
}

/** The integration of an answer that is about one. */
export function readIntegration(body: unknown): Integration {
  const integration = findIntegration(body);
  if (!integration) throw unreadable("The backend answered without an integration.");
  return integration;
}

/** The list of a `/integrations` answer. */
export function readIntegrations(body: unknown): Integration[] {
  const list = readFields(body)["integrations"];
  if (!Array.isArray(list) || !list.every(isIntegration)) {
    throw unreadable("The backend answered without a list of integrations.");
  }
  return list;
}

/** The error that a problem document, or any other refusal, stands for. */
export function readProblem(response: Response, body: unknown, now: number): KomboEmbedError {
  const problem = readFields(body);
  const status = response.status;
  return new KomboEmbedError(readText(problem["code"]) ?? "invalid_response", {
    detail: readText(problem["detail"]) ?? readText(problem["title"]) ?? `The backend answered ${status}.`,
    status,
    retryAfter: readRetryAfter(response.headers.get("Retry-After"), now),
    errors: readFieldErrors(problem["errors"]),
    integration: findIntegration(body),
  });
}

/** Seconds from now, of either form that HTTP allows: a number of seconds or a date. */
function readRetryAfter(value: string | null, now: number): number | undefined {
  if (!value) return undefined;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - now) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : undefined;
}

function readFieldErrors(value: unknown): FieldError[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.map(readFields).map(({ field, reason }) => ({
    field: readText(field) ?? "",
    reason: readText(reason) ?? "",
  }));
}

function findIntegration(body: unknown): Integration | undefined {
  const integration = readFields(body)["integration"];
  return isIntegration(integration) ? integration : undefined;
}

function isIntegration(value: unknown): value is Integration {
  const { id, tool } = readFields(value);
  return readText(id) !== undefined && readText(tool) !== undefined;
}

function unreadable(detail: string): KomboEmbedError {
  return new KomboEmbedError("invalid_response", { detail });
}
