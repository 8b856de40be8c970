"""What reviewers broke once, and what must not break again."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from kombo_embed import ConfigurationError, EndUser, Event, KomboEmbed, LinkOptions, Settings
from kombo_embed.kombo.webhooks import sign
from kombo_embed.sandbox import Sandbox
from tests.support import (
    API_KEY,
    WEBHOOK_SECRET,
    ManualClock,
    eventually,
    make_host,
    make_settings,
    minted,
    person,
    running,
    who_the_header_names,
)

ADA = person("ada@acme")
GZIPPED = {"Content-Encoding": "gzip", "Retry-After": "30"}


def webhook(number: int, type_: str = "integration-created", **data: Any) -> dict[str, Any]:
    end_user = {"origin_id": "acme", "creator_email": None, "organization_name": "Acme"}
    full = {"id": f"personio:{number}", "tool": "personio", "category": "HRIS", "end_user": end_user, **data}
    body = json.dumps({"id": f"event-{number}", "type": type_, "data": full}, indent=2).encode()
    return {"content": body, "headers": {"X-Kombo-Signature": sign(body, WEBHOOK_SECRET)}}


async def test_requests_that_are_cancelled_while_they_write_leave_the_database_usable(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        for number in range(200):
            task = asyncio.create_task(client.post("/kombo/webhooks", **webhook(number)))
            # At every moment of a transaction, whose steps are in a thread of the database's.
            await asyncio.sleep(number % 40 * 0.0003)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            later = await client.post("/kombo/webhooks", **webhook(10_000 + number))
            assert later.status_code == 204, number
        answer = await client.post("/kombo/webhooks", **webhook(1000))
        assert answer.status_code == 204
        with sqlite3.connect("kombo_embed.db", timeout=1) as another:
            another.execute("begin immediate")
            another.rollback()


def add_event_of_another_version() -> None:
    with sqlite3.connect("kombo_embed.db") as database:
        database.execute(
            """
            insert into kombo_embed_outbox
                (environment, event_id, type, integration, data, occurred_at,
                attempts, done_handlers, due_at)
            select environment, 'poison', type, '{"future": 1}', data, occurred_at, 0, '[]', due_at
            from kombo_embed_outbox
            """
        )


async def test_handlers_of_one_name_are_all_called_and_an_unreadable_event_stops_nothing(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app, embed = make_host(kombo)
    heard: list[int] = []

    def handler(number: int) -> Any:
        async def hear(_event: Event) -> None:
            heard.append(number)

        return hear

    for number in range(3):
        embed.on("integration.connected")(handler(number))
    async with running(app) as client:
        await client.post("/kombo/webhooks", **webhook(1))
        await eventually(lambda: sorted(heard) == [0, 1, 2])
        # In a thread: what the app is writing needs this loop to come to its end.
        await asyncio.to_thread(add_event_of_another_version)
        await client.post("/kombo/webhooks", **webhook(2))
        await eventually(lambda: len(heard) == 6)


async def test_looking_for_the_next_event_uses_the_indexes() -> None:
    """With a backlog, a look that reads every row for every row takes minutes."""
    async with KomboEmbed(end_user=lambda _: None, settings=make_settings()):
        pass
    with sqlite3.connect("kombo_embed.db") as database:
        plan = database.execute(
            """
            explain query plan
            select id from kombo_embed_outbox as o
            where environment = 'e' and delivered_at is null and given_up_at is null
            and type in ('a') and not exists (
                select 1 from kombo_embed_outbox as p
                where p.environment = o.environment and p.integration_id = o.integration_id and p.id < o.id
                and p.delivered_at is null and p.given_up_at is null and p.type in ('a')
            )
            order by id limit 20
            """
        ).fetchall()
    text = " ".join(str(row[-1]) for row in plan)
    assert "ix_kombo_embed_outbox_waiting" in text
    assert "ix_kombo_embed_outbox_integration (environment=? AND integration_id=? AND id<?)" in text
    assert "TEMP B-TREE" not in text


async def test_a_link_dropped_while_kombo_failed_does_not_help_out(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    class Failing(httpx.AsyncBaseTransport):
        reached = asyncio.Event()
        go_on = asyncio.Event()
        fail = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if not self.fail:
                return await kombo.handle_async_request(request)
            self.reached.set()
            await self.go_on.wait()
            return httpx.Response(500)

    failing, clock = Failing(), ManualClock()
    app, _ = make_host(failing, clock=clock)
    async with running(app) as client:
        await client.post("/kombo/links", headers=ADA, json={})
        clock.advance(3400)
        failing.fail = True
        asking = asyncio.create_task(client.post("/kombo/links", headers=ADA, json={}))
        await failing.reached.wait()
        await client.post("/kombo/webhooks", **webhook(1))
        failing.go_on.set()
        assert (await asking).status_code == 503


async def test_a_record_of_another_organisation_is_never_shown_whatever_kombo_says_later(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    class Changed(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "integration-by-token" not in request.url.path:
                return await kombo.handle_async_request(request)
            data = {"id": "personio:1", "tool": "personio", "end_user_origin_id": "beta"}
            return httpx.Response(200, json={"status": "success", "data": data})

    app, embed = make_host(Changed())
    async with running(app) as client:
        await client.post("/kombo/webhooks", **webhook(1))
        for _ in range(2):
            answer = await client.post(
                "/kombo/completions", headers=person("eve@beta"), json={"activation_token": "t"}
            )
            assert (answer.status_code, answer.json()["code"]) == (422, "activation_rejected")
        assert len(await embed.integrations("acme")) == 1


async def test_a_token_that_another_process_is_using_up_is_answered_from_its_record(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    class Once(httpx.AsyncBaseTransport):
        used = False
        refused = asyncio.Event()

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "integration-by-token" in request.url.path:
                if self.used:
                    self.refused.set()
                    return httpx.Response(404, json={"error": {"code": None, "message": "used"}})
                self.used = True
                answer = await kombo.handle_async_request(request)
                await self.refused.wait()  # nothing is on record when the other is refused
                return answer
            return await kombo.handle_async_request(request)

    once = Once()
    one, _ = make_host(once)
    other, _ = make_host(once)
    async with running(one) as first, running(other) as second:
        link = (await first.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        answers = await asyncio.gather(
            *(client.post("/kombo/completions", headers=ADA, json=token) for client in (first, second))
        )
    assert sorted(answer.status_code for answer in answers) == [200, 201]


async def test_one_blip_under_load_refuses_nobody_for_longer_than_the_first_pause(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport
) -> None:
    class Blip(httpx.AsyncBaseTransport):
        well = False
        arrived = 0
        all_there = asyncio.Event()

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if self.well:
                return await kombo.handle_async_request(request)
            self.arrived += 1
            if self.arrived == 50:
                self.all_there.set()
            await self.all_there.wait()
            return httpx.Response(500)

    blip, clock = Blip(), ManualClock()
    app, _ = make_host(blip, clock=clock)
    async with running(app) as client:
        people = [person(f"p{number}@acme") for number in range(50)]
        await asyncio.gather(*(client.post("/kombo/links", headers=who, json={}) for who in people))
        blip.well = True
        clock.advance(1.01)
        assert (await client.post("/kombo/links", headers=ADA, json={})).status_code == 200
    assert minted(sandbox) == 1


async def test_a_late_answer_does_not_end_the_wait_that_kombo_asked_for(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    class Mixed(httpx.AsyncBaseTransport):
        slow_one = asyncio.Event()
        calls = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.calls += 1
            if self.calls == 1:
                await self.slow_one.wait()
                return await kombo.handle_async_request(request)
            return httpx.Response(429, headers={"Retry-After": "60"})

    mixed, clock = Mixed(), ManualClock()
    app, _ = make_host(mixed, clock=clock)
    async with running(app) as client:
        slow = asyncio.create_task(client.post("/kombo/links", headers=ADA, json={}))
        await eventually(lambda: mixed.calls == 1)
        assert (await client.post("/kombo/links", headers=person("b@b"), json={})).status_code == 503
        mixed.slow_one.set()
        assert (await slow).status_code == 200
        assert (await client.post("/kombo/links", headers=person("c@c"), json={})).status_code == 503
    assert mixed.calls == 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (httpx.Response(503, content=b"x" * 70_000), "kombo_unavailable"),
        (
            httpx.Response(429, headers={"Content-Encoding": "gzip", "Retry-After": "30"}),
            "kombo_rate_limited",
        ),
    ],
)
async def test_a_failure_is_told_by_its_status_also_if_its_body_cannot_be_read(
    answer: httpx.Response, code: str
) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)

    app, _ = make_host(httpx.MockTransport(fail))
    async with running(app) as client:
        told = await client.post("/kombo/links", headers=ADA, json={})
    assert (told.status_code, told.json()["code"]) == (503, code)


async def test_what_kombo_sets_as_a_cookie_is_not_sent_with_the_next_persons_call() -> None:
    seen: list[str | None] = []

    def peer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("cookie"))
        link = {"data": {"link": "https://connect.kombo.dev/v1?token=x"}}
        return httpx.Response(200, json=link, headers={"Set-Cookie": "person=ada; Path=/"})

    app, _ = make_host(httpx.MockTransport(peer))
    async with running(app) as client:
        for who in ("ada@acme", "alan@bletchley"):
            await client.post("/kombo/links", headers=person(who), json={})
    assert seen == [None, None]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "sqlite+aiosqlite://user:pw@host/x.db"),
        ("database_url", "sqlite+aiosqlite://"),
        ("database_url", "sqlite+aiosqlite:///:memory:"),
        ("database_url", "sqlite+aiosqlite:///x.db?timeout=abc"),
        ("api_url", "https://api.kombo.dev:99999/v1"),
        ("api_url", "https://user:pw@api.kombo.dev/v1"),
        ("api_url", " https://api.kombo.dev/v1"),
        ("mount_path", "/kombo/.."),
        ("allowed_origins", "https://"),
        ("allowed_origins", "https://app.example.com:99999"),
    ],
)
def test_a_setting_that_could_not_work_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"KOMBO_{name.upper()}") as caught:
        Settings(**{"api_key": API_KEY, name: value})
    assert "pw@" not in str(caught.value)


def test_an_allowed_origin_is_compared_as_browsers_write_it() -> None:
    origins = Settings(api_key=API_KEY, allowed_origins="https://App.example.com:443").allowed_origins
    assert origins == ("https://app.example.com",)


def test_an_env_file_that_is_no_text_is_told(tmp_path: Any) -> None:
    (tmp_path / ".env").write_bytes(b"KOMBO_API_KEY=\xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        Settings()
    KomboEmbed(end_user=who_the_header_names).install(Starlette())


async def test_settings_that_are_read_later_decide_the_mount_path(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    app = Starlette()
    KomboEmbed(
        end_user=who_the_header_names,
        settings=lambda: make_settings(mount_path="/later"),
        http_transport=kombo,
    ).install(app)
    async with running(app) as client:
        assert (await client.get("/later/health")).status_code == 200


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", None])
async def test_odd_but_signed_events_are_taken(moment: str | None, kombo: httpx.AsyncBaseTransport) -> None:
    app, embed = make_host(kombo)
    state = {"integration_id": "personio:7", "state": "INVALID", "updated_at": moment}
    async with running(app) as client:
        odd = webhook(8, "integration-state-changed", **state)
        assert (await client.post("/kombo/webhooks", **odd)).status_code == 204
        assert (await client.post("/kombo/webhooks", **webhook(7, end_user=None))).status_code == 204
        found = await embed.integration("personio:7")
        assert found is not None
        assert (found.status, found.origin_id) == ("INVALID", None)


async def test_half_an_emoji_in_an_event_loses_nothing(kombo: httpx.AsyncBaseTransport) -> None:
    app, embed = make_host(kombo)
    end_user = {"origin_id": "acme", "organization_name": "Acme \ud83d", "creator_email": None}
    async with running(app) as client:
        answer = await client.post("/kombo/webhooks", **webhook(9, end_user=end_user))
        assert answer.status_code == 204
        [found] = await embed.integrations("acme")
    assert found.organization_name == "Acme ?"


@pytest.mark.parametrize(
    ("end_user", "link_options"),
    [
        (lambda _: EndUser(email="a@b.example", organization_name="\ud800", origin_id="x"), None),
        (who_the_header_names, lambda *_: LinkOptions(scope_config_id=["x"])),  # type: ignore[arg-type]
        (who_the_header_names, lambda *_: LinkOptions(enable_filtering="yes")),  # type: ignore[arg-type]
    ],
)
async def test_values_of_the_host_that_cannot_be_sent_are_its_bug(
    end_user: Any, link_options: Any, kombo: httpx.AsyncBaseTransport
) -> None:
    app = Starlette()
    KomboEmbed(
        end_user=end_user, link_options=link_options, settings=make_settings(), http_transport=kombo
    ).install(app)
    async with running(app) as client:
        answer = await client.post("/kombo/links", headers=ADA, json={})
    assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")


async def test_a_hosts_exception_cannot_change_what_kind_of_answer_it_is(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    def refuse(connection: Any) -> EndUser | None:
        status = int(connection.headers["x-status"])
        raise HTTPException(status, "no", headers={"Content-Type": "text/html", "X-Mine": "kept"})

    app, _ = make_host(kombo, end_user=refuse)
    async with running(app) as client:
        answer = await client.post("/kombo/links", headers={"X-Status": "403"}, json={})
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-mine"] == "kept"
        empty = await client.post("/kombo/links", headers={"X-Status": "204"}, json={})
        assert (empty.status_code, empty.json()["code"]) == (500, "identity_error")


async def test_all_methods_of_a_path_are_told(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        answer = await client.put("/kombo/integrations/x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")


async def test_an_empty_cache_that_is_brought_is_used(kombo: httpx.AsyncBaseTransport) -> None:
    class Brought:
        kept = 0
        link = None

        def __len__(self) -> int:
            return 0

        async def get(self, key: object) -> None:
            del key

        @asynccontextmanager
        async def lease(self, key: object, *, fresh: bool) -> AsyncIterator[Brought]:
            del key, fresh
            yield self

        async def put(self, link: object) -> bool:
            del link
            self.kept += 1
            return True

        async def invalidate(self, environment: str, drop: object) -> None:
            del environment, drop

    brought = Brought()
    app = Starlette()
    KomboEmbed(
        end_user=who_the_header_names, settings=make_settings(), http_transport=kombo, link_cache=brought
    ).install(app)
    async with running(app) as client:
        await client.post("/kombo/links", headers=ADA, json={})
    assert brought.kept == 1
