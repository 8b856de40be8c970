"""What one would write instead: FastAPI, httpx, cachetools and SQLAlchemy asyncio, equally durable."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cachetools import TTLCache
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from sqlalchemy import JSON, Column, DateTime, Integer, MetaData, String, Table, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from starlette.applications import Starlette

from benchmarks.apps import SESSION, create_link_route, require_user
from benchmarks.requests import COMPLETIONS, LINKS, SIGNATURE, WEBHOOKS, sign

LIFETIME_SECONDS = 3300  # Kombo's hour without its last five minutes
metadata = MetaData()


def _table(name: str, *columns: Column[Any]) -> Table:
    return Table(name, metadata, *columns, Column("at", DateTime(timezone=True), nullable=False))


events = _table(
    "events", Column("id", String, primary_key=True), Column("type", String), Column("data", JSON)
)
integrations = _table(
    "integrations",
    Column("id", String, primary_key=True),
    Column("origin_id", String, index=True),
    Column("tool", String),
    Column("category", String),
    Column("status", String),
)
outbox = _table(
    "outbox", Column("id", Integer, primary_key=True), Column("type", String), Column("data", JSON)
)
completions = _table(
    "completions", Column("token_sha256", String, primary_key=True), Column("integration_id", String)
)
minted_links = _table(
    "minted_links",
    Column("id", Integer, primary_key=True),
    Column("origin_id", String),
    Column("email", String),
)


class LinkBody(BaseModel):
    """What the browser may choose about a link."""

    integration_category: str = "HRIS"
    language: str = "en"


class Link(BaseModel):
    """A link for the browser."""

    link: str
    expires_at: datetime


class CompletionBody(BaseModel):
    """What the browser sends after a flow."""

    activation_token: str


class Integration(BaseModel):
    """An integration for the browser."""

    id: str
    origin_id: str | None
    tool: str
    category: str | None
    status: str | None = None


class WebhookEvent(BaseModel):
    """One of Kombo's events."""

    id: str
    type: str
    data: dict[str, Any]


