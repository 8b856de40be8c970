"""Parses the query strings of requests. A known parameter has to be valid; unknown ones are ignored."""

from __future__ import annotations

import re
from collections import Counter
from typing import get_args

from starlette.datastructures import QueryParams
from starlette.requests import Request

from kombo_embed.errors import FieldError, InvalidRequest
from kombo_embed.integration import NEXT_ACTIONS, IntegrationQuery
from kombo_embed.models import Category
from kombo_embed.settings import Settings
from kombo_embed.web.requests import FIELD_NAME_MAX_LENGTH, QUERY_MAX_BYTES, REPORTED_FIELDS, invalid

PAGE_MAX_SIZE = 100
LIMIT = re.compile(r"[1-9][0-9]{0,2}")


def parse_category(request: Request, settings: Settings) -> str:
    """Return the category in the query, or else the default; it must exist and be allowed."""
    category = _query(request).get("category", settings.integration_category).upper()
    allowed = settings.allowed_categories or get_args(Category)
    if category not in allowed:
        raise InvalidRequest(
            f"This category is not offered here. Use one of {', '.join(allowed)}.",
            FieldError("category", f"must be one of {', '.join(allowed)}"),
        )
    return category


def parse_integration_query(request: Request) -> IntegrationQuery:
    """Return which integrations the query asks for; whether a page had the cursor is not checked."""
    query = _query(request)
    limit, actions = query.get("limit", str(PAGE_MAX_SIZE)), query.get("next_action")
    chosen = set() if actions is None else set(actions.split(","))
    fields = []
    if LIMIT.fullmatch(limit) is None or int(limit) > PAGE_MAX_SIZE:
        fields.append(FieldError("limit", f"must be an integer from 1 to {PAGE_MAX_SIZE}"))
    if not chosen <= set(NEXT_ACTIONS):
        reason = f"must be one or several of {', '.join(NEXT_ACTIONS)}, separated by commas"
        fields.append(FieldError("next_action", reason))
    if fields:
        raise invalid(fields)
    # In one order: the same choice is the same query.
    ordered = tuple(action for action in NEXT_ACTIONS if action in chosen)
    return IntegrationQuery(int(limit), query.get("cursor"), ordered)


def _query(request: Request) -> QueryParams:
    if len(request.scope["query_string"]) > QUERY_MAX_BYTES:
        raise InvalidRequest("The query is too long.", FieldError("query", "is too long"))
    query = request.query_params
    times = Counter(name for name, _ in query.multi_items())
    repeated = [name[:FIELD_NAME_MAX_LENGTH] for name, count in times.items() if count > 1]
    if repeated:
        raise invalid([FieldError(name, "is given more than once") for name in repeated[:REPORTED_FIELDS]])
    return query
