"""The host's own callables, called with care: what they raise or return wrongly is told to the operator."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable
from dataclasses import fields
from types import NoneType
from typing import get_args

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from kombo_embed.errors import IdentityError, KomboEmbedError
from kombo_embed.models import Duplicates, EndUser, LinkOptions
from kombo_embed.ports import EndUserCallable, LinkOptionsCallable

logger = logging.getLogger("kombo_embed.auth")

ANSWERS = (EndUser, LinkOptions, NoneType)
ERROR_STATUSES = range(400, 600)


class CallableResolver:
    """Asks the host's ``end_user`` callable, async or plain.

    An ``HTTPException`` of Starlette's passes through: the host decided how to answer.
    """

    def __init__(self, end_user: EndUserCallable) -> None:
        self._end_user = end_user

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """The signed-in end user, or None.

        Raises:
            IdentityError: The callable failed, or returned neither an `EndUser` nor None.
        """
        result = await _call("end_user", self._end_user, connection)
        if result is None or isinstance(result, EndUser):
            return result
        raise _told(f"end_user must return an EndUser or None, not {type(result).__name__}")


class UnconfiguredResolver:
    """Stands in where only a router of the host's knows who is signed in."""

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """Nobody can be told.

        Raises:
            IdentityError: Always.
        """
        del connection
        raise _told(
            "this mount has no end_user; the one given to kombo_embed.fastapi.router serves that router "
            "only. Pass KomboEmbed(end_user=...), or use KomboEmbedMiddleware in place of install()"
        )


async def link_options(
    options: LinkOptionsCallable, connection: HTTPConnection, end_user: EndUser
) -> LinkOptions:
    """Ask the host's ``link_options`` callable, async or plain.

    Raises:
        IdentityError: The callable failed, or returned no `LinkOptions`.
    """
    result = await _call("link_options", options, connection, end_user)
    if isinstance(result, LinkOptions):
        for item in fields(result):
            value = getattr(result, item.name)
            if item.name == "duplicates" and value not in (None, *get_args(Duplicates)):
                raise _told(f"LinkOptions.duplicates must be one of {', '.join(get_args(Duplicates))}")
            kind = bool if item.name.startswith("enable_") else str
            if value is not None and not isinstance(value, kind):
                raise _told(f"LinkOptions.{item.name} must be {kind.__name__}, not {type(value).__name__}")
        return result
    raise _told(f"link_options must return LinkOptions, not {type(result).__name__}")


def refusal_of(name: str, error: Exception) -> HTTPException | IdentityError:
    """What the host's code says by raising this: its ``HTTPException`` is its answer, all else is its bug.

    A task group's only failure counts as itself.
    """
    raised_at = traceback.extract_tb(error.__traceback__)
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, HTTPException):
        if error.status_code in ERROR_STATUSES:
            return error
        return _told(f"{name} raised HTTPException with status {error.status_code}")
    if isinstance(error, KomboEmbedError):
        return _told(f"{name}: {error}")
    # The message may hold anything of the host's, so the log gets the kind and the place.
    frame = [*raised_at, *traceback.extract_tb(error.__traceback__)][-1]
    return _told(f"{name} raised {type(error).__name__} at {frame.filename}:{frame.lineno}")


async def _call(name: str, function: Callable[..., object], *arguments: object) -> object:
    try:
        result = function(*arguments)
        if isinstance(result, ANSWERS):
            return result
        return await result if inspect.isawaitable(result) else result
    except Exception as error:  # noqa: BLE001 - the host's code raises what it likes
        raise refusal_of(name, error) from None


def _told(cause: str) -> IdentityError:
    logger.error("identity.failed: %s", cause)
    return IdentityError(cause)
