/** Renders the sandbox's state and keeps it up to date. */
import { element } from "./element.js";

const REFRESH_MS = 1500;
const MAX_ROWS = 20;
const GOOD = new Set(["ACTIVE", "delivered", "open"]);
const BAD = new Set(["INVALID", "failed", "expired", "dropped"]);

let rendered = "";

async function control(name, body = {}) {
  await fetch(`/_sandbox/${name}`, { method: "POST", body: JSON.stringify(body) });
  await refresh();
}

async function refresh() {
  const trouble = document.getElementById("trouble");
  try {
    const response = await fetch("/_sandbox/state");
    render(await response.json());
    trouble.hidden = true;
  } catch {
    trouble.hidden = false;
  }
}

function render(state) {
  const { now, ...rest } = state;
  document.getElementById("now").textContent = now.replace("T", " ").replace(/\.\d+Z$/, " UTC");
  // Without a change nothing is rendered, so that a focused button stays.
  const fresh = JSON.stringify(rest);
  if (fresh === rendered) return;
  rendered = fresh;
  fill("integrations", state.integrations.map(integrationRow), "No tool is connected yet.");
  fill("links", state.links.map(linkRow), "No link was minted yet.");
  fill("deliveries", state.deliveries.map(deliveryRow), "No webhook was sent yet.");
  fill("calls", Object.entries(state.calls).map(callRow), "The API was not called yet.");
}

function fill(id, rows, empty) {
  const list = rows.length
    ? element("ul", {}, ...rows.reverse().slice(0, MAX_ROWS))
    : element("p", { class: "empty" }, empty);
  document.getElementById(id).replaceChildren(list);
}

function row({ image, title, details, badge, action }) {
  return element(
    "li",
    {},
    image && element("img", { src: image, alt: "" }),
    element("span", { class: "what" }, element("strong", {}, title), element("span", { class: "muted" }, details)),
    badge && element("span", { class: `badge ${GOOD.has(badge) ? "good" : BAD.has(badge) ? "bad" : ""}` }, badge),
    action,
  );
}

function button(label, act) {
  return element("button", { class: "button secondary small", type: "button", onclick: () => void act() }, label);
}

function integrationRow(integration) {
  const valid = integration.status !== "INVALID";
  const change = { integration_id: integration.id, state: valid ? "INVALID" : "ACTIVE" };
  const setup = integration.setup_status !== "COMPLETED" && `setup ${integration.setup_status}`;
  return row({
    image: `/assets/tools/${encodeURIComponent(integration.tool)}.svg`,
    title: `${integration.tool_label}, ${integration.category}`,
    details: [integration.end_user.organization_name, setup, integration.id].filter(Boolean).join(" · "),
    badge: integration.status,
    action: button(valid ? "Reject credentials" : "Accept credentials", () => control("state-change", change)),
  });
}

function linkRow(link) {
  const kinds = { connect: "Connection link", relink: "Reconnection link", setup: "Setup link" };
  const parts = [link.end_user.organization_name, link.category, link.tool, link.language, link.link_type];
  const properties = { class: "button secondary small", href: link.link, target: "_blank", rel: "noopener" };
  return row({
    title: kinds[link.kind],
    details: parts.filter(Boolean).join(" · "),
    badge: link.expired ? "expired" : "open",
    action: link.expired ? null : element("a", properties, "Open"),
  });
}

function deliveryRow(delivery) {
  const status = delivery.answer ? `, status ${delivery.answer}` : "";
  const attempts = delivery.attempts === 1 ? "1 attempt" : `${delivery.attempts} attempts`;
  const details = [attempts + status, delivery.replay && "replay", delivery.bad_signature && "bad signature"];
  return row({
    title: delivery.type,
    details: details.filter(Boolean).join(" · "),
    badge: delivery.status === "not_configured" ? "no address set" : delivery.status,
    action: button("Replay", () => control("webhooks/replay", { event_id: delivery.event_id })),
  });
}

function callRow([name, times]) {
  return row({ title: name, details: times === 1 ? "once" : `${times} times` });
}

document.getElementById("api").textContent = `${location.origin}/v1`;
document.querySelector("[data-act=hour]").addEventListener("click", () => control("clock", { advance: 3600 }));
document.querySelector("[data-act=reset]").addEventListener("click", () => control("reset"));
await refresh();
setInterval(() => document.hidden || void refresh(), REFRESH_MS);
