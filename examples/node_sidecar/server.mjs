// A host in Node.js: its people sign in with a session cookie. For each request below /kombo it signs a token that names
// the end user, and passes the request on to the sidecar. Nothing but Node.js is needed.

import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { createServer, request as forward } from "node:http";

const PORT = Number(process.env.PORT ?? 8000);
const SIDECAR = new URL(process.env.SIDECAR_URL ?? "http://127.0.0.1:8002");
const ISSUER = `http://127.0.0.1:${PORT}`; // KOMBO_OIDC_ISSUER; with several hosts, a public https URL
const AUDIENCE = "kombo-embed"; // KOMBO_OIDC_AUDIENCE
const TOKEN_SECONDS = 60;

// In your app, a key from the configuration that all processes share.
const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const KEY_ID = "2026-01";
const KEY_SET = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: KEY_ID, alg: "EdDSA", use: "sig" }] };

// In your app, a database.
const USERS = {
  ada: { email: "ada@northwind.example", organization_name: "Northwind", organization_id: "org_1" },
};
const sessions = new Map();

const PAGE = `<!doctype html>
<html lang="en">
  <title>Settings</title>
  <form method="post" action="/sign-in"><button>Sign in as Ada</button></form>
  <kombo-connect-button></kombo-connect-button>
  <script type="module" src="/kombo/kombo-embed.js"></script>
</html>
`;

function signedInUser(request) {
  const id = /(?:^|;\s*)session=([^;]+)/.exec(request.headers.cookie ?? "")?.[1];
  return USERS[sessions.get(id)];
}

function tokenFor(user) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: ISSUER, aud: AUDIENCE, sub: user.email, iat: now, exp: now + TOKEN_SECONDS, ...user };
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encode({ alg: "EdDSA", typ: "JWT", kid: KEY_ID })}.${encode(claims)}`;
  return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString("base64url")}`;
}

function passOn(request, response) {
  const user = signedInUser(request);
  // The browser's own Authorization header must not reach the sidecar. The Host header must: it is compared with Origin.
  const { authorization, cookie, ...headers } = request.headers;
  if (user) headers.authorization = `Bearer ${tokenFor(user)}`;
  const { hostname, port } = SIDECAR;
  const passed = forward({ hostname, port, path: request.url, method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  passed.on("error", () => response.headersSent || response.writeHead(502).end());
  request.pipe(passed);
}

createServer((request, response) => {
  const { pathname } = new URL(request.url, ISSUER);
  if (pathname.startsWith("/kombo/")) return passOn(request, response);
  if (pathname === "/.well-known/jwks.json") {
    return response.setHeader("Content-Type", "application/json").end(JSON.stringify(KEY_SET));
  }
  if (pathname === "/kombo-token") {
    // Only for nginx's auth_request, in place of passOn().
    const user = signedInUser(request);
    if (user) response.setHeader("X-Kombo-Token", `Bearer ${tokenFor(user)}`);
    return response.writeHead(204).end();
  }
  if (pathname === "/sign-in" && request.method === "POST") {
    const id = randomBytes(32).toString("base64url"); // your app requires a password
    sessions.set(id, "ada");
    response.setHeader("Set-Cookie", `session=${id}; Path=/; HttpOnly; SameSite=Lax`);
    return response.writeHead(303, { Location: "/" }).end();
  }
  if (pathname === "/") return response.setHeader("Content-Type", "text/html; charset=utf-8").end(PAGE);
  return response.writeHead(404).end();
}).listen(PORT, "127.0.0.1", () => console.log(`Open http://localhost:${PORT}`));
