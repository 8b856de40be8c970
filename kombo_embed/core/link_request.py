"""What a browser may choose about a link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from kombo_embed.errors import FieldError, InvalidRequest, KomboRejected
from kombo_embed.kombo import responses
from kombo_embed.models import Category, Language, LinkOptions, LinkRequest, is_storable
from kombo_embed.settings import Settings

CATEGORIES = get_args(Category)
LANGUAGES = get_args(Language)


@dataclass(frozen=True, slots=True)
class LinkChoice:
    """The browser's choice; None leaves the field to the settings.

    With ``prefetch``, the link is cached for a later request and not handed out.
    """

    category: str | None = None
    tool: str | None = None
    language: str | None = None
    fresh: bool = False
    prefetch: bool = False


def build_link_request(settings: Settings, choice: LinkChoice, options: LinkOptions) -> LinkRequest:
    """Return the request for a connection link: the browser's choice, completed from the settings.

    Raises `InvalidRequest` if the choice is outside ``KOMBO_ALLOWED_CATEGORIES`` or ``KOMBO_ALLOWED_TOOLS``.
    """
    tool = choice.tool
    if tool is None and len(settings.allowed_tools) == 1:
        tool = settings.allowed_tools[0]
    category = choice.category or settings.integration_category
    language = choice.language or settings.language
    errors = list(_errors(settings, category, tool, language))
    if errors:
        reasons = "; ".join(f"{error.field} {error.reason}" for error in errors)
        raise InvalidRequest(f"This is not offered here: {reasons}.", *errors)
    if options.duplicates is not None:  # decided before the mint, and not part of the link
        options = replace(options, duplicates=None)
    return LinkRequest(category, language, tool, options)


def as_invalid_request(choice: LinkChoice, error: KomboRejected) -> KomboRejected | InvalidRequest:
    """Return an `InvalidRequest` if Kombo rejected the browser's choice, otherwise the error itself."""
    chosen = {
        "integration_category": choice.category,
        "integration_tool": choice.tool,
        "language": choice.language,
    }
    errors = [FieldError(name, "Kombo does not accept it") for name, value in chosen.items() if value]
    if error.kombo_code == responses.INPUT_INVALID and errors:
        return InvalidRequest("Kombo does not accept this choice.", *errors)
    return error


def _errors(settings: Settings, category: str, tool: str | None, language: str) -> Iterator[FieldError]:
    if category not in CATEGORIES:
        yield FieldError("integration_category", f"must be one of {', '.join(CATEGORIES)}")
    if language not in LANGUAGES:
        yield FieldError("language", f"must be one of {', '.join(LANGUAGES)}")
    if tool is not None and not is_storable(tool):
        yield FieldError("integration_tool", "is not the id of a tool")
    if settings.allowed_categories and category not in settings.allowed_categories:
        yield FieldError("integration_category", f"must be one of {', '.join(settings.allowed_categories)}")
    if settings.allowed_tools and tool not in settings.allowed_tools:
        # Without a tool, the end user could choose any tool on Kombo's page.
        requirement = "must be" if tool else "is required:"
        yield FieldError("integration_tool", f"{requirement} one of {', '.join(settings.allowed_tools)}")
