"""What a request costs the process: large headers, queries and bodies cost little more than small ones."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import pytest
from starlette.types import ASGIApp, Message

from tests.support import LogRecorder, make_host, running

JSON = (b"content-type", b"application/json")
ADA = (b"x-person", b"ada@acme")
ORIGIN = b"https://app.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request at the level of ASGI, where a server would not limit it."""

    method: str = "POST"
    path: str = "/kombo/links"
    query: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = (JSON,)
    body: bytes = b"{}"
    status: int = 200

    async def send(self, app: ASGIApp) -> int:
        """Return the status of the response."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": self.body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "query_string": self.query,
            "root_path": "",
            "headers": [(b"host", b"app.example"), ADA, *self.headers],
        }
        await app(scope, receive, send)
        status: int = sent[0]["status"]
        return status

    async def cost(self, app: ASGIApp, *, times: int = 10) -> float:
        """Return the seconds of CPU of one request; the best of several tries."""
        tries = []
        for _ in range(5):
            started_at = time.process_time()
            for _ in range(times):
                assert await self.send(app) == self.status
            tries.append(time.process_time() - started_at)
        return min(tries) / times


LINK = Call()
TOOLS = Call(method="GET", path="/kombo/tools", headers=())
MODULE = Call(method="GET", path="/kombo/kombo-embed.js", headers=())
LISTED = b",".join([b'"x"'] * 25_000)
LARGE = {
    "query": (LINK, Call(query=b"a=b&" * 25_000)),
    "categories": (
        TOOLS,
        Call(
            method="GET",
            path="/kombo/tools",
            headers=(),
            query=b"&".join([b"category=HRIS"] * 10_000),
            status=422,
        ),
    ),
    "encoded category": (
        TOOLS,
        Call(method="GET", path="/kombo/tools", headers=(), query=b"category=" + b"%41" * 33_000, status=422),
    ),
    "entity tags": (MODULE, Call(method="GET", path=MODULE.path, headers=[(b"if-none-match", LISTED)])),
    "commas": (MODULE, Call(method="GET", path=MODULE.path, headers=[(b"if-none-match", b"," * 100_000)])),
    "languages": (LINK, Call(headers=[JSON, (b"accept-language", b"de;q=0.1," * 11_000)])),
    "cookies": (LINK, Call(headers=[JSON, (b"cookie", b"a=b;" * 25_000)])),
    "token": (LINK, Call(headers=[JSON, (b"authorization", b"Bearer " + b"a." * 50_000)])),
    "origin": (LINK, Call(headers=[JSON, (b"origin", b"https://" + b"a." * 50_000)], status=403)),
    "IPv6 origin": (LINK, Call(headers=[JSON, (b"origin", b"https://[" + b":" * 100_000)], status=403)),
    "host": (LINK, Call(headers=[JSON, (b"origin", ORIGIN), (b"host", b"a." * 50_000)], status=403)),
    "charsets": (
        LINK,
        Call(headers=[(b"content-type", b"application/json;" + b"charset=utf-8;" * 7_000)], status=415),
    ),
    "length": (LINK, Call(headers=[JSON, (b"content-length", b"9" * 100_000)], status=413)),
    "path": (LINK, Call(method="GET", path="/kombo/" + "a" * 100_000, status=404)),
    "slashes": (LINK, Call(method="GET", path="/kombo/" + "/" * 100_000, status=404)),
    "nested lists": (LINK, Call(body=b"[" * 8_192, status=400)),
    "nested objects": (LINK, Call(body=b'{"a":' * 1_600, status=400)),
    "unknown fields": (LINK, Call(body=json.dumps(dict.fromkeys(map(str, range(500)))).encode(), status=422)),
    "long number": (LINK, Call(body=b'{"fresh":' + b"9" * 8_000 + b"}", status=400)),
    "webhook": (LINK, Call(path="/kombo/webhooks", headers=[], body=b"x" * 1_000_000, status=401)),
}


@pytest.mark.parametrize("name", LARGE)
async def test_a_large_request_costs_at_most_ten_small_ones(
    name: str, kombo: httpx.AsyncBaseTransport
) -> None:
    small, large = LARGE[name]
    app, _ = make_host(kombo, allowed_origins="https://a.example")
    async with running(app):
        assert await large.cost(app) < 10 * await small.cost(app)


async def test_an_entity_tag_is_found_in_a_long_list(kombo: httpx.AsyncBaseTransport) -> None:
    app, _ = make_host(kombo)
    async with running(app) as client:
        tag = (await client.get("/kombo/openapi.json")).headers["etag"]
        for names in (tag, f"W/{tag}", f'"a", {tag}', f'{LISTED.decode()},W/{tag},"b"', "*", " * "):
            response = await client.get("/kombo/openapi.json", headers={"If-None-Match": names})
            assert (response.status_code, response.headers["etag"]) == (304, tag)
        for names in ("", '"*"', tag.strip('"'), tag.upper(), LISTED.decode()):
            response = await client.get("/kombo/openapi.json", headers={"If-None-Match": names})
            assert response.status_code == 200


async def test_a_request_that_is_refused_for_its_size_logs_nothing_of_it(
    kombo: httpx.AsyncBaseTransport, log: LogRecorder
) -> None:
    app, _ = make_host(kombo)
    async with running(app):
        for _, large in LARGE.values():
            await large.send(app)
    assert len(log.text()) < 100_000
