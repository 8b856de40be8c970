"""Fieldnotes, a made-up product whose customers connect their HR tools. Written as a host app would be.

What kombo-embed needs of it is `current_end_user`, one `KomboEmbed` and ``embed.install(app)``; what it gives
back comes through ``embed.on``. The rest is any small app: a login, a page, a list of what happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kombo_embed import EndUser, Event, KomboEmbed, Settings
from kombo_embed.demo.activity import Activity
from kombo_embed.demo.answers import asset, page, problem, tagged_json
from kombo_embed.demo.people import ORGANIZATIONS, PEOPLE, Person
from kombo_embed.integration import EVENT_TYPES

if TYPE_CHECKING:
    import httpx

    from kombo_embed.ports import LinkCache

COOKIE = "fieldnotes_session"  # a name of its own: cookies of all ports of localhost lie in one jar


def create_app(
    settings: Settings | None = None,
    *,
    session_secret: str,
    sandbox_url: str | None = None,
    http_transport: httpx.AsyncBaseTransport | None = None,
    link_cache: LinkCache | None = None,
) -> Starlette:
    """Make the demo's host app; its `KomboEmbed` is ``app.state.embed``.

    Args:
        settings: By default ``Settings()``, read from the environment.
        session_secret: What the session cookie is signed with.
        sandbox_url: The origin of the local sandbox, where there is one; the page links to it.
        http_transport: Another httpx transport than the network, for tests.
        link_cache: Where links wait, instead of this process's memory.

    Raises:
        ConfigurationError: Settings are missing or wrong.
    """
    settings = settings or Settings()
    activity = Activity(organization.id for organization in ORGANIZATIONS)
    embed = KomboEmbed(
        end_user=current_end_user, settings=settings, http_transport=http_transport, link_cache=link_cache
    )

    async def note(event: Event) -> None:
        activity.note(event)

    for event_type in EVENT_TYPES:  # yours would name one: @embed.on("integration.connected")
        embed.on(event_type)(note)

    app = Starlette(
        routes=routes(),
        middleware=[Middleware(SessionMiddleware, secret_key=session_secret, session_cookie=COOKIE)],
        exception_handlers={HTTPException: problem},
    )
    app.state.embed = embed
    app.state.activity = activity
    app.state.mount_path = settings.mount_path
    app.state.sandbox_url = sandbox_url
    embed.install(app, settings.mount_path)
    return app


def routes() -> list[Route]:
    """The demo's own routes; kombo-embed puts its own in front of them."""
    return [
        Route("/", home),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
        Route("/me", me),
        Route("/events", events),
        Route("/assets/{name}", asset),
        Route("/favicon.ico", asset),
    ]


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Who is signed in, for kombo-embed; None for nobody."""
    person = signed_in(connection)
    return person.end_user if person else None


async def home(request: Request) -> Response:
    """``GET /``: the integrations of the person's organisation, or the login page."""
    state = request.app.state
    person = signed_in(request)
    context: dict[str, object] = {"sandbox_url": state.sandbox_url}
    if person is None:
        return page("login", frames_from="'none'", context=context)
    context |= {"module": f"{state.mount_path}/kombo-embed.js", **introduce(person)}
    # Where Kombo's own Connect page lives is not documented, so with real Kombo any https origin will do.
    return page("app", frames_from=state.sandbox_url or "https:", context=context)


async def sign_in(request: Request) -> Response:
    """``POST /sign-in``: as one of the people; a real login would ask for more than a name."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    person = PEOPLE.get(fields.get("person", [""])[0])
    if person is None:
        raise HTTPException(422, f"Nobody has this name here. Send person as one of {', '.join(PEOPLE)}.")
    request.session.clear()
    request.session["person"] = person.id
    return RedirectResponse("/", status_code=303)


async def sign_out(request: Request) -> Response:
    """``POST /sign-out``."""
    request.session.clear()
    return RedirectResponse("/", status_code=303)


async def me(request: Request) -> Response:
    """``GET /me``: who is signed in, so that a page notices when that changed in another tab."""
    return tagged_json(request, introduce(required(request)))


async def events(request: Request) -> Response:
    """``GET /events``: what happened at the person's organisation, newest first."""
    person = required(request)
    happened = request.app.state.activity.of(person.organization.id)
    return tagged_json(request, {"person": person.id, "events": happened})


def signed_in(connection: HTTPConnection) -> Person | None:
    """The person whose session this is, if anybody's."""
    return PEOPLE.get(connection.session.get("person", ""))


def required(request: Request) -> Person:
    """The signed-in person.

    Raises:
        HTTPException: 401, nobody is signed in.
    """
    person = signed_in(request)
    if person is None:
        raise HTTPException(401, "Sign in first.")
    return person


def introduce(person: Person) -> dict[str, object]:
    """A person, as the page shows them."""
    return {
        "person": {"id": person.id, "name": person.name, "role": person.role},
        "organization": {"name": person.organization.name},
    }
