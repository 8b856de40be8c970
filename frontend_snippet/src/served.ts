// The module of `GET {mount}/kombo-embed.js`: the public names and, for pages without a build, the element.
export * from "./index.js";
export { KomboConnectButton } from "./element.js";
export { internals } from "./internals.js";
