"""Written by hand: FastAPI, a session, and cachetools' TTLCache."""

from __future__ import annotations

from cachetools import TTLCache
from fastapi import FastAPI

from benchmarks.apps.handrolled import LIFETIME, LinkBody, Minted, Minter, create_app_that_issues


def create_app() -> FastAPI:
    """The app."""
    mint = Minter()
    links: TTLCache[tuple[str, ...], Minted] = TTLCache(maxsize=100_000, ttl=LIFETIME)

    async def issue(user: dict[str, str], body: LinkBody) -> Minted:
        key = (user["organization_id"], user["email"], body.integration_category, body.language)
        if key in links and not body.fresh:
            return links[key]
        links[key] = minted = await mint(user, body)
        return minted

    return create_app_that_issues(issue, mint.aclose)
