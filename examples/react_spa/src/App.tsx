import { useIntegrations, useKomboConnect } from "kombo-embed/react";
import { backend } from "./backend.js";

const WORDS: Record<string, string> = {
  cancelled: "You closed the dialog; nothing was changed.",
  finished: "Done. It appears below in a moment.",
};

export function App() {
  const { connect, reconnect, status, result, error } =
    useKomboConnect(backend);
  const list = useIntegrations(backend);
  const busy =
    status === "loading" || status === "open" || status === "recording";
  return (
    <main>
      <h1>Settings</h1>
      <button onClick={connect} aria-disabled={busy}>
        Connect your HR tool
      </button>
      <p role="status">
        {error?.detail ?? WORDS[status]}
        {status === "connected" &&
          result?.status === "connected" &&
          `${result.integration.tool} is connected.`}
        {status === "already_connected" &&
          "This tool is connected already: renew it below."}
      </p>
      <h2>Connected tools</h2>
      <ul>
        {list.integrations?.map(({ id, tool }) => (
          <li key={id}>
            {tool} <button onClick={() => reconnect(id)}>Reconnect</button>
            {list.actions.includes("disconnect") && (
              <button
                onClick={() =>
                  askAndDisconnect(tool, () => list.disconnect(id))
                }
              >
                Disconnect
              </button>
            )}
          </li>
        ))}
      </ul>
      <p>
        {list.loading && "Loading…"}
        {!list.loading &&
          list.integrations?.length === 0 &&
          "Nothing is connected."}
        {list.error && (
          <>
            The list is not up to date.{" "}
            <button onClick={list.refresh}>Try again</button>
          </>
        )}
      </p>
    </main>
  );
}

function askAndDisconnect(tool: string, disconnect: () => Promise<void>) {
  if (!confirm(`Disconnect ${tool}? This cannot be undone.`)) return;
  disconnect().catch((error: Error) => alert(error.message));
}
