// The list as a page without a build has it; what it dispatches is written into the output.
import * as kombo from "/kombo/kombo-embed.js";
import "/kombo/kombo-integrations.js";

for (const name of ["connected", "finished", "cancelled", "failed", "disconnected"]) {
  document.addEventListener(`kombo-${name}`, ({ detail }) => {
    const { code, integration, status } = detail;
    document.querySelector("output").textContent = `${name}: ${integration?.tool ?? code ?? status}`;
  });
}
window.kombo = kombo;
