"""Parses the end user out of a login's claims, along the paths that the settings name."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kombo_embed.errors import IdentityError
from kombo_embed.models import EndUser

MISSING = object()  # the result of a step without a value; None can be a value
ANY = "*"
ANY_LATER = re.compile(r"\.\*(?=\.|$)")  # a ``*`` step that is not the first one
INDEX = re.compile(r"0|[1-9][0-9]{0,5}")
Step = Callable[[object, str], object]


class AmbiguousClaim(Exception):
    """A ``*`` in a path has more than one candidate, so nothing says which customer the end user acts for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPaths:
    """Where each part of an end user is found.

    A path is a step, or steps with dots between them: ``organization.id``. A step is a key, an index of a
    list (``organizations.0.id``), or ``*``: the only element of a list, the only value of a map
    (``organization.*.id``), or the only key of a map if it is the last step (``organization.*``). A key may
    contain dots itself, such as ``https://acme.example/org_id``: each step takes the longest key that exists.
    ``*`` is never a key.

    ``prefix`` is what the names of the settings begin with, for messages.
    """

    email: str
    organization_name: str
    origin_id: str
    prefix: str


def key_of(source: object, name: str) -> object:
    """Step into parsed JSON: return a mapping's value, or a list's element."""
    if isinstance(source, Mapping):
        return source.get(name, MISSING)
    if isinstance(source, list | tuple) and INDEX.fullmatch(name) and int(name) < len(source):
        return source[int(name)]
    return MISSING


def key_or_attribute_of(source: object, name: str) -> object:
    """Step into a host's own object: return a mapping's value, a list's element, or else an attribute."""
    value = key_of(source, name)
    if value is MISSING and not isinstance(source, Mapping):
        return getattr(source, name, MISSING)
    return value


def parse_end_user(source: object, paths: ClaimPaths, *, step: Step = key_of) -> EndUser:
    """Return the end user that a login's claims name; raise `IdentityError` if a part is missing or invalid.

    The message names the setting and the path, no value. An origin id that is an integer or a UUID becomes a
    string, since the host cannot convert it here. Raises `AmbiguousClaim`, with such a message, if a ``*``
    has several candidates.
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
    path, variable = getattr(paths, name), f"{paths.prefix}CLAIM_{name.upper()}"
    try:
        value = _follow(source, path, step)
    except AmbiguousClaim:
        raise AmbiguousClaim(
            f"there are several values at a * of {path!r}, where {variable} says to look"
        ) from None
    if value is MISSING or value is None:
        raise IdentityError(f"there is no {path!r}, where {variable} says to look")
    return value


def _follow(source: object, path: str, step: Step) -> object:
    first, dot, rest = path.partition(".")
    if first == ANY:
        only = _only(source, is_last=not dot)
        return _follow(only, rest, step) if dot else only
    for key, remaining in _keys(path):
        value = step(source, key)
        if value is not MISSING:
            return value if remaining is None else _follow(value, remaining, step)
    return MISSING


def _keys(path: str) -> Iterator[tuple[str, str | None]]:
    """Yield the keys that a path can begin with, the longest first, each with the path that remains.

    None contains a ``*`` step: in a map keyed by names that customers choose, a customer named ``*.id`` would
    otherwise decide for the others.
    """
    later = ANY_LATER.search(path)
    if later is None:
        yield path, None
    for at in range(later.start() if later else len(path) - 1, 0, -1):
        if path[at] == ".":
            yield path[:at], path[at + 1 :]


def _only(source: object, *, is_last: bool) -> object:
    candidates: Collection[object]
    if isinstance(source, Mapping):
        candidates = source.keys() if is_last else source.values()
    elif isinstance(source, list | tuple | set | frozenset):
        candidates = source
    else:
        return MISSING
    if len(candidates) > 1:
        raise AmbiguousClaim
    return next(iter(candidates), MISSING)
