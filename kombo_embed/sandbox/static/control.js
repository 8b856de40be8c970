/** Calls the sandbox's controls, and reports what fails. */

let afterwards = () => undefined;

/** Sets what follows each control: reading the state again. */
export function onControlled(callback) {
  afterwards = callback;
}

/** Calls a control; its error is shown until the next one. */
export async function control(name, body = {}, method = "POST") {
  try {
    const response = await fetch(`/_sandbox/${name}`, { method, body: method === "POST" ? JSON.stringify(body) : null });
    showTrouble(response.ok ? "" : (await response.json()).error);
  } catch {
    showTrouble("The sandbox does not respond. It may have been stopped.");
  }
  await afterwards();
}

/** Shows one sentence above the lists, or none. */
export function showTrouble(text) {
  const trouble = document.getElementById("trouble");
  if (trouble.textContent !== text) trouble.textContent = text;
}
