// A page as the README describes it: it connects on a click and lists the integrations.
import * as kombo from "/kombo/kombo-embed.js";

const say = (text) => (document.querySelector("output").textContent = text);

window.kombo = kombo;
window.run = (flow) =>
  flow.then(
    (result) => (say(result.status), result),
    (error) => say(error.code),
  );
window.options = {};

document.querySelector("#connect").addEventListener("click", () => run(kombo.connect(window.options)));
kombo.watch(
  (integrations) => {
    const items = integrations.map(({ tool }) => Object.assign(document.createElement("li"), { textContent: tool }));
    document.querySelector("ul").replaceChildren(...items);
  },
  { intervalSeconds: 0.5, intervalAfterFlowSeconds: 0.2 },
);
