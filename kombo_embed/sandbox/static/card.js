/** The card that contains one step at a time. */
import { element, icon } from "./element.js";
import { embedded, flow, say } from "./flow.js";

export const card = element(embedded ? "div" : "main", {
  class: "card",
  role: embedded ? "dialog" : null,
  "aria-modal": embedded ? "true" : null,
  "aria-labelledby": "heading",
});

/** Requests to leave; the listener of the event decides what that means. */
export const leave = () => card.dispatchEvent(new Event("leave"));

/**
 * Renders a step. `body` gets the heading's element and returns the contents; `focus` selects the element to
 * focus, by default the heading, so that a screen reader begins there.
 */
export function show({ heading, body, back = null, centred = false, tall = false, focus = null }) {
  const title = element("h1", { id: "heading", tabindex: "-1" }, heading);
  const bar = element("header", { class: "bar" }, back ? iconButton("back", back) : brand(), closeButton());
  const step = element("div", { class: centred ? "step centred" : "step" }, ...body(title));
  const note = element("footer", { class: "note" }, icon("flask"), element("span", {}, say("sandbox_note")));
  card.className = tall ? "card tall" : "card";
  card.replaceChildren(bar, step, note);
  document.title = `${heading} · Connect`;
  ((focus && card.querySelector(focus)) || title).focus();
}

/** Renders a step of a picture, a heading, a sentence, and a button if there is something to do. */
export function showNotice({ picture, heading, lead, button = null }) {
  show({
    heading,
    centred: true,
    focus: ".button",
    body: (title) => [
      picture,
      title,
      element("p", { class: "lead", role: "status" }, lead),
      button && element("button", { class: "button", type: "button", onclick: button.act }, button.label),
    ],
  });
}

/** Keeps Tab within the card: the page behind it is covered. */
export function keepFocusWithin() {
  card.addEventListener("keydown", (event) => {
    if (event.key !== "Tab") return;
    const stops = [...card.querySelectorAll("button, input")].filter((stop) => stop.offsetParent);
    const edge = event.shiftKey ? stops[0] : stops.at(-1);
    if (document.activeElement !== edge) return;
    event.preventDefault();
    (event.shiftKey ? stops.at(-1) : stops[0]).focus();
  });
}

// Drawn, not loaded: closing the frame at once would abort the request.
function brand() {
  return element("span", { class: "brand" }, icon("link"), "Connect");
}

function closeButton() {
  if (!embedded && (flow.activationToken || flow.step !== "flow")) return null;
  const made = iconButton("close", leave);
  made.dataset.testid = "close";
  return made;
}

function iconButton(name, act) {
  const properties = { class: "icon-button", type: "button", "aria-label": say(name), onclick: act };
  return element("button", properties, icon(name));
}
