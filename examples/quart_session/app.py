"""A Quart app with its signed session cookie. kombo-embed is in front of it and verifies the same cookie."""

from __future__ import annotations

import os

from itsdangerous import BadSignature
from quart import Quart, redirect, session
from quart.sessions import SecureCookieSessionInterface
from starlette.requests import HTTPConnection
from werkzeug.wrappers import Response

from kombo_embed import EndUser, Event, KomboEmbed, KomboEmbedMiddleware

PAGE = """<!doctype html>
<html lang="en">
  <title>Settings</title>
  <form method="post" action="/sign-in"><button>Sign in as Ada</button></form>
  <kombo-connect-button></kombo-connect-button>
  <script type="module" src="/kombo/kombo-embed.js"></script>
</html>
"""
# In your app, a database.
USERS = {"ada": {"email": "ada@northwind.example", "company": "Northwind", "company_id": "org_1"}}

quart = Quart(__name__)
quart.secret_key = os.environ["SESSION_SECRET"]
quart.config["SESSION_COOKIE_SAMESITE"] = "Lax"


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in end user, from the session's cookie."""
    signer = SecureCookieSessionInterface().get_signing_serializer(quart)
    if signer is None:  # there is no secret key
        return None
    max_age = int(quart.permanent_session_lifetime.total_seconds())
    try:
        signed_in = signer.loads(connection.cookies.get("session", ""), max_age=max_age)
    except BadSignature:
        return None
    user = USERS.get(signed_in.get("user", ""))
    if user is None:
        return None
    return EndUser(email=user["email"], organization_name=user["company"], origin_id=user["company_id"])


@quart.get("/")
async def home() -> str:
    """Return the settings page."""
    return PAGE


@quart.post("/sign-in")
async def sign_in() -> Response:
    """Sign Ada in. Your app requires a password."""
    session["user"] = "ada"
    return redirect("/", code=303)


embed = KomboEmbed(end_user=current_end_user)


@embed.on("integration.connected")
async def start_first_sync(event: Event) -> None:
    """Start the first sync: `event.integration` has Kombo's id for your calls to Kombo."""
    if event.integration is not None:
        print(f"{event.integration.tool} of {event.origin_id} is connected", flush=True)  # noqa: T201 - an example


app = KomboEmbedMiddleware(quart, embed=embed, path="/kombo")
