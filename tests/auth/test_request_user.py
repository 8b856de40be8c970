"""``KOMBO_AUTH=request_user``: the end user is the user that Starlette's AuthenticationMiddleware found."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    UnauthenticatedUser,
)
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from kombo_embed import KomboEmbed
from kombo_embed.sandbox import Sandbox
from tests.auth.logged import logged_reason
from tests.support import make_settings, minted, running


class Backend(AuthenticationBackend):
    """Authenticates every request as this user."""

    def __init__(self, user: Any) -> None:
        self._user = user

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        del conn
        return None if self._user is None else (AuthCredentials(["authenticated"]), self._user)


@dataclass
class User(BaseUser):
    """A host's own user, as an ORM would return it."""

    email: Any = "ada@acme.example"
    organization: Any = None
    plan: str = "hidden-plan"

    @property
    def is_authenticated(self) -> bool:
        return True


class UserWithAKeyForEverything(dict[str, Any]):
    is_authenticated = True


ACME = SimpleNamespace(name="Acme", id="acme")
PATHS = {"claim_organization_name": "organization.name", "claim_origin_id": "organization.id"}


async def ask(kombo: httpx.AsyncBaseTransport, user: Any, **settings: Any) -> httpx.Response:
    """Ask for a link, signed in as this user; the string ``no middleware`` leaves that out."""
    embed = KomboEmbed(settings=make_settings(auth="request_user", **settings), http_transport=kombo)
    app = Starlette()
    embed.install(app)
    if user != "no middleware":
        app.add_middleware(AuthenticationMiddleware, backend=Backend(user))
    async with running(app) as client:
        return await client.post("/kombo/links", json={})


@pytest.mark.parametrize(
    ("user", "settings"),
    [
        (User(organization=ACME), PATHS),
        (User(organization={"name": "Acme", "id": 7}), PATHS),
        (User(organization=SimpleNamespace(name="Acme", id=uuid.uuid4())), PATHS),
        (
            UserWithAKeyForEverything(email="ada@acme.example", organization_name="Acme", organization_id=7),
            {},
        ),
    ],
)
async def test_the_end_user_is_read_from_attributes_and_keys(
    user: Any, settings: dict[str, str], sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    assert (await ask(kombo, user, **settings)).status_code == 200
    assert minted(sandbox) == 1


@pytest.mark.parametrize("user", [None, UnauthenticatedUser()])
async def test_a_user_that_is_not_authenticated_is_not_signed_in(
    user: Any, kombo: httpx.AsyncBaseTransport
) -> None:
    answer = await ask(kombo, user)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


class UserOfAnOldDjango(SimpleNamespace):
    def is_authenticated(self) -> bool:
        return False


class Failing(User):
    @property
    def organization_name(self) -> str:
        raise LookupError("hidden-plan")


@pytest.mark.parametrize(
    ("make_user", "reason"),
    [
        (lambda: "no middleware", "app.add_middleware(AuthenticationMiddleware, backend=...)"),
        (User, "in request.user: there is no 'organization_id', where KOMBO_CLAIM_ORIGIN_ID says"),
        (lambda: User(email=None, organization=ACME), "KOMBO_CLAIM_"),
        (lambda: SimpleNamespace(email="ada@acme.example"), "request.user.is_authenticated must be a bool"),
        (UserOfAnOldDjango, "request.user.is_authenticated must be a bool"),
        (BaseUser, "request.user raised NotImplementedError at"),
        (Failing, "there is no 'organization_id'"),
    ],
)
async def test_an_unusable_user_is_an_error_of_the_host_that_the_log_names(
    make_user: Callable[[], Any],
    reason: str,
    kombo: httpx.AsyncBaseTransport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = await ask(kombo, make_user())
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
    logged = logged_reason(caplog)
    assert reason in logged
    for text in (answer.text, logged, caplog.text):
        assert "acme.example" not in text
        assert "hidden-plan" not in text


async def test_of_a_property_that_fails_only_the_type_and_the_place_are_logged(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(kombo, Failing(organization=ACME), claim_origin_id="organization.id")
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
    assert "request.user raised LookupError at" in logged_reason(caplog)
    assert "hidden-plan" not in logged_reason(caplog)


async def test_a_star_in_a_claim_path_accepts_exactly_one_organization(
    kombo: httpx.AsyncBaseTransport, caplog: pytest.LogCaptureFixture
) -> None:
    paths = {"claim_organization_name": "organization.*.name", "claim_origin_id": "organization.0.id"}
    assert (await ask(kombo, User(organization=[ACME]), **paths)).status_code == 200
    answer = await ask(kombo, User(organization=[ACME, ACME]), **paths)
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
    assert "in request.user: there are several values at a *" in logged_reason(caplog)
