"""One request of an authorized person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kombo_embed.console import access
from kombo_embed.console.access import Action, Authorize
from kombo_embed.console.desk import Desk
from kombo_embed.console.render import render
from kombo_embed.errors import InvalidRequest, RouteNotFound, UnsupportedMediaType
from kombo_embed.web.bodies import read_body

FORM_MAX_BYTES, FORM_MAX_FIELDS = 16 * 1024, 20
FORM_TYPE = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class Visit:
    """A request, who makes it, and the path of the mount, encoded.

    ``acts_as`` is the name that ``authorize`` returned for the form's own action, for the audit trail.
    """

    request: Request
    desk: Desk
    actor: str
    prefix: str
    authorize: Authorize
    form: dict[str, str] = field(default_factory=dict[str, str])
    acts_as: str = ""

    async def may(self, action: Action) -> bool:
        """Return whether this person may do this here, and remember as whom."""
        if self.desk.services is None:
            return False
        actor = await access.find_actor(self.authorize, self.request.scope, action)
        self.acts_as = actor or ""
        return actor is not None

    def query(self, name: str) -> str:
        """Return a parameter of the query, without NUL, which PostgreSQL does not take; empty if missing."""
        return self.request.query_params.get(name, "").replace("\x00", "\ufffd").strip()

    def page(self, template: str, status: int = 200, **context: Any) -> Response:  # noqa: ANN401 - for a template
        """Return a page."""
        shared = {
            "prefix": self.prefix,
            "actor": self.actor,
            "now": self.desk.now(),
            "token": access.sign_token(self.desk, self.actor),
            "environment": self.desk.support.environment,
            "done": self.query("done"),
        }
        return render(template, shared | context, status=status)

    def redirect(self, path: str, **query: str) -> Response:
        """Return a redirect to a page, as an answer to a form."""
        return RedirectResponse(f"{self.prefix}{path}?{urlencode(query)}", status_code=303)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; raise `InvalidRequest` if the body is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise UnsupportedMediaType("Send a form.")
    body = await read_body(request, limit=FORM_MAX_BYTES)
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FORM_MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise InvalidRequest("The form cannot be read.") from None
    if len(dict(fields)) != len(fields):
        raise InvalidRequest("A field is there twice.")
    return {name: value.replace("\x00", "\ufffd").strip() for name, value in fields}


def required(value: str) -> str:
    """Return a value; raise `RouteNotFound` if it is empty."""
    if not value:
        raise RouteNotFound("There is no such page.")
    return value
