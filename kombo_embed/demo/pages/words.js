// The page's words for the codes of kombo-embed and Kombo.

import { toolName } from "./tool_names.js";

/** Returns an event as a sentence, with a tone. A `kombo.event` has Kombo's own type, too. */
export function sentenceOf(event, organization) {
  const { type, kombo_type: komboType, by } = event;
  const name = toolName(event.tool);
  const failed = { text: `${name} did not accept the credentials`, detail: by && `${by} may try again.` };
  const sentences = {
    __proto__: null,
    "integration.connected": { text: `${by ?? organization} connected ${name}`, tone: "good" },
    "integration.updated": changeOf(event, name),
    "integration.deleted": { text: `${name} was disconnected`, tone: "warn" },
    "integration.duplicate": { text: `${name} is connected twice`, tone: "warn" },
    "flow.failed": { ...failed, tone: "warn" },
    "flow.abandoned": { text: "A connection was started but not finished", tone: "plain" },
    "connection-flow-failed": { ...failed, tone: "warn" },
    "integration-deleted": { text: `${name} was disconnected`, tone: "warn" },
    "integration-state-changed": changeOf(event, name),
    "sync-finished": { text: `${name} finished a sync`, tone: "good" },
    "data-changed": { text: `${name} has new data`, tone: "plain" },
  };
  return sentences[komboType ?? type] ?? { text: `Kombo reported ${komboType ?? type}`, tone: "plain" };
}

function changeOf({ status, setup_status: setup }, name) {
  if (status === "INVALID") return { text: `${name} needs to be reconnected`, tone: "warn" };
  if (status === "INACTIVE") return { text: `${name} was switched off`, tone: "plain" };
  if (setup === "INCOMPLETE") return { text: `The setup of ${name} is not finished`, tone: "warn" };
  if (setup === "FINAL_SYNC_PENDING") return { text: `${name} is syncing for the first time`, tone: "plain" };
  if (status && setup) return { text: `${name} is up and running`, tone: "good" };
  return { text: status ? `${name} is active` : `${name} is set up`, tone: "good" };
}

/** Returns the texts for an error of kombo-embed by its code, and whether a retry can help. */
export function wordsFor({ code, detail, retryAfter }) {
  const soon = retryAfter
    ? `Try again in ${retryAfter} ${retryAfter === 1 ? "second" : "seconds"}.`
    : "Try again in a moment.";
  const known = {
    __proto__: null,
    network: ["Fieldnotes cannot be reached", "Check your connection and try again.", true],
    unauthenticated: ["You are signed out", "Sign in again to continue.", false],
    forbidden: ["You may not do this", "Ask an administrator of your company to connect tools.", false],
    rate_limited: ["That was a bit often", soon, true],
    kombo_rate_limited: ["That is not possible at the moment", soon, true],
    kombo_unavailable: ["That is not possible at the moment", soon, true],
    kombo_timeout: ["That takes too long at the moment", soon, true],
    activation_rejected: [
      "This could not be confirmed",
      "Nothing was added for your company. Please connect the tool once more.",
      true,
    ],
    integration_not_found: ["This tool is gone", "It may have been disconnected meanwhile.", false],
    setup_not_available: ["Nothing is left to set up", "This tool has no further steps.", false],
    already_open: ["A dialog is open already", "Finish or close it first.", false],
    dialog_failed: ["The dialog did not open", "Try again; if that does not help, reload the page.", true],
  };
  const [title, text, retry] = known[code] ?? ["That did not work", detail, true];
  return { title, text, retry };
}
