// Relative times ("2 minutes ago"), kept up to date.
import { element } from "./element.js";

const STEPS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const words = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const wholeDate = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** Returns a `<time>` with the time since `moment` (RFC 3339). */
export function timeAgo(moment) {
  const title = wholeDate.format(new Date(moment));
  return element("time", { datetime: moment, title, "data-ago": true }, ago(moment, Date.now()));
}

/** Keeps every `timeAgo` of the page up to date. */
export function updateTimes() {
  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = ago(time.dateTime, Date.now());
      if (time.textContent !== text) time.textContent = text;
    }
  }, 5_000);
}

function ago(moment, now) {
  const seconds = Math.max(0, (now - Date.parse(moment)) / 1000);
  for (const [unit, length] of STEPS) {
    if (seconds >= length) return words.format(-Math.floor(seconds / length), unit);
  }
  return "just now";
}
