"use client";
import { useKomboConnect } from "kombo-embed/react";

const WORDS: Record<string, string> = {
  loading: "One moment…",
  recording: "Finishing…",
  connected: "Connected.",
  cancelled: "Nothing was changed.",
  already_connected: "This tool is already connected.",
};

export function ConnectButton() {
  const { connect, prefetch, status, error } = useKomboConnect();
  return (
    <p>
      <button onClick={connect} onPointerEnter={prefetch} onFocus={prefetch}>
        Connect a tool
      </button>{" "}
      <output>{error?.detail ?? WORDS[status]}</output>
    </p>
  );
}
