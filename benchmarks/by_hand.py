"""What one would write instead: FastAPI, httpx, cachetools and SQLAlchemy asyncio, equally durable."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx
from cachetools import TTLCache
from fastapi import Body, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from sqlalchemy import JSON, Column, DateTime, Integer, MetaData, String, Table, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from starlette.applications import Starlette

from benchmarks.apps import SESSION, create_link_route, link_payload, require_user
from benchmarks.requests import COMPLETIONS, LINKS, SIGNATURE, WEBHOOKS, sign

LIFETIME_SECONDS = 3300  # Kombo's hour without its last five minutes
metadata = MetaData()
engine = create_async_engine(os.environ["KOMBO_DATABASE_URL"], connect_args={"timeout": 60})
kombo = httpx.AsyncClient(
    headers={"Authorization": f"Bearer {os.environ['KOMBO_API_KEY']}"},
    base_url=os.environ["KOMBO_API_URL"],
    trust_env=False,
)


def _table(name: str, **types: Any) -> Table:  # noqa: ANN401 - SQLAlchemy's types
    columns = [Column(column, types[column], primary_key=not index) for index, column in enumerate(types)]
    return Table(name, metadata, *columns, Column("at", DateTime(timezone=True), nullable=False))


events = _table("events", id=String, type=String, data=JSON)
integrations = _table(
    "integrations", id=String, origin_id=String, tool=String, category=String, status=String
)
outbox = _table("outbox", id=Integer, type=String, data=JSON)
completions = _table("completions", token_sha256=String, integration_id=String)
minted_links = _table("minted_links", id=Integer, origin_id=String, email=String)


class LinkBody(BaseModel):
    """What the browser may choose about a link."""

    integration_category: str = "HRIS"
    language: str = "en"


class Link(BaseModel):
    """A link for the browser."""

    link: str
    expires_at: datetime


class Integration(BaseModel):
    """An integration for the browser."""

    id: str
    origin_id: str | None
    tool: str
    category: str | None
    status: str | None = None


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Create the tables."""
    async with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            await connection.execute(text("PRAGMA journal_mode = WAL"))  # synchronous = FULL is the default
        await connection.run_sync(metadata.create_all)
    yield


def create_app() -> FastAPI:
    """Return the endpoint for links with cachetools' TTLCache, the webhook, and the completion."""
    app = FastAPI(lifespan=lifespan, middleware=[SESSION])
    links: TTLCache[tuple[str, ...], Link] = TTLCache(maxsize=100_000, ttl=LIFETIME_SECONDS)

    @app.post(LINKS)
    async def issue_link(body: LinkBody, request: Request) -> Link:
        user = require_user(request)
        key = (user["organization_id"], user["email"], body.integration_category, body.language)
        if key not in links:
            expires_at = datetime.now(UTC) + timedelta(hours=1)
            minted = await mint(user, body.integration_category, body.language)
            links[key] = Link(link=minted, expires_at=expires_at)
        return links[key]

    @app.post(WEBHOOKS, status_code=204)
    async def receive_webhook(request: Request) -> None:
        body = await request.body()
        if not hmac.compare_digest(request.headers.get(SIGNATURE, ""), sign(body)):
            raise HTTPException(401)
        await save_event(json.loads(body))

    @app.post(COMPLETIONS)
    async def complete(
        activation_token: Annotated[str, Body(embed=True)], request: Request, response: Response
    ) -> Integration:
        user, completed = require_user(request), await find_completion(activation_token)
        if completed is None:
            completed = await complete_flow(activation_token)
            response.status_code = 201
        if completed.origin_id != user["organization_id"]:
            raise HTTPException(403)
        return completed

    return app


def mint_and_insert() -> Starlette:
    """Return a route that does one pooled call and one durable insert on every request."""

    async def answer(user: dict[str, str]) -> dict[str, str]:
        link = await mint(user)
        row = {"origin_id": user["organization_id"], "email": user["email"], "at": datetime.now(UTC)}
        async with engine.begin() as connection:
            await connection.execute(insert(minted_links), row)
        return {"link": link}

    return create_link_route(answer, lifespan=lifespan)


async def mint(user: dict[str, str], category: str = "HRIS", language: str = "en") -> str:
    """Return a new link."""
    response = await kombo.post("/connect/create-link", json=link_payload(user, category, language))
    response.raise_for_status()
    return str(response.json()["data"]["link"])


async def save_event(received: dict[str, Any]) -> None:
    """Insert an event once, and with it the integration and the outbox row."""
    row = {**{name: received[name] for name in ("id", "type", "data")}, "at": datetime.now(UTC)}
    async with engine.begin() as connection:
        once = insert(events).on_conflict_do_nothing().returning(events.c.id)
        if (await connection.execute(once, row)).first() is not None:
            data, owner = received["data"], received["data"].get("end_user") or {}
            await save_integration(connection, Integration(**data, origin_id=owner.get("origin_id")))


async def find_completion(token: str) -> Integration | None:
    """Return the integration that a token was exchanged for before."""
    joined = integrations.join(completions, completions.c.integration_id == integrations.c.id)
    query = select(integrations).select_from(joined).where(completions.c.token_sha256 == digest(token))
    async with engine.connect() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Integration(**row)


async def complete_flow(token: str) -> Integration:
    """Exchange a token at Kombo, and record the completion, the integration and the outbox row."""
    reported = (await kombo.get(f"/connect/integration-by-token/{token}")).raise_for_status().json()["data"]
    details = (await kombo.get(f"/integrations/{reported['id']}")).raise_for_status().json()["data"]
    integration = Integration(**{**details, **reported, "origin_id": reported["end_user_origin_id"]})
    row = {"token_sha256": digest(token), "integration_id": integration.id, "at": datetime.now(UTC)}
    async with engine.begin() as connection:
        await save_integration(connection, integration)
        await connection.execute(insert(completions).on_conflict_do_nothing(), row)
    return integration


async def save_integration(connection: AsyncConnection, integration: Integration) -> None:
    """Upsert an integration, and insert the outbox row."""
    data, now, inserting = integration.model_dump(), datetime.now(UTC), insert(integrations)
    changed = {name: inserting.excluded[name] for name in (*data, "at")}
    upsert = inserting.on_conflict_do_update(index_elements=["id"], set_=changed)
    await connection.execute(upsert, {**data, "at": now})
    await connection.execute(insert(outbox), {"type": "integration.connected", "data": data, "at": now})


def insert(table: Table) -> Any:  # noqa: ANN401 - of either dialect
    """Return an insert that can have an ON CONFLICT clause."""
    return (sqlite if engine.dialect.name == "sqlite" else postgresql).insert(table)


def digest(token: str) -> str:
    """Return what is kept of an activation token."""
    return hashlib.sha256(token.encode()).hexdigest()
