// What the served module shares with the second one, beside the public names, so that each keeps its size. Not for pages: it
// may change at any time.
import { adoptStyles, BaseElement, createElement, define, reflect, upgrade } from "./html.js";
import { entriesOf, search } from "./list/entries.js";
import { drawLogo } from "./list/logo.js";
import { explain, textsFor, toolName } from "./texts.js";

// A plain object: a namespace would cost a helper function.
export const internals = {
  adoptStyles,
  BaseElement,
  createElement,
  define,
  drawLogo,
  entriesOf,
  explain,
  reflect,
  search,
  textsFor,
  toolName,
  upgrade,
};
