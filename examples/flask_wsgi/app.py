"""A Flask app, which is WSGI, under an ASGI server through a2wsgi. kombo-embed is in front of it."""

from __future__ import annotations

import os

from a2wsgi import WSGIMiddleware
from flask import Flask, redirect, session
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature
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

flask = Flask(__name__)
flask.secret_key = os.environ["SESSION_SECRET"]
flask.config["SESSION_COOKIE_SAMESITE"] = "Lax"


def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in end user, from the session's cookie. A plain function runs in a thread."""
    signer = SecureCookieSessionInterface().get_signing_serializer(flask)
    if signer is None:  # there is no secret key
        return None
    max_age = int(flask.permanent_session_lifetime.total_seconds())
    try:
        signed_in = signer.loads(connection.cookies.get("session", ""), max_age=max_age)
    except BadSignature:
        return None
    user = USERS.get(signed_in.get("user", ""))
    if user is None:
        return None
    return EndUser(email=user["email"], organization_name=user["company"], origin_id=user["company_id"])


@flask.get("/")
def home() -> str:
    """Return the settings page."""
    return PAGE


@flask.post("/sign-in")
def sign_in() -> Response:
    """Sign Ada in. Your app requires a password."""
    session["user"] = "ada"
    return redirect("/", code=303)


embed = KomboEmbed(end_user=current_end_user)


@embed.on("integration.connected")
def start_first_sync(event: Event) -> None:
    """Start the first sync: `event.integration` has Kombo's id for your calls to Kombo."""
    if event.integration is not None:
        print(f"{event.integration.tool} of {event.origin_id} is connected", flush=True)  # noqa: T201 - an example


wsgi = WSGIMiddleware(flask)  # type: ignore[arg-type] # it has a type of its own for the environ
app = KomboEmbedMiddleware(wsgi, embed=embed, path="/kombo")
