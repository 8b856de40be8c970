"""Redis servers of all kinds and configurations: each works, or stops the start with a sentence."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kombo_embed import ConfigurationError
from kombo_embed.sandbox import Sandbox
from tests.link_cache.workers import GRACE, Worker, workers
from tests.redis_server import RedisServer, running_redis
from tests.support import eventually, free_port, make_host

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


async def reason_for_not_starting(kombo: httpx.AsyncBaseTransport, url: str) -> str:
    """Return the one sentence with which the start stops."""
    _, embed = make_host(kombo, redis_url=url)
    with pytest.raises(ConfigurationError) as raised:
        await embed.open()
    await embed.close()
    [sentence] = str(raised.value).splitlines()
    assert "KOMBO_REDIS_URL" in sentence
    assert "a-pass-word" not in sentence
    return sentence


@pytest.mark.parametrize("info_is_permitted", [True, False])
async def test_a_redis_cluster_stops_the_start(
    info_is_permitted: bool, kombo: httpx.AsyncBaseTransport, tmp_path: Path
) -> None:
    with running_redis(tmp_path, "--cluster-enabled", "yes") as server:
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        if not info_is_permitted:
            server.command("ACL", "SETUSER", "default", "-info")
        sentence = await reason_for_not_starting(kombo, server.url)
    assert "Redis Cluster" in sentence
    assert "one Redis server" in sentence


@pytest.mark.parametrize("info_is_permitted", [True, False])
async def test_a_redis_sentinel_stops_the_start(
    info_is_permitted: bool, kombo: httpx.AsyncBaseTransport, tmp_path: Path
) -> None:
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text("sentinel monitor primary 127.0.0.1 1 1\n", encoding="utf-8")
    with running_redis(tmp_path, str(configuration), "--sentinel") as server:
        if not info_is_permitted:
            server.command("ACL", "SETUSER", "default", "-info")
        sentence = await reason_for_not_starting(kombo, server.url)
    assert "one Redis server" in sentence


async def test_a_server_that_becomes_unusable_is_reported_with_the_reason_and_used_again_when_it_is_repaired(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with workers(1, kombo, redis_server) as (worker,):
        await worker.link()
        redis_server.command("ACL", "SETUSER", "default", "-getrange")
        await worker.link(GRACE)
        await until_health(worker, "degraded")
        await eventually(
            lambda: "permissions" in str([vars(record).get("error") for record in caplog.records])
        )
        redis_server.command("ACL", "SETUSER", "default", "+getrange")
        await until_health(worker, "ok")
    outages = [record for record in caplog.records if record.message == "redis.unavailable"]
    assert vars(outages[-1])["error"] == "its user lacks permissions: +getrange"
    assert len(outages) <= 2
    assert caplog.messages.count("redis.recovered") == 1


async def until_health(worker: Worker, status: str) -> None:
    async with asyncio.timeout(30):
        while (await worker.health())["status"] != status:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)


def documented_user() -> list[str]:
    """Return the words of the ACL rule in docs/operations.md."""
    [line] = re.findall(r"^ACL SETUSER kombo .*$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    return str(line).split()


def permissions() -> list[str]:
    return [word for word in documented_user() if re.fullmatch(r"\+[a-z|]+", word)]


def restricted(redis: RedisServer, *changes: str) -> str:
    """Create the documented user, with these changes, and return the URL with which it signs in."""
    assert redis.command(*documented_user(), *changes) == b"+OK"
    return redis.url.replace("redis://", "redis://kombo:a-pass-word@")


async def test_the_documented_user_suffices(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    url = restricted(redis_server)
    async with workers(2, kombo, redis_url=url) as (first, second):
        old = await first.link(GRACE)
        assert await second.link(GRACE) == old
        await first.complete(sandbox, await first.link(), "personio")
        assert await second.link(GRACE) != old
        assert (await second.health())["status"] == "ok"
    assert b"kombo" not in redis_server.reply("ACL", "LOG")  # nothing was denied


@pytest.mark.parametrize("permission", permissions())
async def test_a_missing_permission_stops_the_start_and_is_named(
    permission: str, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    url = restricted(redis_server, permission.replace("+", "-"))
    redis_server.command("SCRIPT", "FLUSH")
    if permission in (
        "+info",
        "+select",
    ):  # a missing INFO costs precision, and SELECT is for other databases
        async with workers(1, kombo, redis_url=url) as (worker,):
            assert (await worker.health())["status"] == "ok"
        return
    assert f"lacks permissions: {permission}" in await reason_for_not_starting(kombo, url)


async def test_a_missing_permission_for_another_database_is_named(
    kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    url = restricted(redis_server, "-select").removesuffix("0") + "3"
    assert "lacks permissions: +select" in await reason_for_not_starting(kombo, url)


@pytest.mark.parametrize("keys", ["~others:*", "~kombo-embed:link:*", "%R~kombo-embed:*"])
async def test_missing_access_to_keys_stops_the_start(
    keys: str, kombo: httpx.AsyncBaseTransport, redis_server: RedisServer
) -> None:
    url = restricted(redis_server, "resetkeys", keys)
    assert "lacks permissions: ~kombo-embed:*" in await reason_for_not_starting(kombo, url)


async def test_a_tls_server_with_a_ca_of_its_own_and_the_documented_user_works(
    kombo: httpx.AsyncBaseTransport, tls_server: TlsServer
) -> None:
    restricted(tls_server.server)
    url = f"{tls_server.url('kombo:a-pass-word@')}?ssl_ca_certs={quote(str(tls_server.ca))}"
    async with workers(2, kombo, redis_url=url) as (first, second):
        assert await first.link() == await second.link()
        assert (await second.health())["status"] == "ok"


async def test_a_tls_server_with_an_unknown_ca_is_not_used(
    kombo: httpx.AsyncBaseTransport, tls_server: TlsServer
) -> None:
    async with workers(1, kombo, redis_url=tls_server.url()) as (worker,):
        assert await worker.link()
        assert (await worker.health())["status"] == "degraded"


@dataclass
class TlsServer:
    server: RedisServer
    port: int
    ca: Path

    def url(self, user: str = "") -> str:
        return f"rediss://{user}127.0.0.1:{self.port}/0"


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[TlsServer]:
    certificate, key = self_signed(tmp_path)
    port = free_port()
    options = [
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-ca-cert-file", str(certificate)),
    ]
    with running_redis(tmp_path, *options) as server:
        yield TlsServer(server, port, certificate)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for this machine that is its own CA, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "redis.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "redis.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "redis.pem", folder / "redis.key"
