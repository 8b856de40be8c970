/** Draws the rows of the sandbox's page. */
import { control } from "./control.js";
import { element } from "./element.js";

const GOOD = new Set(["ACTIVE", "delivered", "open"]);
const BAD = new Set(["INVALID", "failed", "expired", "dropped", "INACTIVE"]);
const LINK_KINDS = { connect: "Connection link", relink: "Reconnection link", setup: "Setup link" };
const EVERY = 1_000;
const ANSWERS = {
  rate_limited: "429",
  empty_500: "500",
  html_503: "503 as HTML",
  unauthorized: "401",
  foreign_json: "Unexpected JSON",
  slow: "A slow response",
  drop: "A closed connection",
};

export function integrationRow(integration) {
  const { id, status, setup_status: setup } = integration;
  const valid = status !== "INVALID";
  const change = { integration_id: id, state: valid ? "INVALID" : "ACTIVE" };
  const image = element("img", {
    src: `/assets/tools/${encodeURIComponent(integration.tool)}.svg`,
    alt: "",
    onerror: () => image.remove(),
  });
  return row(
    head({
      image,
      title: `${integration.tool_label}, ${integration.category}`,
      details: [integration.end_user.organization_name, setup !== "COMPLETED" && `setup ${setup}`, id],
      badge: status,
    }),
    actions(
      button(valid ? "Reject credentials" : "Accept credentials", "state", () => control("state-change", change)),
      setup === "COMPLETED"
        ? button("Leave setup incomplete", "setup", () => control("leave-incomplete", { integration_id: id }))
        : button("Complete setup", "setup", () =>
            control("state-change", { integration_id: id, setup_status: "COMPLETED" }),
          ),
      button("Change data", "data", () => control("change-data", { integration_id: id })),
      button("Delete", "delete", () => control("delete", { integration_id: id }), "danger"),
    ),
  );
}

export function linkRow(link) {
  const details = [link.end_user.organization_name, link.category, link.tool, link.language, link.link_type];
  const open = { class: "text-button", href: link.link, target: "_blank", rel: "noopener", "data-act": "open" };
  return row(
    head({ title: LINK_KINDS[link.kind], details, badge: link.expired ? "expired" : "open" }),
    !link.expired && aside(element("a", open, "Open")),
  );
}

export function requestRow(request) {
  const { status, method, path, fault } = request;
  const details = [time(request.created_at), `${Math.round(request.milliseconds)} ms`, fault && `injected: ${fault}`];
  return row(
    element(
      "details",
      {},
      element(
        "summary",
        {},
        head({ title: `${method} ${path}`, details, badge: String(status ?? "closed"), good: status === 200, code: true }),
      ),
      body("Request body", request.request_body),
      body("Response body", request.response_body),
    ),
  );
}

export function deliveryRow(delivery) {
  const { answer, attempts, replay, bad_signature: forged, about } = delivery;
  const tries = attempts === 1 ? "1 attempt" : `${attempts} attempts`;
  const outcome = answer ? `${answer} after ${tries}` : tries;
  const details = [about, time(delivery.created_at), outcome, replay && "repeated", forged && "wrong signature"];
  const badge = delivery.status === "not_configured" ? "no address set" : delivery.status;
  return row(
    element(
      "details",
      {},
      element("summary", {}, head({ title: delivery.type, details, badge })),
      body("Body", JSON.stringify(delivery.body, null, 2)),
    ),
    aside(button("Repeat", "repeat", () => control("webhooks/replay", { event_id: delivery.event_id }))),
  );
}

export function faultRow({ mode, path, times, seconds }) {
  const left = times > EVERY ? "every request" : times === 1 ? "the next request" : `the next ${times} requests`;
  const where = path === "*" ? "" : ` to ${path}`;
  const late = mode === "slow" ? ` (${seconds ?? 15} s)` : "";
  return pendingRow(`${ANSWERS[mode] ?? mode}${late} for ${left}${where}.`);
}

export function pendingRow(text) {
  return element("li", {}, element("span", { class: "what" }, text));
}

export function callRow([name, times]) {
  return row(head({ title: name, details: [times === 1 ? "once" : `${times} times`], code: true }));
}

function row(...parts) {
  return element("li", {}, ...parts);
}

function head({ image, title, details, badge, good = GOOD.has(badge), code = false }) {
  const bad = !good && (code || BAD.has(badge));
  return element(
    "span",
    { class: "head" },
    image,
    element(
      "span",
      { class: "what" },
      element("strong", { class: code ? "code" : "" }, title),
      element("span", { class: "muted" }, details.filter(Boolean).join(" · ")),
    ),
    badge && element("span", { class: `badge ${good ? "good" : bad ? "bad" : ""}` }, badge),
  );
}

function actions(...buttons) {
  return element("span", { class: "actions" }, ...buttons);
}

/** A control beside its row, where there is only one. */
function aside(control) {
  return element("span", { class: "aside" }, control);
}

function button(label, act, onclick, kind = "") {
  return element("button", { class: `text-button ${kind}`.trim(), type: "button", "data-act": act, onclick }, label);
}

function body(title, text) {
  // Focusable, so that the keyboard can scroll it.
  const content = { tabindex: "0", role: "region", "aria-label": title };
  return element(
    "div",
    { class: "body" },
    element("h3", {}, title),
    text ? element("pre", content, text) : element("p", { class: "muted" }, "Empty"),
  );
}

function time(moment) {
  return moment.slice(11, 19);
}
