"""What a browser may choose about a link, and what it may not."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, get_args

from kombo_embed.errors import FieldError, InvalidRequest, KomboRejected
from kombo_embed.kombo import failures
from kombo_embed.models import Category, Language, LinkOptions, LinkRequest
from kombo_embed.settings import Settings

CATEGORIES = get_args(Category)
LANGUAGES = get_args(Language)


class Choice(NamedTuple):
    """What the browser chose; None is left to the settings."""

    category: str | None = None
    tool: str | None = None
    language: str | None = None
    fresh: bool = False


def choose(settings: Settings, choice: Choice, options: LinkOptions) -> LinkRequest:
    """The request for a connection link: the browser's choice, the settings where it chose nothing.

    Raises:
        InvalidRequest: The choice is not within ``KOMBO_ALLOWED_CATEGORIES`` and ``KOMBO_ALLOWED_TOOLS``.
    """
    category = choice.category or settings.integration_category
    tool = choice.tool
    if tool is None and len(settings.allowed_tools) == 1:
        tool = settings.allowed_tools[0]
    language = choice.language or settings.language
    errors = []
    for name, value, known in (
        ("integration_category", category, CATEGORIES),
        ("language", language, LANGUAGES),
    ):
        if value not in known:
            errors.append(FieldError(name, f"must be one of {', '.join(known)}"))
    if settings.allowed_categories and category not in settings.allowed_categories:
        allowed = ", ".join(settings.allowed_categories)
        errors.append(FieldError("integration_category", f"must be one of {allowed}"))
    if settings.allowed_tools and tool not in settings.allowed_tools:
        # Without a tool the end user could choose any on Kombo's page.
        needed = "must be" if tool else "is needed:"
        errors.append(FieldError("integration_tool", f"{needed} one of {', '.join(settings.allowed_tools)}"))
    if errors:
        told = "; ".join(f"{error.field} {error.reason}" for error in errors)
        raise InvalidRequest(f"This is not offered here: {told}.", *errors)
    # Whether a second one is allowed is decided before the mint. It is no part of the link.
    return LinkRequest(category, language, tool, replace(options, duplicates=None))


def blamed_on(choice: Choice, error: KomboRejected) -> KomboRejected | InvalidRequest:
    """Kombo's refusal, told as the browser's mistake where the browser chose something."""
    chosen = {
        "integration_category": choice.category,
        "integration_tool": choice.tool,
        "language": choice.language,
    }
    errors = [FieldError(name, "Kombo does not accept it") for name, value in chosen.items() if value]
    if error.kombo_code == failures.INPUT_INVALID and errors:
        return InvalidRequest("Kombo does not accept what was chosen.", *errors)
    return error
