from __future__ import annotations

import httpx
import pytest

from kombo_embed import ConfigurationError
from kombo_embed.link_cache.redis_client import RedisClient
from tests.redis_server import RedisServer
from tests.support import make_host, running

ADA = {"x-person": "ada@acme"}


@pytest.mark.parametrize(
    "options",
    [
        "decode_responses=True",
        "decode_responses=true&encoding=utf-16",
        "protocol=3",
        "socket_timeout=0.000001",
        "retry_on_timeout=True",
        "max_connections=1",
        "health_check_interval=10",
    ],
)
async def test_options_in_the_url_do_not_change_how_replies_are_read(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, options: str
) -> None:
    app, _ = make_host(kombo, redis_url=f"{redis_server.url}?{options}")
    async with running(app) as client:
        links = [(await client.post("/kombo/links", headers=ADA, json={})).json()["link"] for _ in range(3)]
        assert (await client.get("/kombo/health")).json()["checks"]["redis"] == "ok"
    assert len(set(links)) == 1


@pytest.mark.parametrize("options", ["nonsense=1", "ssl_cert_reqs=CERT_NONE", "db=x"])
async def test_options_that_redis_py_refuses_stop_the_start_without_the_password(options: str) -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_REDIS_URL") as raised:
        RedisClient(f"rediss://:secret@localhost:1/0?{options}")
    assert "secret" not in str(raised.value)
