"""Decodes Kombo's JSON so that every database can store the result. No I/O.

What has no exact representation becomes text: numbers that are too large, and half of an emoji, which
JavaScript leaves when it truncates a text. Identifiers must be exact, so `KomboId` and `OriginId` reject it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from kombo_embed.models import LONE_SURROGATE, ORIGIN_ID_MAX_LENGTH

DIGITS_MAX = 300
DEPTH_MAX = 100
TEXT_MAX_LENGTH = 2000  # of a text that pages show, or the URL of an image
ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# In place of a lone surrogate. Databases cannot store it either: they get U+FFFD, the replacement character.
UNREADABLE = "\x00"
READABLE = r"^[^\x00]*$"


class LargeNumber(str):
    """The digits of a number that databases cannot store; no calculation uses it."""

    __slots__ = ()


def _refuse_number(value: object) -> object:
    if isinstance(value, LargeNumber):
        raise ValueError("must be a string")  # noqa: TRY004 - pydantic expects it
    return value


_NotNumber = BeforeValidator(_refuse_number)
KomboId = Annotated[str, _NotNumber, Field(min_length=1, max_length=255, pattern=READABLE)]
OriginId = Annotated[str, _NotNumber, Field(max_length=ORIGIN_ID_MAX_LENGTH, pattern=READABLE)]


def decode(body: bytes) -> object:
    """Return the content of a body; raise ValueError if it is not JSON in UTF-8, or nested too deeply."""
    try:
        content: object = _DECODER.decode(body.decode())  # UTF-8, and nothing else (RFC 8259, 8.1)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _is_deeper(content, DEPTH_MAX):
        raise ValueError("nested too deeply")
    return _readable(content) if has_lone_surrogate(body) else content


def is_text(value: object) -> bool:
    """Return whether a value is a text that every database stores as it is."""
    if not isinstance(value, str) or isinstance(value, LargeNumber):
        return False
    return value.strip() != "" and len(value) <= TEXT_MAX_LENGTH and UNREADABLE not in value


def has_lone_surrogate(body: bytes) -> bool:
    """Return whether a body may contain half of an emoji: whole ones can be escaped the same way."""
    return ESCAPED_SURROGATE.search(body) is not None


def _readable(content: object) -> object:
    if isinstance(content, dict):
        return {_readable(name): _readable(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_readable(value) for value in content]
    if not isinstance(content, str) or isinstance(content, LargeNumber):
        return content
    return LONE_SURROGATE.sub(UNREADABLE, content)


def _is_deeper(content: object, depth: int) -> bool:
    """Return whether objects and lists are nested in more than this many levels."""
    level = [content]
    for _ in range(depth):
        parents = [one for one in level if isinstance(one, dict | list)]
        level = [child for one in parents for child in (one.values() if isinstance(one, dict) else one)]
    return any(isinstance(one, dict | list) for one in level)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float | LargeNumber:
    number = float(digits)
    return number if math.isfinite(number) else LargeNumber(digits)


def _short(digits: str) -> int | LargeNumber:
    return int(digits) if len(digits) <= DIGITS_MAX else LargeNumber(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, parse_int=_short)
