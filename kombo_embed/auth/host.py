"""The host's own callables, called with care: what they raise or return wrongly is told to the operator."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Callable
from dataclasses import fields
from http import HTTPStatus
from typing import get_args

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from kombo_embed.errors import IdentityError, KomboEmbedError
from kombo_embed.models import Duplicates, EndUser, LinkOptions
from kombo_embed.ports import EndUserCallable, LinkOptionsCallable

logger = logging.getLogger("kombo_embed.auth")


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


async def _call(name: str, function: Callable[..., object], *arguments: object) -> object:
    try:
        result = function(*arguments)
        return await result if inspect.isawaitable(result) else result
    except HTTPException as error:
        if error.status_code < HTTPStatus.BAD_REQUEST:
            raise _told(f"{name} raised HTTPException with status {error.status_code}") from None
        raise
    except KomboEmbedError as error:
        raise _told(f"{name}: {error}") from None
    except Exception as error:
        # The message may hold anything of the host's, so the log gets the kind and the place.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise _told(f"{name} raised {type(error).__name__} at {frame.filename}:{frame.lineno}") from error


def _told(cause: str) -> IdentityError:
    logger.error("identity.failed: %s", cause)
    return IdentityError(cause)
