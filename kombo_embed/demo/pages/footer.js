// The footer: this is a demo, and links to what is behind it.
import { element } from "./element.js";

/** Fills the page's footer. */
export function showFooter({ sandbox_url: sandboxUrl, console_url: consoleUrl }) {
  document
    .getElementById("footer")
    .append(
      element(
        "p",
        {},
        "This is a demo: Fieldnotes and its people are made up. ",
        ...(sandboxUrl
          ? [
              "A local sandbox stands in for Kombo; ",
              element("a", { href: sandboxUrl + "/" }, "see its API calls"),
              ". ",
            ]
          : ["It uses the real Kombo. "]),
        ...(consoleUrl
          ? [
              "What the support team of Fieldnotes sees is in ",
              element("a", { href: consoleUrl }, "its console"),
              ". ",
            ]
          : []),
        "The code is in ",
        element("code", {}, "kombo_embed/demo"),
        ".",
      ),
    );
}
