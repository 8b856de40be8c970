"""A Django project in one file. kombo-embed is in front of Django's ASGI app and reads Django's session.

In a project of your own, these lines are in `asgi.py`; `current_end_user` and the last line are all of them.
"""

from __future__ import annotations

import os
from importlib import import_module

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, Event, KomboEmbed, KomboEmbedMiddleware

PAGE = """<!doctype html>
<html lang="en">
  <title>Settings</title>
  <form method="post" action="/sign-in"><button>Sign in as Ada</button></form>
  <kombo-connect-button></kombo-connect-button>
  <script type="module" src="/kombo/kombo-embed.js"></script>
</html>
"""
# In your app, a model.
USERS = {"ada": {"email": "ada@northwind.example", "company": "Northwind", "company_id": "org_1"}}

settings.configure(
    SECRET_KEY=os.environ["SESSION_SECRET"],
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    INSTALLED_APPS=["django.contrib.sessions"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()


def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in end user, from the session. As a plain function, it may use the ORM."""
    sessions = import_module(settings.SESSION_ENGINE)
    session = sessions.SessionStore(connection.cookies.get(settings.SESSION_COOKIE_NAME))
    user = USERS.get(session.get("user", ""))  # with django.contrib.auth: get_user(request) with this session
    if user is None:
        return None
    return EndUser(email=user["email"], organization_name=user["company"], origin_id=user["company_id"])


def home(request: HttpRequest) -> HttpResponse:
    """Return the settings page."""
    del request
    return HttpResponse(PAGE)


def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign Ada in. Your app requires a password, and Django's CsrfViewMiddleware."""
    request.session["user"] = "ada"
    return redirect("/")


urlpatterns = [path("", home), path("sign-in", sign_in)]
embed = KomboEmbed(end_user=current_end_user)


@embed.on("integration.connected")
async def start_first_sync(event: Event) -> None:
    """Start the first sync: `event.integration` has Kombo's id for your calls to Kombo."""
    if event.integration is not None:
        print(f"{event.integration.tool} of {event.origin_id} is connected", flush=True)  # noqa: T201 - an example


app = KomboEmbedMiddleware(get_asgi_application(), embed=embed, path="/kombo")
