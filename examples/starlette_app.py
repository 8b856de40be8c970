"""A Starlette app whose signed-in users connect their company's HR tool."""

from __future__ import annotations

import secrets

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from kombo_embed import EndUser, Event, KomboEmbed

# Your own database, in this example.
USERS = {"ada": {"email": "ada@northwind.example", "company": "Northwind", "company_id": "org_1"}}
SIGN_IN = """
<title>Sign in</title>
<form method="post" action="/sign-in"><button name="user" value="ada">Sign in as Ada</button></form>
"""
SETTINGS = """
<title>Settings</title>
<button id="connect">Connect your HR tool</button> <output></output>
<script type="module">
  import { connect } from "/kombo/kombo-embed.js";
  document.querySelector("#connect").addEventListener("click", async () => {
    const result = await connect().catch((error) => ({ status: error.detail }));
    document.querySelector("output").textContent = result.integration?.tool ?? result.status;
  });
</script>
"""


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Tell kombo-embed who is signed in: this is all that it asks of your app."""
    user = USERS.get(connection.session.get("user", ""))
    if user is None:
        return None
    return EndUser(email=user["email"], organization_name=user["company"], origin_id=user["company_id"])


async def home(request: Request) -> Response:
    """Show the settings page, or the way in."""
    return HTMLResponse(SETTINGS if request.session.get("user") in USERS else SIGN_IN)


async def sign_in(request: Request) -> Response:
    """Sign Ada in. Yours asks for more."""
    request.session["user"] = "ada"
    return RedirectResponse("/", status_code=303)


app = Starlette(
    routes=[Route("/", home), Route("/sign-in", sign_in, methods=["POST"])],
    middleware=[Middleware(SessionMiddleware, secret_key=secrets.token_urlsafe(), same_site="lax")],
)
embed = KomboEmbed(end_user=current_end_user)
embed.install(app)


@embed.on("integration.connected")
async def start_first_sync(event: Event) -> None:
    """Start to work with the customer's data: `event.integration` has Kombo's id for your calls to Kombo."""
    if event.integration is not None:
        print(f"{event.integration.tool} of {event.origin_id} is connected")  # noqa: T201 - an example
