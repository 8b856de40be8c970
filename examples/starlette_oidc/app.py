"""A Starlette app: its people sign in with OpenID Connect, then connect their company's HR tool.

Who belongs to which company is in the app's own database, so a callable returns the end user.
"""

from __future__ import annotations

import os

from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.starlette_client import OAuth  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from kombo_embed import EndUser, Event, KomboEmbed

# In your app, a database: the people by the provider's subject.
PEOPLE = {
    "ada": {"email": "ada@northwind.example", "company": "Northwind", "company_id": "org_1"},
    "linus": {"email": "linus@northwind.example", "company": "Northwind", "company_id": "org_1"},
}
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


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in end user. kombo-embed needs nothing else from your app."""
    person = PEOPLE.get(connection.session.get("subject", ""))
    if person is None:
        return None
    return EndUser(email=person["email"], organization_name=person["company"], origin_id=person["company_id"])


async def home(request: Request) -> Response:
    """Return the settings page, or the page to sign in."""
    return HTMLResponse(SIGNED_IN if await current_end_user(request) else SIGNED_OUT)


async def sign_in(request: Request) -> Response:
    """Send the browser to the provider."""
    answer: Response = await oauth.provider.authorize_redirect(request, request.url_for("signed_in"))
    return answer


async def signed_in(request: Request) -> Response:
    """Receive the browser back from the provider, and start the session."""
    try:
        token = await oauth.provider.authorize_access_token(request)
    except OAuthError:
        return RedirectResponse("/", status_code=303)  # denied at the provider, or an outdated page
    request.session.clear()  # nothing from before the login is kept
    request.session["subject"] = token["userinfo"]["sub"]
    return RedirectResponse("/", status_code=303)


async def sign_out(request: Request) -> Response:
    """End the session."""
    request.session.clear()
    return RedirectResponse("/", status_code=303)


app = Starlette(
    routes=[
        Route("/", home),
        Route("/sign-in", sign_in),
        Route("/signed-in", signed_in),
        Route("/sign-out", sign_out, methods=["POST"]),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key=os.environ["SESSION_SECRET"], same_site="lax")],
)
embed = KomboEmbed(end_user=current_end_user)
embed.install(app)


@embed.on("integration.connected")
async def start_first_sync(event: Event) -> None:
    """Start the first sync: `event.integration` has Kombo's id for your calls to Kombo."""
    if event.integration is not None:
        print(f"{event.integration.tool} of {event.origin_id} is connected", flush=True)  # noqa: T201 - an example