class Kombo:
    """Kombo's calls over one pooled httpx client."""

    def __init__(self) -> None:
        key = {"Authorization": f"Bearer {os.environ['KOMBO_API_KEY']}"}
        self._client = httpx.AsyncClient(headers=key, trust_env=False)

    async def call(self, method: str, path: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the data of Kombo's answer."""
        response = await self._client.request(method, f"{os.environ['KOMBO_API_URL']}/{path}", json=body)
        response.raise_for_status()
        data: dict[str, Any] = response.json()["data"]
        return data

    async def mint(self, user: Mapping[str, str], category: str = "HRIS", language: str = "en") -> str:
        """Return a new link."""
        body = {
            "end_user_email": user["email"],
            "end_user_organization_name": user["organization_name"],
            "end_user_origin_id": user["organization_id"],
            "integration_category": category,
            "language": language,
            "link_type": "EMBEDDED",
        }
        return str((await self.call("POST", "connect/create-link", body))["link"])

    async def complete(self, token: str) -> Integration:
        """Return the integration behind an activation token, with its category and status."""
        reported = await self.call("GET", f"connect/integration-by-token/{token}")
        details = await self.call("GET", f"integrations/{reported['id']}")
        return Integration(**{**details, **reported, "origin_id": reported["end_user_origin_id"]})


class Database:
    """The tables; each method is one transaction."""

    def __init__(self) -> None:
        url = os.environ["KOMBO_DATABASE_URL"]
        options = {"timeout": 60} if url.startswith("sqlite") else {}
        self._engine = create_async_engine(url, connect_args=options)
        if options:
            event.listen(self._engine.sync_engine, "connect", _survive_power_cuts)

    async def create_tables(self) -> None:
        """Create the tables that do not exist."""
        async with self._engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

    async def save_mint(self, user: Mapping[str, str]) -> None:
        """Record for whom a link was minted."""
        row = {"origin_id": user["organization_id"], "email": user["email"], "at": datetime.now(UTC)}
        async with self._engine.begin() as connection:
            await connection.execute(minted_links.insert().values(row))

    async def save_event(self, received: WebhookEvent) -> None:
        """Insert an event once, and with it the integration and the outbox row."""
        async with self._engine.begin() as connection:
            row = {**received.model_dump(), "at": datetime.now(UTC)}
            once = _insert(connection, events, row).on_conflict_do_nothing().returning(events.c.id)
            if (await connection.execute(once)).first() is not None:
                origin_id = (received.data.get("end_user") or {}).get("origin_id")
                await _save(connection, Integration(**received.data, origin_id=origin_id))

    async def find_completion(self, token: str) -> Integration | None:
        """Return the integration that a token was exchanged for before."""
        query = (
            select(integrations)
            .join(completions, completions.c.integration_id == integrations.c.id)
            .where(completions.c.token_sha256 == _digest(token))
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Integration(**row)

    async def save_completion(self, completed: Integration, token: str) -> None:
        """Record a completion, the integration and the outbox row."""
        row = {"token_sha256": _digest(token), "integration_id": completed.id, "at": datetime.now(UTC)}
        async with self._engine.begin() as connection:
            await _save(connection, completed)
            await connection.execute(_insert(connection, completions, row).on_conflict_do_nothing())


def create_app() -> FastAPI:
    """Return the endpoint for links with cachetools' TTLCache, the webhook, and the completion."""
    kombo, database = Kombo(), Database()
    links: TTLCache[tuple[str, ...], Link] = TTLCache(maxsize=100_000, ttl=LIFETIME_SECONDS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await database.create_tables()
        yield

    app = FastAPI(lifespan=lifespan, middleware=[SESSION])

    @app.post(LINKS)
    async def issue_link(body: LinkBody, request: Request) -> Link:
        user = require_user(request)
        key = (user["organization_id"], user["email"], body.integration_category, body.language)
        if key not in links:
            expires_at = datetime.now(UTC) + timedelta(hours=1)
            minted = await kombo.mint(user, body.integration_category, body.language)
            links[key] = Link(link=minted, expires_at=expires_at)
        return links[key]

    @app.post(WEBHOOKS, status_code=204)
    async def receive_webhook(request: Request) -> None:
        body = await request.body()
        if not hmac.compare_digest(request.headers.get(SIGNATURE, ""), sign(body)):
            raise HTTPException(401)
        await database.save_event(WebhookEvent.model_validate_json(body))

    @app.post(COMPLETIONS)
    async def complete(body: CompletionBody, request: Request, response: Response) -> Integration:
        origin_id, token = require_user(request)["organization_id"], body.activation_token
        completed = await database.find_completion(token)
        if completed is None:
            completed = await kombo.complete(token)
            await database.save_completion(completed, token)
            response.status_code = 201
        if completed.origin_id != origin_id:
            raise HTTPException(403)
        return completed

    return app


def mint_and_insert() -> Starlette:
    """Return a route that does one pooled call and one durable insert on every request."""
    kombo, database = Kombo(), Database()

    async def answer(user: dict[str, str]) -> dict[str, str]:
        link = await kombo.mint(user)
        await database.save_mint(user)
        return {"link": link}

    return create_link_route(answer, start=database.create_tables)


async def _save(connection: AsyncConnection, integration: Integration) -> None:
    data, now = integration.model_dump(), datetime.now(UTC)
    row = {**data, "at": now}
    upsert = _insert(connection, integrations, row).on_conflict_do_update(index_elements=["id"], set_=row)
    await connection.execute(upsert)
    await connection.execute(outbox.insert().values(type="integration.connected", data=data, at=now))


def _insert(connection: AsyncConnection, table: Table, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - either dialect's
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).values(row)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _survive_power_cuts(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
