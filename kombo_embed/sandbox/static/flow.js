/** The flow of this page: its data from the sandbox, and its progress. */

const initial = JSON.parse(document.getElementById("flow").textContent);

export const embedded = window.parent !== window;
export const flow = { ...initial, chosen: initial.preset ? initial.tools[0] : null, activationToken: null };

export class Ended extends Error {
  constructor(step) {
    super(step);
    this.step = step;
  }
}

export function say(key, values = {}) {
  const known = { organization: flow.organization, tool: flow.chosen?.label, ...values };
  return flow.texts[key].replace(/\{(\w+)\}/g, (_, name) => known[name] ?? "");
}

/** Reports to the sandbox that the flow was finished or has failed. */
export async function sendOutcome(act) {
  const response = await fetch(`/connect/${act}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token: flow.token, tool: flow.chosen.id }),
  });
  if (response.status === 410) throw new Ended("expired");
  if (response.status === 404) throw new Ended("unknown");
  if (!response.ok) throw new Error(`The sandbox responded with ${response.status}.`);
  return response.json();
}

/**
 * Posts the result to the host's page, in the two messages that its Connect SDK understands. A finished flow
 * is a success even if its last screen is closed: the integration exists.
 */
export function postResult() {
  const success = { type: "success", data: { activation_token: flow.activationToken } };
  window.parent.postMessage(flow.activationToken ? success : { type: "close" }, "*");
}
