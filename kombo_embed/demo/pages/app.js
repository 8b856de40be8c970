// The settings page "Integrations". What kombo-embed needs from a page is in `start` and `connectTool`.
import { readContext } from "./context.js";
import { element, renderList } from "./element.js";
import { showFooter } from "./footer.js";
import { hideNotice, showNotice } from "./notices.js";
import { poll } from "./poll.js";
import { drawEvent, drawIntegration, initials } from "./rows.js";
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
  let kombo;
  try {
    kombo = await import(context.module);
  } catch {
    return sayModuleMissing();
  }
  connectButton.addEventListener("click", () => connectTool(kombo));
  connectButton.disabled = false; // an earlier click would have been lost
  kombo.watch((integrations) => showIntegrations(integrations, kombo), {
    onError: (error) => error.status === 401 && signedOut(),
  });
}

function connectTool(kombo) {
  return runFlow(connectButton, () => kombo.connect({ title: "Connect a tool to Fieldnotes" }), kombo);
}

function actOn(integration, button, kombo) {
  const flow = { reconnect: kombo.reconnect, finish_setup: kombo.finishSetup }[integration.next_action];
  const again = integration.next_action === "reconnect";
  return runFlow(button, () => flow(integration.id, { title: toolName(integration.tool) }), kombo, again);
}

/** Runs a flow with its button busy, then reports its result. */
async function runFlow(button, flow, kombo, again = false) {
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  hideNotice();
  try {
    reportResult(await flow(), kombo, again);
  } catch (error) {
    reportError(error, () => runFlow(button.isConnected ? button : connectButton, flow, kombo, again));
  } finally {
    button.removeAttribute("aria-busy");
    if (document.activeElement === document.body) connectButton.focus(); // the row was rendered again meanwhile
    void pollEvents();
  }
}

function reportResult(result, kombo, again) {
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

function showIntegrations(integrations, kombo) {
  const list = document.getElementById("integrations");
  renderList(list, integrations.map(markAgain), (integration) =>
    drawIntegration(integration, (...given) => actOn(...given, kombo)),
  );
  document.getElementById("waiting").hidden = true;
  list.hidden = integrations.length === 0;
  document.getElementById("empty").hidden = integrations.length > 0;
  document.getElementById("count").textContent = integrations.length || "";
}

/** Marks the second of two integrations with the same tool: before the dialog the tool was not known. */
function markAgain(integration, place, integrations) {
  const { tool, category } = integration;
  const again = integrations.slice(0, place).some((one) => one.tool === tool && one.category === category);
  return { ...integration, again };
}

function showEvents({ events, person }) {
  if (person !== context.person.id) return location.reload(); // another person signed in, in another window
  renderList(document.getElementById("events"), events, (event) => drawEvent(event, organization));
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

async function sayModuleMissing() {
  const missing = await fetch(context.module).then(
    (response) => response.status === 404,
    () => false,
  );
  document.getElementById("waiting").textContent = "The list cannot be loaded.";
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
