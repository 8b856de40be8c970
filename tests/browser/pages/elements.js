// The elements are in the page before their class is defined. A page may set their properties even then.
const events = [];
window.events = events;
for (const name of ["connected", "finished", "cancelled", "already-connected", "failed"]) {
  document.addEventListener(`kombo-${name}`, ({ type, target, detail }) => {
    events.push(`${target.id} ${type}`);
    document.querySelector("output").textContent = detail.integration?.tool ?? detail.status ?? detail.code;
  });
}
document.querySelector("#third").tool = "hibob";
window.define = () => import("/kombo/kombo-embed.js").then((kombo) => (window.kombo = kombo));
