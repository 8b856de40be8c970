// The rows of the activity.
import { element } from "./element.js";
import { timeAgo } from "./times.js";
import { sentenceOf } from "./words.js";

/** Returns a row of the activity. */
export function drawEvent(event, organization) {
  const { text, detail = event.progress, tone } = sentenceOf(event, organization);
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
