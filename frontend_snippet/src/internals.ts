// What the served module shares with the second one, beside the public names, so that each keeps its size. Not for pages: it
// may change at any time.
export { adoptStyles, BaseElement, createElement, define, reflect, upgrade } from "./html.js";
export { entriesOf, search } from "./list/entries.js";
export { drawLogo } from "./list/logo.js";
export { explain, textsFor, toolName } from "./texts.js";
