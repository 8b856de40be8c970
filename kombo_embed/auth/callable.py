"""Calls the host's own callables, and logs what is wrong with what they raise or return."""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import cast, get_args

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from kombo_embed.errors import IdentityError, KomboEmbedError
from kombo_embed.models import Duplicates, EndUser, LinkOptions
from kombo_embed.ports import EndUserCallable, LinkOptionsCallable

logger = logging.getLogger("kombo_embed.auth")

ERROR_STATUSES = range(400, 600)


class CallableResolver:
    """Calls the host's ``end_user`` callable, async or plain.

    Starlette's ``HTTPException`` passes through, because the host has chosen its response.
    """

    def __init__(self, end_user: EndUserCallable) -> None:
        self._end_user = end_user

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """Return the signed-in end user, or None; raise `IdentityError` for a bug of the host's."""
        result = await call("end_user", self._end_user, connection)
        if result is None or isinstance(result, EndUser):
            return result
        raise logged(f"end_user must return an EndUser or None, not {type(result).__name__}")


class UnconfiguredResolver:
    """Fails for a mount that cannot resolve the end user because only a router of the host's can."""

    async def __call__(self, connection: HTTPConnection) -> EndUser | None:
        """Raise an error that says how to configure the mount."""
        del connection
        raise logged(
            "this mount has no end_user; the one given to kombo_embed.fastapi.router serves that router "
            "only. Pass KomboEmbed(end_user=...), or use KomboEmbedMiddleware in place of install()"
        )


async def link_options(
    options: LinkOptionsCallable, connection: HTTPConnection, end_user: EndUser
) -> LinkOptions:
    """Call the host's async or plain ``link_options``; raise `IdentityError` for a bug of the host's."""
    result = await call("link_options", options, connection, end_user)
    if not isinstance(result, LinkOptions):
        raise logged(f"link_options must return LinkOptions, not {type(result).__name__}")
    for item in fields(result):
        value = getattr(result, item.name)
        if item.name == "duplicates" and value not in (None, *get_args(Duplicates)):
            raise logged(f"LinkOptions.duplicates must be one of {', '.join(get_args(Duplicates))}")
        kind = bool if item.name.startswith("enable_") else str
        if value is not None and not isinstance(value, kind):
            raise logged(f"LinkOptions.{item.name} must be {kind.__name__}, not {type(value).__name__}")
    return result


def refusal_of(name: str, error: Exception) -> HTTPException | IdentityError:
    """Convert what the host's code raised: its ``HTTPException`` is its response, everything else is a bug.

    The only exception of an exception group counts as itself.
    """
    raised_at = traceback.extract_tb(error.__traceback__)
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, HTTPException):
        if error.status_code in ERROR_STATUSES:
            return error
        return logged(f"{name} raised HTTPException with status {error.status_code}")
    if isinstance(error, KomboEmbedError):
        return logged(f"{name}: {error}")
    # The message may contain anything of the host's, so the log gets only the type and the place.
    frame = [*raised_at, *traceback.extract_tb(error.__traceback__)][-1]
    return logged(f"{name} raised {type(error).__name__} at {frame.filename}:{frame.lineno}")


async def call(name: str, function: Callable[..., object], *arguments: object) -> object:
    """Call a host's async or plain callable; a plain one runs in a worker thread. Raise as `refusal_of`."""
    try:
        if _is_async(function):
            return await cast("Awaitable[object]", function(*arguments))
        # A plain callable may block, in a database query for example.
        result = await run_in_threadpool(function, *arguments)
        return await result if inspect.isawaitable(result) else result
    except Exception as error:  # noqa: BLE001 - the host's code may raise anything
        raise refusal_of(name, error) from None


def _is_async(function: Callable[..., object]) -> bool:
    call = function.func if isinstance(function, functools.partial) else function
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004 - it may be async


def logged(reason: str) -> IdentityError:
    """Log what is wrong with a host's callable, and return the error to raise."""
    logger.error("identity.failed", extra={"reason": reason})
    return IdentityError(reason)
