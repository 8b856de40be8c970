// What `GET {mount}/kombo-embed.js` holds: for pages without a build, the element too.
export * from "./index.js";
export { KomboConnectButton } from "./element.js";
