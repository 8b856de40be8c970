/** Shows what the sandbox holds, and keeps it up to date. */
import { element } from "./element.js";

const REFRESH_MS = 1500;
const SHOWN = 20;
const GOOD = new Set(["ACTIVE", "delivered", "open"]);
const BAD = new Set(["INVALID", "failed", "expired", "dropped"]);

let shown = "";

async function control(name, body = {}) {
  await fetch(`/_sandbox/${name}`, { method: "POST", body: JSON.stringify(body) });
  await refresh();
}

async function refresh() {
  const trouble = document.getElementById("trouble");
  try {
    const response = await fetch("/_sandbox/state");
    show(await response.json());
    trouble.hidden = true;
  } catch {
    trouble.hidden = false;
  }
}

function show(state) {
  const { now, ...rest } = state;
  document.getElementById("now").textContent = now.replace("T", " ").replace(/\.\d+Z$/, " UTC");
  // What has not changed is left alone: a button that somebody has focused stays.
  const fresh = JSON.stringify(rest);
  if (fresh === shown) return;
  shown = fresh;
  fill("integrations", state.integrations.map(integration), "Nobody has connected a tool yet.");
  fill("links", state.links.map(link), "No link was asked for yet.");
  fill("deliveries", state.deliveries.map(delivery), "No webhook was sent yet.");
  fill("calls", Object.entries(state.calls).map(call), "The API was not called yet.");
}

function fill(id, rows, empty) {
  const list = rows.length
    ? element("ul", {}, ...rows.reverse().slice(0, SHOWN))
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
  return element("button", { class: "button quiet small", type: "button", onclick: () => void act() }, label);
}

function integration(told) {
  const valid = told.status !== "INVALID";
  const change = { integration_id: told.id, state: valid ? "INVALID" : "ACTIVE" };
  return row({
    image: `/assets/tools/${encodeURIComponent(told.tool)}.svg`,
    title: `${told.tool_label}, ${told.category}`,
    details: [told.end_user.organization_name, told.setup_status !== "COMPLETED" && `setup ${told.setup_status}`, told.id]
      .filter(Boolean)
      .join(" · "),
    badge: told.status,
    action: button(valid ? "Reject credentials" : "Accept credentials", () => control("state-change", change)),
  });
}

function link(told) {
  const kinds = { connect: "Connection link", relink: "Reconnection link", setup: "Setup link" };
  const parts = [told.end_user.organization_name, told.category, told.tool, told.language, told.link_type];
  const properties = { class: "button quiet small", href: told.link, target: "_blank", rel: "noopener" };
  return row({
    title: kinds[told.kind],
    details: parts.filter(Boolean).join(" · "),
    badge: told.expired ? "expired" : "open",
    action: told.expired ? null : element("a", properties, "Open"),
  });
}

function delivery(told) {
  const answer = told.answer ? `, answered ${told.answer}` : "";
  const tries = told.attempts === 1 ? "1 try" : `${told.attempts} tries`;
  return row({
    title: told.type,
    details: `${tries}${answer}${told.replay ? " · replay" : ""}${told.bad_signature ? " · bad signature" : ""}`,
    badge: told.status === "not_configured" ? "no address set" : told.status,
    action: button("Replay", () => control("webhooks/replay", { event_id: told.event_id })),
  });
}

function call([name, times]) {
  return row({ title: name, details: times === 1 ? "once" : `${times} times` });
}

document.getElementById("api").textContent = `${location.origin}/v1`;
document.querySelector("[data-act=hour]").addEventListener("click", () => control("clock", { advance: 3600 }));
document.querySelector("[data-act=reset]").addEventListener("click", () => control("reset"));
await refresh();
setInterval(() => document.hidden || void refresh(), REFRESH_MS);
