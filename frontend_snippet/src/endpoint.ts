// Where the backend is.

const SERVED_AS = "/kombo-embed.js";
const USUAL_MOUNT = "/kombo";

/**
 * The folder that the backend served `moduleUrl` from. In a bundle of the host's the address says nothing
 * about the backend, so only our own file name is believed.
 */
export function endpointOf(moduleUrl: string): string {
  if (!/^https?:/.test(moduleUrl)) return USUAL_MOUNT;
  const { origin, pathname } = new URL(moduleUrl);
  return pathname.endsWith(SERVED_AS) ? origin + pathname.slice(0, -SERVED_AS.length) : USUAL_MOUNT;
}

/** The endpoint as an absolute address without a slash at its end: one spelling for one backend. */
export function resolveEndpoint(endpoint: string = endpointOf(import.meta.url)): string {
  const { origin, pathname } = new URL(endpoint, document.baseURI);
  return origin + pathname.replace(/\/+$/, "");
}
