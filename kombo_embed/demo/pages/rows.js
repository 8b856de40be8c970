// The rows of the two lists: integrations and activity.
import { element } from "./element.js";
import { timeAgo } from "./times.js";
import { toolName } from "./tool_names.js";
import { categoryName, sentenceOf, stateOf } from "./words.js";

const COLOURS = 8;
// The next actions that this page offers, and the labels of their buttons.
const ACTIONS = { __proto__: null, reconnect: "Reconnect", finish_setup: "Finish setup" };

/** Returns a row of the integrations; `onAct` is called with the integration and the button. */
export function drawIntegration(integration, onAct) {
  const { tool, category, status, next_action: next, connected_at: connectedAt } = integration;
  const { chip, tone, next: advice } = stateOf(integration);
  const name = toolName(tool);
  const label = ACTIONS[next];
  const act = (event) => onAct(integration, event.currentTarget);
  return element(
    "li",
    { class: "row", "data-testid": "integration", "data-tool": tool, "data-status": status },
    element("span", { class: `tile colour-${colourOf(tool)}`, "aria-hidden": "true" }, initials(name)),
    element(
      "div",
      { class: "what" },
      element("h3", {}, name),
      element(
        "p",
        { class: "meta" },
        category && `${categoryName(category)} · `,
        "connected ",
        timeAgo(connectedAt),
      ),
      advice && element("p", { class: "advice" }, advice),
    ),
    element(
      "div",
      { class: "side" },
      element("span", { class: `chip ${tone}` }, chip),
      label &&
        element(
          "button",
          { type: "button", class: "button secondary small", "data-testid": next.replace("_", "-"), click: act },
          label,
          element("span", { class: "visually-hidden" }, ` ${name}`),
        ),
    ),
  );
}

/** Returns a row of the activity. */
export function drawEvent(event, organization) {
  const { text, detail, tone } = sentenceOf(event, organization);
  return element(
    "li",
    { class: "event", "data-testid": "event", "data-type": event.type, "data-kombo-type": event.kombo_type },
    element("span", { class: `dot ${tone}`, "aria-hidden": "true" }),
    element("p", {}, text, detail && element("span", { class: "detail" }, detail)),
    timeAgo(event.occurred_at),
  );
}

/** Returns the initials of a name, two at most. */
export function initials(name) {
  const words = name.split(/[\s._-]+/);
  const hump = /[a-z]([A-Z])/.exec(name);
  if (words.length > 1) return (words[0][0] + words[1][0]).toUpperCase();
  return hump
    ? name[0].toUpperCase() + hump[1]
    : name.slice(0, 2).replace(/^./, (first) => first.toUpperCase());
}

function colourOf(tool) {
  let sum = 0;
  for (const letter of tool) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return sum % COLOURS;
}
