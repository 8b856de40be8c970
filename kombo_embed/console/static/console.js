// Live updates, times that stay current, and the copy button. The pages work without it.
const LIVE_MILLISECONDS = 10_000;
const UNITS = [["day", 86_400], ["hour", 3600], ["min", 60]];

function ago(moment) {
  const seconds = (Date.now() - moment) / 1000;
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) {
      const count = Math.floor(Math.abs(seconds) / size);
      const text = `${count} ${unit}${count > 1 && unit !== "min" ? "s" : ""}`;
      return seconds > 0 ? `${text} ago` : `in ${text}`;
    }
  }
  return seconds >= 0 ? "just now" : "in a moment";
}

function updateTimes() {
  for (const time of document.querySelectorAll("time")) {
    const shown = time.querySelector(".ago");
    const text = ago(Date.parse(time.dateTime));
    if (shown && shown.textContent !== text) shown.textContent = text;
  }
}

// A form in use is left alone: replacing the page would take what was typed or chosen, and the focus.
function isInUse() {
  const changed = [...document.querySelectorAll("main [data-keep]")].some((field) =>
    field.options
      ? ![...field.options].every((one) => one.selected === one.defaultSelected) && field.options[0] !== field.selectedOptions[0]
      : field.value !== field.defaultValue,
  );
  const isFocused = document.activeElement?.closest?.("main form, main summary, main .scroll");
  return Boolean(changed || isFocused || document.querySelector("main details[open]") || String(getSelection()));
}

async function updatePage() {
  const main = document.querySelector("main[data-live]");
  if (!main || document.hidden || isInUse()) return;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok || isInUse()) return;
  const next = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main");
  if (!next) return;
  const focused = [...main.querySelectorAll("a, button")].indexOf(document.activeElement);
  for (const notice of next.querySelectorAll(".notice[role=status]")) notice.remove();
  main.replaceChildren(...next.childNodes);
  if (focused >= 0) main.querySelectorAll("a, button")[focused]?.focus({ preventScroll: true });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copy);
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
    } catch {
      document.execCommand("copy");
    }
  });
}
if (document.querySelector("main[data-live]")) {
  setInterval(() => updatePage().catch(() => {}), LIVE_MILLISECONDS);
  setInterval(updateTimes, 30_000);
}
