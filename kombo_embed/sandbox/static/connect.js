/** The stand-in for Kombo Connect: from the list of tools to the activation token, step by step. */
import { card, keepFocusWithin, leave, show, showNotice } from "./card.js";
import { element, icon, tile } from "./element.js";
import { embedded, Ended, flow, postResult, say, sendOutcome } from "./flow.js";
import { showTools } from "./tool_list.js";

const CONNECTING_MS = 700;
const SUCCESS_MS = 1300;
const LEAVING_MS = 150;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const mark = (name, kind = "") => element("div", { class: `mark ${kind}`.trim() }, icon(name));

function showFirst(trouble = "") {
  if (!flow.chosen) showTools(showCredentials);
  else if (flow.kind === "setup") showSetup(trouble);
  else showCredentials(trouble);
}

function showCredentials(trouble = "") {
  const relink = flow.kind === "relink";
  const field = element("input", {
    type: "text",
    id: "credentials",
    "data-testid": "credentials",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-describedby": trouble ? "trouble hint" : "hint",
    "aria-invalid": trouble ? "true" : null,
  });
  showForm({
    heading: say(relink ? "relink_title" : "credentials_title"),
    lead: say(relink ? "relink_lead" : "credentials_lead"),
    back: flow.preset ? null : () => showTools(showCredentials),
    trouble,
    fields: element(
      "div",
      { class: "field" },
      element("label", { for: "credentials" }, say("credentials_label")),
      field,
      element("span", { class: "hint", id: "hint" }, say("credentials_hint")),
    ),
    finishLabel: say(relink ? "finish_relink" : "finish"),
    failLabel: say("fail"),
  });
}

function showSetup(trouble = "") {
  const option = (key) =>
    element("label", {}, element("input", { type: "checkbox", name: key, checked: true }), say(key));
  const options = ["setup_people", "setup_teams", "setup_fields"].map(option);
  showForm({
    heading: say("setup_title"),
    lead: say("setup_lead"),
    trouble,
    fields: element("fieldset", { class: "options", "aria-labelledby": "lead" }, ...options),
    finishLabel: say("finish_setup"),
    failLabel: say("fail_setup"),
  });
}

function showForm({ heading, lead, back = null, trouble, fields, finishLabel, failLabel }) {
  const submit = (event) => {
    event.preventDefault();
    void finish();
  };
  // Ignores the second click of a double click on a tool.
  const onclick = (event) => event.detail > 1 && event.preventDefault();
  const finishButton = { class: "button", type: "submit", "data-testid": "finish", onclick };
  const failButton = { class: "button secondary", type: "button", "data-testid": "fail", onclick: () => void fail() };
  show({
    heading,
    back,
    focus: "input",
    body: (title) => [
      tile(flow.chosen, "large"),
      title,
      element("p", { class: "lead", id: "lead" }, lead),
      element("p", { class: "alert", id: "trouble", role: "alert" }, trouble),
      element(
        "form",
        { onsubmit: submit },
        fields,
        element(
          "div",
          { class: "actions" },
          element("button", finishButton, finishLabel),
          element("button", failButton, failLabel),
        ),
      ),
    ],
  });
}

async function finish() {
  const answer = await connect("finish");
  if (!answer) return;
  flow.activationToken = answer.activation_token;
  showNotice({
    picture: mark("check", "good"),
    heading: say(flow.kind === "setup" ? "success_setup" : "success"),
    lead: say(embedded ? "success_lead" : "success_window"),
    button: embedded && { label: say("done"), act: leave },
  });
  if (embedded) setTimeout(leave, SUCCESS_MS);
}

async function fail() {
  if (await connect("fail")) showFirst(say(flow.kind === "setup" ? "failed_setup" : "failed"));
}

async function connect(act) {
  showNotice({
    picture: element("div", { class: "spinner", "aria-hidden": "true" }),
    heading: say("connecting"),
    lead: say("connecting_lead"),
  });
  await pause(CONNECTING_MS);
  try {
    return await sendOutcome(act);
  } catch (error) {
    if (error instanceof Ended) showEnd(error.step);
    else showFirst(say("error"));
    return null;
  }
}

function showEnd(step) {
  flow.step = step;
  showNotice({
    picture: mark(step === "expired" ? "clock" : "broken"),
    heading: say(step),
    lead: say(`${step}_lead`),
    button: embedded && { label: say("close"), act: leave },
  });
}

function showCancelled() {
  flow.step = "cancelled";
  const resume = () => {
    flow.step = "flow";
    showFirst();
  };
  showNotice({
    picture: mark("pause"),
    heading: say("cancelled"),
    lead: say("cancelled_lead"),
    button: { label: say("resume"), act: resume },
  });
}

// The host removes this frame at the message, which must not happen within a key's or a button's own event.
function goAway() {
  if (card.classList.contains("leaving")) return;
  card.classList.add("leaving");
  setTimeout(postResult, LEAVING_MS);
}

function start() {
  document.body.classList.toggle("top-level", !embedded);
  document.body.append(card);
  keepFocusWithin();
  card.addEventListener("leave", () => {
    if (embedded) goAway();
    else if (flow.step === "flow" && !flow.activationToken) showCancelled();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    leave();
  });
  if (flow.step === "flow") showFirst();
  else showEnd(flow.step);
}

start();
