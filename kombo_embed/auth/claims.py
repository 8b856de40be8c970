"""Parses the end user out of a login's claims, along the paths that the settings name."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kombo_embed.errors import IdentityError
from kombo_embed.models import EndUser

MISSING = object()  # the result of a step without a value; None can be a value
Step = Callable[[object, str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPaths:
    """Where each part of an end user is found.

    A path is a key, or keys with dots between them: ``organization.id``. A key may contain dots itself, such
    as ``https://acme.example/org_id``: each step takes the longest key that exists.

    ``prefix`` is what the names of the settings begin with, for messages.
    """

    email: str
    organization_name: str
    origin_id: str
    prefix: str


def key_of(source: object, name: str) -> object:
    """Step into parsed JSON: return a mapping's value."""
    return source.get(name, MISSING) if isinstance(source, Mapping) else MISSING


def key_or_attribute_of(source: object, name: str) -> object:
    """Step into a host's own object: return a mapping's value, or else an attribute."""
    return key_of(source, name) if isinstance(source, Mapping) else getattr(source, name, MISSING)


def parse_end_user(source: object, paths: ClaimPaths, *, step: Step = key_of) -> EndUser:
    """Return the end user that a login's claims name; raise `IdentityError` if a part is missing or invalid.

    The message names the setting and the path, no value. An origin id that is an integer or a UUID becomes a
    string, since the host cannot convert it here.
    """
    origin_id = _read(source, paths, "origin_id", step)
    if isinstance(origin_id, int | uuid.UUID) and not isinstance(origin_id, bool):
        origin_id = str(origin_id)
    email = _read(source, paths, "email", step)
    organization_name = _read(source, paths, "organization_name", step)
    try:
        return EndUser(email, organization_name, origin_id)  # it validates the types itself
    except IdentityError as error:
        raise IdentityError(
            f"{error} (read from {paths.email!r}, {paths.organization_name!r} and {paths.origin_id!r}, "
            f"as {paths.prefix}CLAIM_EMAIL, _ORGANIZATION_NAME and _ORIGIN_ID say)"
        ) from None


def _read(source: object, paths: ClaimPaths, name: str, step: Step) -> Any:  # noqa: ANN401 - from a login
    path = getattr(paths, name)
    value = _follow(source, path, step)
    if value is MISSING or value is None:
        variable = f"{paths.prefix}CLAIM_{name.upper()}"
        raise IdentityError(f"there is no {path!r}, where {variable} says to look")
    return value


def _follow(source: object, path: str, step: Step) -> object:
    value = step(source, path)
    if value is not MISSING:
        return value
    for at in (at for at in range(len(path) - 1, 0, -1) if path[at] == "."):
        inner = step(source, path[:at])
        if inner is not MISSING:
            return _follow(inner, path[at + 1 :], step)
    return MISSING
