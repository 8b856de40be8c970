/** The searchable list of tools. */
import { card, show } from "./card.js";
import { element, icon, tile } from "./element.js";
import { flow, say } from "./flow.js";

/** Renders the list and calls `choose` when a tool was chosen. */
export function showTools(choose) {
  flow.chosen = null;
  const list = element("ul", { class: "tools" });
  const count = element("p", { class: "count", role: "status" });
  const search = element("input", {
    type: "search",
    id: "search",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: say("search"),
    oninput: () => fill(list, count, search.value.trim(), choose),
    onkeydown: (event) => event.key === "Enter" && search.value && list.querySelector("button")?.click(),
  });
  fill(list, count, "", choose);
  show({
    heading: say(`choose_${flow.category}`),
    tall: true,
    // A phone's keyboard would cover the list.
    focus: matchMedia("(pointer: coarse)").matches ? null : "#search",
    body: (title) => [
      title,
      element("p", { class: "lead" }, say("choose_lead")),
      element(
        "div",
        { class: "search" },
        element("label", { for: "search", class: "visually-hidden" }, say("search")),
        icon("search"),
        search,
      ),
      count,
      list,
    ],
  });
  card.onkeydown = (event) => walk(event, search, list);
}

function fill(list, count, query, choose) {
  const found = flow.tools.filter((tool) => matches(tool, query));
  list.replaceChildren(...found.map((tool) => element("li", {}, toolButton(tool, choose))));
  if (found.length) count.textContent = say(found.length === 1 ? "result" : "results", { count: found.length });
  else count.textContent = say("no_results", { query });
}

function matches(tool, query) {
  const plain = (text) => text.toLowerCase().normalize("NFD").replace(/[^\p{L}\p{N}]/gu, "");
  return plain(tool.label).includes(plain(query)) || tool.id.includes(plain(query));
}

function toolButton(tool, choose) {
  const properties = { class: "tool", type: "button", "data-testid": "tool", "data-tool": tool.id };
  const act = () => {
    flow.chosen = tool;
    choose();
  };
  return element("button", { ...properties, onclick: act }, tile(tool), tool.label, icon("chevron"));
}

function walk(event, search, list) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !list.isConnected) return;
  const stops = [search, ...list.querySelectorAll("button")];
  const next = stops[stops.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
