// A server component. What it imports from kombo-embed/react are client components.
import { KomboIntegrations } from "kombo-embed/react";
import { ConnectButton } from "./connect-button";

export default function Page() {
  return (
    <main style={{ width: "100%", maxWidth: "48rem", margin: "2rem auto", padding: "0 1rem" }}>
      <h1>Integrations</h1>
      <ConnectButton />
      <h2>Connected tools</h2>
      <KomboIntegrations empty={<p>Nothing is connected yet.</p>} />
    </main>
  );
}
