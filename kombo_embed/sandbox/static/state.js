/** Renders the sandbox's state, keeps it up to date, and connects the page's controls. */
import { control, onControlled, showTrouble } from "./control.js";
import { element } from "./element.js";
import { renderRows } from "./rows.js";
import { callRow, deliveryRow, faultRow, integrationRow, linkRow, pendingRow, requestRow } from "./state_rows.js";

const REFRESH_MS = 1500;
const MAX_ROWS = 50;
const STOPPED = "The sandbox does not respond. It may have been stopped.";
const numbered = (item) => item.number;

async function refresh() {
  try {
    // One more than is shown, to know whether there are more.
    const response = await fetch(`/_sandbox/state?newest=${MAX_ROWS + 1}`);
    render(await response.json());
    if (document.getElementById("trouble").textContent === STOPPED) showTrouble("");
  } catch {
    showTrouble(STOPPED);
  }
}

function render(state) {
  document.getElementById("now").textContent = state.now.replace("T", " ").replace(/\.\d+Z$/, " UTC");
  const mode = document.getElementById("webhook-mode");
  if (document.activeElement !== mode) mode.value = state.settings.webhook_mode;
  fill("integrations", state.integrations, { key: (item) => item.id, draw: integrationRow });
  fill("links", state.links, { key: (item) => item.link, draw: linkRow });
  fill("requests", state.requests, { key: numbered, draw: requestRow });
  const deliveries = state.deliveries.map((delivery) => ({ ...delivery, about: about(delivery, state) }));
  fill("deliveries", deliveries, { key: (item) => item.id, draw: deliveryRow });
  renderRows(document.getElementById("calls"), Object.entries(state.calls), { key: ([name]) => name, draw: callRow });
  document.getElementById("counts").hidden = !state.requests.length;
  renderPending(state);
}

function fill(id, items, options) {
  const place = document.getElementById(id);
  if (!place.firstChild) place.append(element("ul"), element("p", { class: "empty" }));
  const [list, note] = place.children;
  renderRows(list, items.toReversed().slice(0, MAX_ROWS), options);
  const more = items.length > MAX_ROWS ? `Only the newest ${MAX_ROWS} are shown.` : "";
  const text = items.length ? more : place.dataset.empty;
  if (note.textContent !== text) note.textContent = text;
}

function renderPending({ faults, webhooks_to_lose: lost, webhooks_to_fail: failed }) {
  const list = document.getElementById("faults");
  renderRows(list, faults.map((fault, number) => ({ ...fault, number })), { key: numbered, draw: faultRow });
  document.querySelector("[data-act=clear]").hidden = !faults.length;
  const texts = [
    lost && (lost === 1 ? "The next webhook is lost." : `The next ${lost} webhooks are lost.`),
    failed && (failed === 1 ? "The next attempt fails." : `The next ${failed} attempts fail.`),
  ].filter(Boolean);
  renderRows(document.getElementById("pending-webhooks"), texts, { key: (text) => text, draw: pendingRow });
}

/** Returns what and whom a webhook is about: the tool and the organization. */
function about({ tool_label: tool, body: { data } }, { integrations }) {
  const known = integrations.find(({ id }) => id === (data.integration_id ?? data.id));
  const organization = (known ?? data).end_user?.organization_name;
  return [tool, organization].filter((part) => typeof part === "string").join(", ");
}

function setFault(event) {
  event.preventDefault();
  const { times, path, answer } = event.target.elements;
  const { retryAfter, seconds } = answer.selectedOptions[0].dataset;
  void control("faults", {
    mode: answer.value,
    path: path.value,
    times: Number(times.value),
    ...(retryAfter && { retry_after: Number(retryAfter) }),
    ...(seconds && { seconds: Number(seconds) }),
  });
}

function connectControls() {
  const acts = {
    hour: () => control("clock", { advance: 3600 }),
    reset: () => control("reset"),
    clear: () => control("faults", {}, "DELETE"),
    lose: () => control("webhooks/lose"),
    fail: () => control("webhooks/fail"),
  };
  for (const [act, run] of Object.entries(acts)) {
    document.querySelector(`[data-act=${act}]`).addEventListener("click", run);
  }
  document.getElementById("fault-form").addEventListener("submit", setFault);
  document.getElementById("webhook-mode").addEventListener("change", ({ target }) => {
    void control("settings", { webhook_mode: target.value });
  });
}

document.getElementById("api").textContent = `${location.origin}/v1`;
onControlled(refresh);
connectControls();
await refresh();
setInterval(() => document.hidden || void refresh(), REFRESH_MS);
