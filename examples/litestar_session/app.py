"""A Litestar app with a session on the server. kombo-embed is in front of it and reads the same session."""

from __future__ import annotations

import json

from litestar import Litestar, MediaType, Request, get, post
from litestar.datastructures import State
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.response import Redirect
from litestar.stores.memory import MemoryStore
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
# In your app, a database.
USERS = {"ada": {"email": "ada@northwind.example", "company": "Northwind", "company_id": "org_1"}}
sessions = MemoryStore()  # with several processes, Litestar's RedisStore


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in end user, from the store that the session's cookie points into."""
    stored = await sessions.get(connection.cookies.get("session", ""))
    user = USERS.get(json.loads(stored).get("user", "")) if stored else None
    if user is None:
        return None
    return EndUser(email=user["email"], organization_name=user["company"], origin_id=user["company_id"])


@get("/", media_type=MediaType.HTML)
async def home() -> str:
    """Return the settings page."""
    return PAGE


@post("/sign-in")
async def sign_in(request: Request[object, object, State]) -> Redirect:
    """Sign Ada in. Your app requires a password."""
    request.set_session({"user": "ada"})
    return Redirect("/", status_code=303)


embed = KomboEmbed(end_user=current_end_user)


@embed.on("integration.connected")
async def start_first_sync(event: Event) -> None:
    """Start the first sync: `event.integration` has Kombo's id for your calls to Kombo."""
    if event.integration is not None:
        print(f"{event.integration.tool} of {event.origin_id} is connected", flush=True)  # noqa: T201 - an example


litestar = Litestar(
    [home, sign_in],
    middleware=[ServerSideSessionConfig(samesite="lax").middleware],
    stores={"sessions": sessions},
)
app = KomboEmbedMiddleware(litestar, embed=embed, path="/kombo")
