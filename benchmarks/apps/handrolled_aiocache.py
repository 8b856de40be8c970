"""Written by hand: FastAPI, a session, and aiocache's decorator in memory."""

from __future__ import annotations

from typing import cast

from aiocache import cached
from fastapi import FastAPI

from benchmarks.apps.handrolled import LIFETIME, LinkBody, Minted, Minter, create_app_that_issues


def _key(_function: object, user: dict[str, str], body: LinkBody) -> str:
    return "|".join((user["organization_id"], user["email"], body.integration_category, body.language))


def create_app() -> FastAPI:
    """The app."""
    mint = Minter()

    async def issue(user: dict[str, str], body: LinkBody) -> Minted:
        return await mint(user, body)

    kept = cached(ttl=LIFETIME, key_builder=_key)(issue)

    async def issue_kept(user: dict[str, str], body: LinkBody) -> Minted:
        return cast("Minted", await kept(user, body))

    return create_app_that_issues(issue_kept, mint.aclose)
