// Says that this is a demo, and where to look behind it.
import { element } from "./element.js";

/** Fills the page's footer. */
export function showFooter({ sandbox_url: sandboxUrl }) {
  document
    .getElementById("footer")
    .append(
      element(
        "p",
        {},
        "This is a demo: Fieldnotes and its people are made up. ",
        ...(sandboxUrl
          ? [
              "Kombo is played by a local sandbox; ",
              element("a", { href: sandboxUrl + "/" }, "see what it was asked"),
              ". ",
            ]
          : ["It talks to the real Kombo. "]),
        "The code is in ",
        element("code", {}, "kombo_embed/demo"),
        ".",
      ),
    );
}
