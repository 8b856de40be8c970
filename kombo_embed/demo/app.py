"""Fieldnotes, a made-up product whose customers connect their HR tools. Written as a host app would be.

kombo-embed needs `current_end_user`, one `KomboEmbed` and ``embed.install(app)``; it calls the handlers of
``embed.on``. The rest is any small app: a login, a page, a list of events.
"""

from urllib.parse import parse_qs

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kombo_embed import EndUser, KomboEmbed, Settings
from kombo_embed.demo.activity import Activity
from kombo_embed.demo.people import ORGANIZATIONS, PEOPLE, Person
from kombo_embed.demo.responses import asset, page, problem, tagged_json

COOKIE = "fieldnotes_session"  # a name of its own: all ports of localhost share their cookies
CONSOLE_PATH = "/console"
EVENT_TYPES = (
    *("integration.connected", "integration.updated", "integration.deleted", "integration.duplicate"),
    *("flow.failed", "flow.abandoned", "kombo.event"),
)


def create_app(
    settings: Settings | None = None,
    *,
    session_secret: str,
    sandbox_url: str | None = None,
    http_transport: httpx.AsyncBaseTransport | None = None,
) -> Starlette:
    """Return the demo's host app; its `KomboEmbed` is ``app.state.embed``.

    With a local sandbox, the page links to ``sandbox_url``; ``http_transport`` replaces the network.
    """
    settings = settings or Settings()
    activity = Activity(organization.id for organization in ORGANIZATIONS)
    embed = KomboEmbed(end_user=current_end_user, settings=settings, http_transport=http_transport)
    for event_type in EVENT_TYPES:  # yours would name one: @embed.on("integration.connected")
        embed.on(event_type)(activity.add)
    session = Middleware(SessionMiddleware, secret_key=session_secret, session_cookie=COOKIE)
    app = Starlette(routes=routes(), middleware=[session], exception_handlers={HTTPException: problem})
    app.state.embed, app.state.activity = embed, activity
    app.state.mount_path, app.state.sandbox_url = settings.mount_path, sandbox_url
    embed.install(app, settings.mount_path)
    if sandbox_url is not None:  # with real Kombo, it would show real customers to anyone
        app.mount(CONSOLE_PATH, embed.console(authorize=support_team))
    return app


def routes() -> list[Route]:
    """Return the demo's own routes; kombo-embed inserts its own before them."""
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
    """Return the signed-in end user, for kombo-embed."""
    person = signed_in(connection)
    return person.end_user if person else None


async def support_team(_request: Request, _action: str) -> str:
    """Let anyone into the demo's console; yours would let in your support team alone."""
    return "Sam of Fieldnotes"


async def home(request: Request) -> Response:
    """``GET /``: the integrations of the person's organization, or the login page."""
    state = request.app.state
    person = signed_in(request)
    console_url = f"{CONSOLE_PATH}/" if state.sandbox_url else None
    context: dict[str, object] = {"sandbox_url": state.sandbox_url, "console_url": console_url}
    if person is None:
        return page("login", frames_from="'none'", context=context)
    context |= {"module": f"{state.mount_path}/kombo-embed.js", **introduce(person)}
    # Kombo does not document the origin of its Connect page, so with real Kombo any https origin is allowed.
    return page("app", frames_from=state.sandbox_url or "https:", context=context)


async def sign_in(request: Request) -> Response:
    """``POST /sign-in``: as one of the people; a real login would require more than a name."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    person = PEOPLE.get(fields.get("person", [""])[0])
    if person is None:
        raise HTTPException(422, f"Unknown person. Send person as one of {', '.join(PEOPLE)}.")
    request.session.clear()
    request.session["person"] = person.id
    return RedirectResponse("/", status_code=303)


async def sign_out(request: Request) -> Response:
    """``POST /sign-out``."""
    request.session.clear()
    return RedirectResponse("/", status_code=303)


async def me(request: Request) -> Response:
    """``GET /me``: the signed-in person, so that a page can see a change that another tab made."""
    return tagged_json(request, introduce(required(request)))


async def events(request: Request) -> Response:
    """``GET /events``: the events of the person's organization, newest first."""
    person = required(request)
    entries = request.app.state.activity.of(person.organization.id)
    return tagged_json(request, {"person": person.id, "events": entries})


def signed_in(connection: HTTPConnection) -> Person | None:
    """Return the person of this session, or None if it is not signed in."""
    return PEOPLE.get(connection.session.get("person", ""))


def required(request: Request) -> Person:
    """Return the signed-in person, or raise a 401."""
    person = signed_in(request)
    if person is None:
        raise HTTPException(401, "Sign in first.")
    return person


def introduce(person: Person) -> dict[str, object]:
    """Return the part of a person that the page needs."""
    return {
        "person": {"id": person.id, "name": person.name, "role": person.role},
        "organization": {"name": person.organization.name},
    }
