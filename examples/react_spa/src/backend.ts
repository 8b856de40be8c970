// How this page reaches its backend, which is on another origin: with a bearer token that is renewed in time.
import type { BackendOptions } from "kombo-embed";

const API = import.meta.env["VITE_API_URL"] ?? "http://localhost:8000";
const MARGIN_MS = 10_000;

let login: Promise<{ token: string; until: number }> | undefined;

async function signIn(): Promise<{ token: string; until: number }> {
  const response = await fetch(`${API}/sign-in`, { method: "POST" });
  const { token, expires_in: seconds } = await response.json();
  return { token, until: Date.now() + seconds * 1000 - MARGIN_MS };
}

async function accessToken(): Promise<string> {
  if (!login || (await login).until < Date.now()) login = signIn();
  return (await login).token;
}

/** For `useKomboConnect` and `watch`: asked before every request. */
export const backend: BackendOptions = {
  endpoint: `${API}/kombo`,
  headers: async () => ({ Authorization: `Bearer ${await accessToken()}` }),
  credentials: "omit",
};
