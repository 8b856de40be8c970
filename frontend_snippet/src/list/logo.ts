// A tool's logo, or a tile with its initials: the colours and initials of the local sandbox's tiles.
import { createElement } from "../html.js";
import type { Entry } from "./entries.js";

// White text on each of these has a contrast of at least 4.5 to 1.
const COLOURS = "b4235a a3341f 8a4b08 5b6207 2b6b2f 0f6b5c 0b6680 1f5fa8 4450c4 6a43c0 8b359f 5a5f6d".split(
  " ",
);

/** Return the logo of an entry. Without one, or if it cannot be loaded, its initials. */
export function drawLogo({ name, integration }: Entry): HTMLElement {
  const tile = createElement("span", { part: "logo", "aria-hidden": "true" }, initials(name));
  tile.style.background = colourOf(integration.tool);
  const { logo_url: address } = integration;
  if (!address || !/^(https?:)?\//i.test(address)) return tile;
  const image = createElement("img", { part: "logo", alt: "", loading: "lazy", src: address });
  image.addEventListener("error", () => image.replaceWith(tile), { once: true });
  return image;
}

/** Return one or two letters: of the first two words, of a name's humps, or the first two letters. */
export function initials(name: string): string {
  const [first = "?", second] = name.match(/[\p{L}\p{N}]+/gu) ?? [];
  const other = second ?? /(?<=[a-z])[A-Z]/.exec(first)?.[0];
  return other
    ? (first.charAt(0) + other.charAt(0)).toUpperCase()
    : first.charAt(0).toUpperCase() + first.slice(1, 2);
}

/** Spread the ids over all colours, in the same way as the sandbox. */
function colourOf(tool: string): string {
  let hash = 0;
  for (const letter of tool) hash = (hash * 31 + letter.charCodeAt(0)) % 9973;
  return `#${COLOURS[hash % COLOURS.length] ?? ""}`;
}
