"""Reading untrusted JSON bodies: small explicit rules instead of a schema library."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from kombo_embed.sandbox.errors import InputInvalid

WordT = TypeVar("WordT", bound=str)

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


class Rule(Protocol):
    """What a value has to be."""

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string of a least length."""

    min_length: int = 0

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""
        if not isinstance(value, str):
            return "must be a string"
        return "must not be empty" if len(value) < self.min_length else None


@dataclass(frozen=True, slots=True)
class Email:
    """An email address."""

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""
        valid = isinstance(value, str) and _EMAIL.fullmatch(value)
        return None if valid else "must be an email address"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""
        valid = isinstance(value, str) and value in self.words
        return None if valid else f"must be one of {', '.join(self.words)}"


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""
        return None if isinstance(value, bool) else "must be true or false"


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number within bounds."""

    low: float
    high: float
    whole: bool = False

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""
        kinds = (int,) if self.whole else (int, float)
        valid = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
        if valid and self.low <= value <= self.high:  # type: ignore[operator]  # a number by now
            return None
        return f"must be a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class TextOrNumber:
    """A string, or a number that is then taken as written."""

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""
        valid = isinstance(value, str | int | float) and not isinstance(value, bool)
        return None if valid else "must be a string or a number"


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""
        return None if isinstance(value, dict) else "must be an object"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a body: its rule, and whether it may be missing or null."""

    rule: Rule
    required: bool = False
    nullable: bool = False

    def fault(self, value: object) -> str | None:
        """Say what is wrong with the value, or None."""
        if value is None:
            return None if self.nullable else "must not be null"
        return self.rule.fault(value)


class Values:
    """The fields of a body that was found right, with the types that its rules promise."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        """Give a string field, or the default where it is missing or null."""
        return self.optional_text(name) or default

    def optional_text(self, name: str) -> str | None:
        """Give a string field, or None where it is missing or null."""
        value = self._values.get(name)
        return None if value is None else str(value)

    def word(self, name: str, default: WordT) -> WordT:
        """Give a field that a `Choice` has checked, with the type of its words."""
        return cast("WordT", self.text(name, default))

    def optional_word(self, name: str, words: tuple[WordT, ...]) -> WordT | None:
        """Give a field that a `Choice` of these words has checked, or None where it is missing."""
        return next((word for word in words if word == self._values.get(name)), None)

    def flag(self, name: str) -> bool:
        """Give a boolean field; missing is false."""
        return self._values.get(name) is True

    def number(self, name: str, default: float) -> float:
        """Give a number field, or the default where it is missing."""
        value = self._values.get(name)
        return value if isinstance(value, int | float) else default

    def mapping(self, name: str) -> dict[str, object]:
        """Give an object field; missing is empty."""
        value = self._values.get(name)
        return value if isinstance(value, dict) else {}


def read_fields(body: object, fields: Mapping[str, Field]) -> Values:
    """Check a body against its fields.

    Raises:
        InputInvalid: the body is no object, or has fields that are missing, wrong or unknown; all of
            them are named.
    """
    if not isinstance(body, dict):
        raise InputInvalid("The request body must be a JSON object.")
    faults = {name: "is not a known field" for name in body if name not in fields}
    for name, field in fields.items():
        fault = field.fault(body[name]) if name in body else ("is required" if field.required else None)
        if fault:
            faults[name] = fault
    if faults:
        raise InputInvalid("; ".join(f"{name} {fault}" for name, fault in faults.items()) + ".")
    return Values(body)
