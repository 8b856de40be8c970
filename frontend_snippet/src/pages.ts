// The list of integrations, read page by page. A page that did not change (304) is not sent again.
import type { Backend } from "./backend.js";
import { parseIntegrations } from "./parse.js";
import type { IntegrationsPage } from "./parse.js";
import type { Integration } from "./types.js";

// A backend that never ends its list would be read for ever.
const MAX_PAGES = 100;

/** All integrations, and what the end user may do with them. */
export interface IntegrationList {
  readonly integrations: Integration[];
  readonly actions: readonly string[];
}

interface KnownPage {
  readonly path: string;
  readonly etag: string | undefined;
  readonly page: IntegrationsPage;
}

/** Reads the whole list, and remembers its pages. */
export class PageReader {
  #known: readonly KnownPage[] = [];

  /** Return the list, or undefined if the backend reports every page as unchanged. */
  async read(backend: Backend, signal: AbortSignal | undefined): Promise<IntegrationList | undefined> {
    const pages: KnownPage[] = [];
    for (let path: string | undefined = "integrations"; path && pages.length < MAX_PAGES;) {
      const page = await this.#readPage(backend, path, signal);
      pages.push(page);
      const { nextCursor } = page.page;
      path = nextCursor && `integrations?cursor=${encodeURIComponent(nextCursor)}`;
    }
    const before = this.#known;
    this.#known = pages;
    if (pages.length === before.length && pages.every((page, place) => page === before[place]))
      return undefined;
    return {
      integrations: pages.flatMap(({ page }) => page.integrations),
      actions: pages[0]?.page.actions ?? [],
    };
  }

  async #readPage(backend: Backend, path: string, signal: AbortSignal | undefined): Promise<KnownPage> {
    const known = this.#known.find((page) => page.path === path);
    const { status, body, etag } = await backend.send({ method: "GET", path, etag: known?.etag, signal });
    return known && status === 304 ? known : { path, etag, page: parseIntegrations(body) };
  }
}
