// What the page does with the buttons' events; connecting itself needs none of it.
import { watch } from "/kombo/kombo-embed.js";

const say = (text) =>
  (document.querySelector("[role=status]").textContent = text);

document.addEventListener("kombo-connected", ({ detail }) =>
  say(`${detail.integration.tool} is connected.`),
);
document.addEventListener("kombo-finished", () =>
  say("Done. It appears below in a moment."),
);
document.addEventListener("kombo-cancelled", () =>
  say("You closed the dialog; nothing was changed."),
);
document.addEventListener("kombo-failed", ({ detail }) => say(detail.detail)); // detail.code is for programs

watch((integrations) => {
  const items = integrations.map(({ tool }) =>
    Object.assign(document.createElement("li"), { textContent: tool }),
  );
  document.querySelector("ul").replaceChildren(...items);
});
