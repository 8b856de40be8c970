"""What the hand-written endpoints share: FastAPI, the session login, one httpx client, Kombo's call."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from benchmarks.apps.login import session_middleware, signed_in
from benchmarks.wire import LINKS

LIFETIME = 3300  # seconds: Kombo's hour without its last five minutes


class LinkBody(BaseModel):
    """What the browser may choose."""

    integration_category: str = "HRIS"
    language: str = "en"
    fresh: bool = False


class LinkAnswer(BaseModel):
    """What the browser gets."""

    link: str
    expires_at: datetime


Minted = tuple[str, datetime]
IssueLink = Callable[[dict[str, str], LinkBody], Awaitable[Minted]]


class Minter:
    """Calls Kombo over one pooled client."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {os.environ['KOMBO_API_KEY']}"}, trust_env=False
        )
        self._url = f"{os.environ['KOMBO_API_URL']}/connect/create-link"

    async def __call__(self, user: dict[str, str], body: LinkBody) -> Minted:
        """A new link, and when it ends."""
        expires_at = datetime.now(UTC) + timedelta(hours=1)
        response = await self._client.post(self._url, json=payload(user, body))
        response.raise_for_status()
        return response.json()["data"]["link"], expires_at

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def payload(user: dict[str, str], body: LinkBody) -> dict[str, Any]:
    """What Kombo is sent."""
    return {
        "end_user_email": user["email"],
        "end_user_organization_name": user["organization_name"],
        "end_user_origin_id": user["organization_id"],
        "integration_category": body.integration_category,
        "language": body.language,
        "link_type": "EMBEDDED",
    }


def create_app_that_issues(issue: IssueLink, close: Callable[[], Awaitable[object]]) -> FastAPI:
    """The endpoint around a way to get a link."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await close()

    app = FastAPI(lifespan=lifespan, middleware=[session_middleware()])

    @app.post(LINKS)
    async def links(body: LinkBody, request: Request) -> LinkAnswer:
        user = signed_in(request)
        if user is None:
            raise HTTPException(401)
        link, expires_at = await issue(user, body)
        return LinkAnswer(link=link, expires_at=expires_at)

    return app
