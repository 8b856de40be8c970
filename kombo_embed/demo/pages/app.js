// The settings page "Integrations". What kombo-embed needs from a page is in `start` and `connectTool`.
import { readContext } from "./context.js";
import { element, renderList } from "./element.js";
import { showFooter } from "./footer.js";
import { hideNotice, showNotice } from "./notices.js";
import { poll } from "./poll.js";
import { mergeConnections } from "./activity.js";
import { drawEvent, initials } from "./rows.js";
import { updateTimes } from "./times.js";
import { toolName } from "./tool_names.js";
import { wordsFor } from "./words.js";

const context = readContext();
const connectButton = document.getElementById("connect");
const organization = context.organization.name;

introduce();
showFooter(context);
updateTimes();
const pollEvents = poll("/events", {
  seconds: 2,
  onChange: showEvents,
  onTrouble: showTrouble,
  onSignedOut: signedOut,
});
document.addEventListener("visibilitychange", reloadForOtherPerson);
void start();

async function start() {
  const list = document.getElementById("integrations");
  let kombo;
  try {
    kombo = await import(context.module);
    // Defines <kombo-integrations>, which lists the integrations and offers what can be done about them.
    await import(context.module.replace("kombo-embed", "kombo-integrations"));
  } catch {
    return sayModuleMissing(list);
  }
  const warmUp = () => void kombo.prefetch();
  for (const intent of ["pointerenter", "focus"]) connectButton.addEventListener(intent, warmUp);
  connectButton.addEventListener("click", () => connectTool(kombo));
  connectButton.disabled = false; // an earlier click would have been lost
  list.addEventListener("kombo-integrations", ({ detail }) => showCount(detail.integrations.length));
  list.addEventListener("kombo-connected", ({ detail }) => reportResult(detail, kombo, true));
  list.addEventListener("kombo-disconnected", ({ detail }) => reportDisconnected(detail.integration));
  list.addEventListener("kombo-failed", ({ detail }) => detail.status === 401 && signedOut());
}

function connectTool(kombo) {
  const label = document.getElementById("connect-label");
  const before = label.textContent;
  const onPhase = (phase) => (label.textContent = phase === "recording" ? "Finishing…" : before);
  const options = { title: "Connect a tool to Fieldnotes", onPhase };
  return runFlow(connectButton, () => kombo.connect(options).finally(() => onPhase("idle")), kombo);
}

/** Runs a flow with its button busy, then reports its result. */
async function runFlow(button, flow, kombo) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  hideNotice();
  try {
    reportResult(await flow(), kombo);
  } catch (error) {
    reportError(error, () => runFlow(button, flow, kombo));
  } finally {
    button.removeAttribute("aria-busy");
    void pollEvents();
  }
}

function reportResult(result, kombo, again = false) {
  const name = result.integration && toolName(result.integration.tool);
  const notices = {
    connected: {
      tone: "good",
      title: `${name} is connected${again ? " again" : ""}.`,
      text: `Everyone at ${organization} sees it here.`,
    },
    finished: { tone: "good", title: "Done.", text: "It appears here in a moment." },
    cancelled: {
      tone: "plain",
      title: "Nothing was changed.",
      text: "You closed the dialog before the end.",
    },
    already_connected: {
      tone: "plain",
      title: `${name} is already connected.`,
      text: "If it stopped working, renew its credentials.",
      act: { label: "Reconnect", run: () => runFlow(connectButton, () => result.reconnect(), kombo) },
    },
  };
  showNotice(notices[result.status]);
}

function reportError(error, again) {
  if (error.code === undefined) throw error; // not kombo-embed's: a bug in this page
  const { title, text, retry } = wordsFor(error);
  const signIn = error.code === "unauthenticated" && { label: "Sign in", run: signedOut };
  const act = signIn || (retry && { label: "Try again", run: again });
  showNotice({ tone: "warn", title: `${title}.`, text, act });
}

function introduce() {
  const { name, role } = context.person;
  document.title = `Integrations · ${organization} · Fieldnotes`;
  for (const place of document.querySelectorAll("[data-organization]")) place.textContent = organization;
  document.getElementById("avatar").textContent = initials(name);
  document.getElementById("person").append(element("strong", {}, name), element("span", {}, role));
  document.getElementById("sandbox-hint").hidden = !context.sandbox_url;
}

function reportDisconnected({ tool }) {
  void pollEvents();
  showNotice({ tone: "plain", title: `${toolName(tool)} is disconnected.`, text: "Its data is no longer updated." });
}

function showCount(count) {
  document.getElementById("count").textContent = count || "";
}

function showEvents({ events, person }) {
  if (person !== context.person.id) return location.reload(); // another person signed in, in another window
  renderList(document.getElementById("events"), mergeConnections(events), (event) => drawEvent(event, organization));
  document.getElementById("no-events").hidden = events.length > 0;
}

function showTrouble(trouble) {
  const live = document.getElementById("live");
  const text = trouble ? "Reconnecting…" : "Live";
  live.classList.toggle("trouble", trouble);
  if (live.textContent !== text) live.textContent = text;
}

/** Reloads the page if another tab signed in another person, or signed out. */
async function reloadForOtherPerson() {
  if (document.visibilityState !== "visible") return;
  try {
    const response = await fetch("/me", { cache: "no-store" });
    if (response.status === 401) return signedOut();
    if (response.ok && (await response.json()).person.id !== context.person.id) location.reload();
  } catch {
    // Unreachable: the lists report it.
  }
}

function signedOut() {
  location.reload(); // the server answers with the login page
}

async function sayModuleMissing(list) {
  const missing = await fetch(context.module).then(
    (response) => response.status === 404,
    () => false,
  );
  list.replaceWith(element("p", { class: "muted-note" }, "The list cannot be loaded."));
  showNotice(
    missing
      ? {
          tone: "warn",
          lasting: true,
          title: "The browser module is missing.",
          text: "Install Node.js 20 or newer (npm comes with it), then install kombo-embed again.",
        }
      : {
          tone: "warn",
          lasting: true,
          title: "The page did not load completely.",
          text: "Reload it to go on.",
        },
  );
}
