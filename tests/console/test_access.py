"""How the console is mounted, and whom it asks."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from tests.console.visitor import MOUNT
from tests.support import LogRecorder, make_host, running


async def get(kombo: httpx.AsyncBaseTransport, authorize: Any, path: str = "/customers") -> httpx.Response:
    app, embed = make_host(kombo)
    app.mount(MOUNT, embed.console(authorize=authorize))
    async with running(app) as client:
        return await client.get(f"{MOUNT}{path}")


async def test_a_plain_authorize_runs_in_a_worker_thread(kombo: httpx.AsyncBaseTransport) -> None:
    threads: list[int] = []

    def authorize(_request: object, _action: str) -> str:
        threads.append(threading.get_ident())
        return "Sam"

    assert (await get(kombo, authorize)).status_code == 200
    assert threading.get_ident() not in threads


async def test_an_async_authorize_runs_in_the_event_loop(kombo: httpx.AsyncBaseTransport) -> None:
    threads: list[int] = []

    async def authorize(_request: object, _action: str) -> str:
        threads.append(threading.get_ident())
        return "Sam"

    assert "Sam" in (await get(kombo, authorize)).text
    assert set(threads) == {threading.get_ident()}


async def test_an_http_exception_of_authorize_is_the_hosts_response(kombo: httpx.AsyncBaseTransport) -> None:
    async def authorize(_request: object, _action: str) -> str:
        raise HTTPException(401, "Sign in first.", {"WWW-Authenticate": "Bearer"})

    response = await get(kombo, authorize)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("value", [True, 1, "", "   ", object(), ["Sam"]])
async def test_anything_else_than_a_name_or_none_lets_no_one_in_and_is_logged(
    kombo: httpx.AsyncBaseTransport, log: LogRecorder, value: object
) -> None:
    response = await get(kombo, lambda _request, _action: value)
    assert response.status_code == 500
    assert "Customers" not in response.text
    assert "authorize must return a name or None" in log.text()


async def test_an_error_of_authorize_lets_no_one_in_and_its_message_is_not_shown(
    kombo: httpx.AsyncBaseTransport, log: LogRecorder
) -> None:
    def authorize(_request: object, _action: str) -> str:
        raise RuntimeError("password=hunter2")

    response = await get(kombo, authorize)
    assert response.status_code == 500
    assert "hunter2" not in response.text
    assert "authorize raised RuntimeError" in log.text()


async def test_authorize_cannot_consume_the_body(kombo: httpx.AsyncBaseTransport) -> None:
    async def authorize(request: Any, _action: str) -> str:
        with pytest.raises(RuntimeError):
            await request.body()
        return "Sam"

    assert (await get(kombo, authorize)).status_code == 200


@pytest.mark.parametrize("strips", [True, False])
async def test_links_lead_behind_the_prefix_of_a_proxy(kombo: httpx.AsyncBaseTransport, strips: bool) -> None:
    app, embed = make_host(kombo)
    app.mount("/admin/kombo", embed.console(authorize=lambda _request, _action: "Sam"))

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"] if strips else f"/outer{scope['path']}"
            scope = {**scope, "root_path": "/outer", "path": path}
        await app(scope, receive, send)

    async with running(proxied) as client:
        page = await client.get("/admin/kombo/customers")
        assert page.status_code == 200
        assert 'href="/outer/admin/kombo/events"' in page.text
        assert 'href="/admin' not in page.text


async def test_a_console_at_the_root_and_the_path_of_the_mount_itself_work(
    kombo: httpx.AsyncBaseTransport,
) -> None:
    _, embed = make_host(kombo)
    console = embed.console(authorize=lambda _request, _action: "Sam")
    async with embed:
        for app, path in ((console, "/customers"), (Starlette(), f"{MOUNT}")):
            if isinstance(app, Starlette):
                app.mount(MOUNT, console)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://a.example") as client:
                response = await client.get(path, follow_redirects=True)
                assert response.status_code == 200
