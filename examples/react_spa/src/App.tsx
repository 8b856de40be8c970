import { useEffect, useState } from "react";
import { watch } from "kombo-embed";
import type { Integration } from "kombo-embed";
import { useKomboConnect } from "kombo-embed/react";
import { backend } from "./backend.js";

const WORDS: Record<string, string> = {
  cancelled: "You closed the dialog; nothing was changed.",
  finished: "Done. It appears below in a moment.",
};

export function App() {
  const { connect, reconnect, status, result, error } =
    useKomboConnect(backend);
  const integrations = useIntegrations();
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
        {integrations.map(({ id, tool }) => (
          <li key={id}>
            {tool} <button onClick={() => reconnect(id)}>Reconnect</button>
          </li>
        ))}
      </ul>
    </main>
  );
}

function useIntegrations(): Integration[] {
  const [integrations, show] = useState<Integration[]>([]);
  useEffect(() => watch(show, backend), []);
  return integrations;
}
