"""Every secret and personal datum of a full run is where docs/personal-data.md says, and nowhere else.

Searched are all log records, all problems that the app responds with, all spans and metrics, and all columns
of the database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.requests import HTTPConnection

from kombo_embed import EndUser, Event, metadata
from kombo_embed.sandbox import Sandbox
from tests.fakes import RedisImpostor
from tests.support import (
    API_KEY,
    WEBHOOK_SECRET,
    LogRecorder,
    deliver_webhooks,
    eventually,
    make_host,
    order_fault,
    person,
    running,
    webhook_request,
)
from tests.telemetry import Recorded

PAGE = Path(__file__).parents[2] / "docs" / "personal-data.md"
ROW = re.compile(
    r"^\| (?P<datum>[^|]+?) \| (?P<where>[^|]+?) \| (?P<who>[^|]+?) \| (?P<gone>[^|]+?) \|$", re.MULTILINE
)
COLUMN = re.compile(r"`([a-z_]+\.[a-z_]+)`")
ADA = person("ada")
PERSON = EndUser(email="ada@lovelace.example", organization_name="Lovelace & Co", origin_id="customer-4711")
ENCRYPTION_KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SESSION_TOKEN = "eyJhbGciOiJSUzI1NiJ9.a-session-token-of-the-host.c2ln"
MALFORMED = b'{"a body of which nothing can be read": '
FAULTS = ("unauthorized", "html_503", "empty_500", "drop", "redirect", "foreign_json", "rate_limited")


@dataclass
class Run:
    """What a full run left: the data to search for, and the texts of each place."""

    data: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    async def watch(self, response: httpx.Response) -> None:
        if response.status_code >= 400:
            self.problems.append((await response.aread()).decode() + repr(response.headers))

    def places(self, datum: str) -> set[str]:
        """Return the columns that contain a datum."""
        return {name for name, text in self.columns.items() if self.data[datum] in text}


def end_user(connection: HTTPConnection) -> EndUser:
    """Return Ada, or somebody of another customer."""
    eve = EndUser(email="eve@evil.example", organization_name="Evil", origin_id="another")
    return PERSON if connection.headers["x-person"] == "ada" else eve


async def all_columns(database_url: str) -> dict[str, str]:
    """Return the text of each column, over all rows."""
    columns: dict[str, str] = {}
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        for table in metadata.tables:
            found = await connection.execute(text(f"SELECT * FROM {table}"))  # noqa: S608 - our own tables
            rows = found.all()
            for at, name in enumerate(found.keys()):
                columns[f"{table.removeprefix('kombo_embed_')}.{name}"] = "\n".join(
                    as_text(row[at]) for row in rows
                )
    await engine.dispose()
    return columns


def as_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def telemetry_text(recorded: Recorded) -> str:
    """Return everything that OpenTelemetry has recorded of us."""
    spans = [span.to_json() for span in recorded.spans()]
    metrics = [metric.to_json() for metric in recorded.exported()]
    assert len(spans) > len(FAULTS)
    assert metrics
    return "\n".join([*spans, *metrics])


async def full_run(sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, database_url: str) -> Run:
    """Connect, reconnect, fail, forge, and let a handler fail; return what is left."""
    run, handled = Run(), list[Event]()
    async with RedisImpostor() as redis:
        app, embed = make_host(
            kombo,
            end_user=end_user,
            database_url=database_url,
            redis_url=redis.url,
            encryption_keys=(ENCRYPTION_KEY,),
            allow_disconnect=True,
        )

        @embed.on("integration.connected")
        async def fail(event: Event) -> None:
            handled.append(event)
            raise RuntimeError(f"the handler failed for {event.integration}")

        async with running(app) as client:
            client.event_hooks["response"].append(run.watch)
            deliver_webhooks(sandbox, app)
            magic_link = await embed.magic_link(PERSON, tool="workday", actor="support@host.example")
            run.data["magic link"] = magic_link.partition("token=")[2]
            await use_everything(client, sandbox, run)
            await eventually(lambda: bool(handled))
    return run


async def use_everything(client: httpx.AsyncClient, sandbox: Sandbox, run: Run) -> None:
    headers = {**ADA, "Authorization": f"Bearer {SESSION_TOKEN}", "Cookie": f"session={SESSION_TOKEN}"}
    post = client.post
    link = (await post("/kombo/links", headers=headers, json={})).json()["link"]
    flow = await sandbox.complete(link, "personio")
    await sandbox.settle()
    token = {"activation_token": flow.activation_token}
    for who in (headers, person("eve")):
        await post("/kombo/completions", headers=who, json=token)
        await client.get("/kombo/integrations", headers=who)
    for mode in FAULTS:
        await order_fault(sandbox, "create-link", mode)
        await post("/kombo/links", headers=headers, json={"fresh": True})
        await order_fault(sandbox, "integration-by-token", mode)
        await post("/kombo/completions", headers=headers, json={"activation_token": "another-token-of-kombo"})
    await post("/kombo/links", headers=headers, json={"end_user_email": "mallory@evil.example"})
    await post("/kombo/webhooks", content=MALFORMED)
    request = webhook_request("event-1", "sync-finished", {"secret of a customer": "salary-4711"})
    await post("/kombo/webhooks", **request)
    await post("/kombo/webhooks", content=request["content"] + b" ", headers=request["headers"])
    await post("/kombo/links", headers={**headers, "Sec-Fetch-Site": "cross-site"}, json={})
    run.data |= {
        "connection link": link.partition("token=")[2],
        "activation token": flow.activation_token,
        "session token or cookie": SESSION_TOKEN,
        "API key": API_KEY,
        "webhook secret": WEBHOOK_SECRET,
        "encryption key": ENCRYPTION_KEY,
        "email": PERSON.email,
        "customer's name": PERSON.organization_name,
        "origin id": PERSON.origin_id,
        "content of events": "salary-4711",
        "signature": request["headers"]["X-Kombo-Signature"],
    }


def documented() -> dict[str, set[str]]:
    """Return the columns that the page names for each datum."""
    table = PAGE.read_text(encoding="utf-8").partition("## Every secret and personal datum")[2]
    rows = {row["datum"]: row["where"] for row in ROW.finditer(table.partition("\n## ")[0])}
    return {
        datum: set(COLUMN.findall(where)) for datum, where in rows.items() if datum not in {"datum", "---"}
    }


async def test_each_datum_is_in_the_columns_that_the_page_names_and_nowhere_else(
    log: LogRecorder,
    recorded: Recorded,
    sandbox: Sandbox,
    kombo: httpx.AsyncBaseTransport,
    database_url: str,
) -> None:
    run = await full_run(sandbox, kombo, database_url)
    lines = [line for line in log.lines if not line.startswith(("httpx HTTP Request: ", "asyncio "))]
    run.columns = await all_columns(database_url)
    assert {datum: run.places(datum) for datum in run.data} == documented()
    # The handler's own exception is the host's: its traceback is logged as it is.
    ours = "\n".join(line for line in lines if "the handler failed for" not in line)
    problems, telemetry = "\n".join(run.problems), telemetry_text(recorded)
    assert len(run.problems) > 2 * len(FAULTS)
    for datum, value in run.data.items():
        assert value not in problems, datum
        assert value not in telemetry, datum
        assert datum == "origin id" or value not in ours, datum
