"""A FastAPI app: its people sign in with OpenID Connect, then connect their company's HR tool.

The provider knows who belongs to which company, and the session keeps its claims. So kombo-embed needs no
code to find the end user: ``KOMBO_AUTH=session``, and the names of the claims.
"""

from __future__ import annotations

import os

from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.starlette_client import OAuth  # type: ignore[import-untyped]
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.middleware.sessions import SessionMiddleware

from kombo_embed import Event, KomboEmbed

SIGNED_OUT = """<!doctype html>
<html lang="en">
  <meta name="viewport" content="width=device-width" />
  <title>Sign in</title>
  <h1>Northwind's workplace</h1>
  <p><a href="/sign-in">Sign in</a></p>
</html>
"""
SIGNED_IN = """<!doctype html>
<html lang="en">
  <meta name="viewport" content="width=device-width" />
  <title>Settings</title>
  <h1>Settings</h1>
  <p><button id="connect" disabled>Connect your HR tool</button> <output></output></p>
  <form method="post" action="/sign-out"><button>Sign out</button></form>
  <script type="module">
    import { connect } from "/kombo/kombo-embed.js";

    const button = document.querySelector("#connect");
    button.addEventListener("click", async () => {
      const result = await connect().catch((error) => ({ status: error.detail }));
      document.querySelector("output").textContent = result.integration?.tool ?? result.status;
    });
    button.disabled = false; // an earlier click would have been lost
  </script>
</html>
"""

oauth = OAuth()
oauth.register(
    "provider",
    client_id=os.environ["LOGIN_CLIENT_ID"],
    client_secret=os.environ["LOGIN_CLIENT_SECRET"],
    server_metadata_url=os.environ["LOGIN_ISSUER"] + "/.well-known/openid-configuration",
    client_kwargs={"scope": "openid email", "code_challenge_method": "S256"},
)
app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ["SESSION_SECRET"], same_site="lax")
embed = KomboEmbed()
embed.install(app)


@embed.on("integration.connected")
async def start_first_sync(event: Event) -> None:
    """Start the first sync: `event.integration` has Kombo's id for your calls to Kombo."""
    if event.integration is not None:
        print(f"{event.integration.tool} of {event.origin_id} is connected", flush=True)  # noqa: T201 - an example


@app.get("/", response_class=HTMLResponse)
async def home(request: Request) -> str:
    """Return the settings page, or the page to sign in."""
    return SIGNED_IN if "user" in request.session else SIGNED_OUT


@app.get("/sign-in")
async def sign_in(request: Request) -> Response:
    """Send the browser to the provider."""
    answer: Response = await oauth.provider.authorize_redirect(request, request.url_for("signed_in"))
    return answer


@app.get("/signed-in")
async def signed_in(request: Request) -> RedirectResponse:
    """Receive the browser back from the provider, and start the session."""
    try:
        token = await oauth.provider.authorize_access_token(request)
    except OAuthError:
        return RedirectResponse("/", status_code=303)  # denied at the provider, or an outdated page
    request.session.clear()  # nothing from before the login is kept
    request.session["user"] = {name: token["userinfo"].get(name) for name in ("email", "organization")}
    return RedirectResponse("/", status_code=303)


@app.post("/sign-out")
async def sign_out(request: Request) -> RedirectResponse:
    """End the session."""
    request.session.clear()
    return RedirectResponse("/", status_code=303)


@app.get("/tools")
async def connected_tools(request: Request) -> list[str]:
    """List what the company has connected, from your own code."""
    if "user" not in request.session:
        raise HTTPException(401)
    origin_id = request.session["user"]["organization"]["id"]
    return [integration.tool for integration in await embed.integrations(origin_id)]
