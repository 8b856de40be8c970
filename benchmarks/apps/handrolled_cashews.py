"""Written by hand: FastAPI, a session, and cashews' decorator in memory, with its lock against stampedes."""

from __future__ import annotations

from typing import cast

from cashews import Cache
from fastapi import FastAPI

from benchmarks.apps.handrolled import LIFETIME, LinkBody, Minted, Minter, create_app_that_issues


def create_app() -> FastAPI:
    """The app."""
    mint = Minter()
    cache = Cache()
    cache.setup("mem://", size=100_000)

    async def mint_for(origin_id: str, email: str, category: str, language: str, name: str) -> Minted:
        user = {"organization_id": origin_id, "email": email, "organization_name": name}
        return await mint(user, LinkBody(integration_category=category, language=language))

    kept = cache(ttl=LIFETIME, key="{origin_id}|{email}|{category}|{language}", lock=True)(mint_for)

    async def issue(user: dict[str, str], body: LinkBody) -> Minted:
        minted = await kept(
            origin_id=user["organization_id"],
            email=user["email"],
            category=body.integration_category,
            language=body.language,
            name=user["organization_name"],
        )
        return cast("Minted", minted)

    return create_app_that_issues(issue, mint.aclose)
