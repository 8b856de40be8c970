"""`kombo-embed check` finds deliberately broken set-ups and names the remedy of each."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from kombo_embed import Settings
from kombo_embed.composition.deployment import Surroundings
from kombo_embed.composition.doctor import diagnose
from kombo_embed.sandbox import Sandbox
from tests.cli.runner import run
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer
from tests.support import (
    API_KEY,
    DATABASE,
    WEBHOOK_SECRET,
    database_with_tables,
    make_settings,
    served,
)

ORIGINAL_SET = {"KOMBO_API_KEY": API_KEY, "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET}
CLOSED = "127.0.0.1:9"  # the discard service, which nothing runs
FERNET_KEY = "bWFkZS11cC1rZXktZm9yLXRoZS10ZXN0cy1vbmx5ISE="
NFS = "/dev/vda / ext4 rw 0 0\nserver:/export /srv/shared\\040files nfs4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n"


@pytest.fixture
async def healthy(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[pytest.MonkeyPatch]:
    """The environment of a complete set-up, which a test then breaks."""
    DATABASE.write_bytes(database_with_tables())
    async with served(sandbox.app) as url:
        for name, value in ORIGINAL_SET.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("KOMBO_API_URL", f"{url}/v1")
        yield monkeypatch


async def check(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the command beside the sandbox's event loop."""
    result = await asyncio.to_thread(run, "check", "--json", *arguments)
    assert result.stderr == ""
    assert API_KEY not in result.stdout
    return result.exit_code, json.loads(result.stdout)["findings"]


def not_ok(findings: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {finding["id"]: finding for finding in findings if finding["level"] != "ok"}


@dataclass(frozen=True)
class Broken:
    """A set-up: the variables that break it, what else is done, and the one finding that is not ok."""

    id: str
    level: str
    remedy: str
    environ: dict[str, str | None] = field(default_factory=dict)
    arrange: Callable[[], object] = lambda: None


def delete_database() -> None:
    DATABASE.unlink()


def write_env_file() -> None:
    Path(".env").write_text("KOMBO_API_URL=https://collector.example/v1\n", encoding="utf-8")


SET_UPS = {
    "no API key": Broken("settings", "error", "environment or in .env", {"KOMBO_API_KEY": None}),
    "an impossible value": Broken("settings", "error", "environment or in .env", {"KOMBO_REGION": "mars"}),
    "a misspelt variable": Broken(
        "variables", "warning", "KOMBO_LINK_RATE", {"KOMBO_LINK_RATES": "1/minute"}
    ),
    "a value out of range": Broken(
        "variables", "warning", "Set KOMBO_LINK_LIFETIME to 3600", {"KOMBO_LINK_LIFETIME": "7200"}
    ),
    "a value in quotes": Broken(
        "variables", "warning", "quotes from KOMBO_WEBHOOK_SECRET", {"KOMBO_WEBHOOK_SECRET": "'whsec'"}
    ),
    "another environment's key": Broken("api_key", "error", "dashboard", {"KOMBO_API_KEY": "ks_other"}),
    "Kombo out of reach": Broken("api_key", "error", "firewall", {"KOMBO_API_URL": f"http://{CLOSED}/v1"}),
    "a region that has no effect": Broken("region", "warning", "Remove", {"KOMBO_REGION": "us"}),
    "no webhook secret": Broken(
        "webhook_secret", "warning", "Kombo's dashboard", {"KOMBO_WEBHOOK_SECRET": None}
    ),
    "a page on http": Broken(
        "origins", "warning", "https://", {"KOMBO_ALLOWED_ORIGINS": "http://app.example.com"}
    ),
    "several workers alone": Broken("workers", "warning", "KOMBO_REDIS_URL", {"WEB_CONCURRENCY": "4"}),
    "Redis down": Broken("redis", "warning", "Redis runs", {"KOMBO_REDIS_URL": f"redis://{CLOSED}/0"}),
    "an unknown option of Redis": Broken(
        "redis", "error", "Correct KOMBO_REDIS_URL", {"KOMBO_REDIS_URL": "redis://localhost/0?colour=red"}
    ),
    "no folder for the database": Broken(
        "database", "error", "Create it", {"KOMBO_DATABASE_URL": "sqlite:////nowhere/kombo_embed.db"}
    ),
    "no database yet": Broken("database", "warning", "kombo-embed migrate", arrange=delete_database),
    "a file that is no database": Broken(
        "database", "error", "KOMBO_DATABASE_URL", arrange=lambda: DATABASE.write_bytes(b"no database" * 100)
    ),
    "a file without tables": Broken(
        "migrations", "warning", "kombo-embed migrate", arrange=lambda: DATABASE.write_bytes(b"")
    ),
    "PostgreSQL down": Broken(
        "database", "error", "can be reached", {"KOMBO_DATABASE_URL": f"postgresql://kombo@{CLOSED}/kombo"}
    ),
    "an issuer out of reach": Broken(
        "issuer",
        "error",
        "KOMBO_OIDC_ISSUER",
        {"KOMBO_AUTH": "bearer", "KOMBO_OIDC_ISSUER": f"http://{CLOSED}", "KOMBO_OIDC_AUDIENCE": "api"},
    ),
    "a file that redirects the key": Broken(
        "settings", "error", "environment or in .env", {"KOMBO_API_URL": None}, write_env_file
    ),
}


async def test_a_complete_set_up_has_no_finding_but_ok(healthy: pytest.MonkeyPatch) -> None:
    del healthy
    code, findings = await check()
    assert (code, not_ok(findings)) == (0, {})
    assert {finding["id"] for finding in findings} >= {
        *("settings", "variables", "api_key", "region", "clock", "webhook_secret", "database"),
        *("migrations", "redis", "origins", "workers", "browser_modules"),
    }
    assert {finding["remedy"] for finding in findings} == {None}


@pytest.mark.parametrize("name", SET_UPS)
async def test_a_broken_set_up_is_found_with_its_remedy(healthy: pytest.MonkeyPatch, name: str) -> None:
    broken = SET_UPS[name]
    for variable, value in broken.environ.items():
        healthy.delenv(variable) if value is None else healthy.setenv(variable, value)
    broken.arrange()
    existed = DATABASE.exists()
    code, findings = await check()
    assert DATABASE.exists() == existed
    assert code == (1 if broken.level == "error" else 0)
    found = not_ok(findings)
    assert found.keys() == {broken.id}
    assert found[broken.id]["level"] == broken.level
    assert broken.remedy in found[broken.id]["remedy"]
    assert found[broken.id].keys() == {"id", "level", "message", "remedy"}


async def test_an_address_without_v1_is_found(healthy: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    async with served(sandbox.app) as url:
        healthy.setenv("KOMBO_API_URL", url)
        code, findings = await check()
    assert code == 1
    assert not_ok(findings)["api_key"]["remedy"].startswith("KOMBO_API_URL usually ends with /v1")


async def test_a_second_set_of_variables_has_a_check_of_its_own(healthy: pytest.MonkeyPatch) -> None:
    for name, variable in {"API_KEY": "ks_other", "API_URL": f"http://{CLOSED}/v1"}.items():
        healthy.setenv(f"KOMBO_US_{name}", variable)
    code, findings = await check("--prefix", "KOMBO_US_")
    found = not_ok(findings)
    assert (code, set(found)) == (1, {"api_key", "webhook_secret"})
    assert "KOMBO_US_API_KEY" in found["api_key"]["message"]
    assert "KOMBO_US_WEBHOOK_SECRET" in found["webhook_secret"]["remedy"]
    assert (await check())[0] == 0


async def test_people_get_the_findings_and_their_number(healthy: pytest.MonkeyPatch) -> None:
    healthy.setenv("KOMBO_API_KEY", "ks_other")
    healthy.delenv("KOMBO_WEBHOOK_SECRET")
    result = await asyncio.to_thread(run, "check")
    assert result.exit_code == 1
    assert "Errors: 1, warnings: 1." in result.stdout
    assert re.search(r"error +api_key +Kombo refuses KOMBO_API_KEY", result.stdout)
    assert result.stdout.count("Remedy:") == 2
    assert result.stderr == ""
    assert "ks_other" not in result.stdout


async def test_redis_that_runs_is_ok_and_makes_several_workers_safe(
    healthy: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    healthy.setenv("WEB_CONCURRENCY", "4")
    healthy.setenv("KOMBO_REDIS_URL", redis_server.url)
    code, findings = await check()
    assert (code, not_ok(findings)) == (0, {})


async def test_redis_whose_user_lacks_permissions_is_an_error(
    healthy: pytest.MonkeyPatch, redis_server: RedisServer
) -> None:
    redis_server.command(
        "ACL", "SETUSER", "reader", "on", ">made-up", "~*", "+@read", "+@connection", "+info"
    )
    healthy.setenv("KOMBO_REDIS_URL", redis_server.url.replace("://", "://reader:made-up@"))
    code, findings = await check()
    found = not_ok(findings)
    assert (code, set(found), found["redis"]["level"]) == (1, {"redis"}, "error")
    assert "lacks permissions" in found["redis"]["message"]
    assert "made-up" not in json.dumps(findings)


async def test_tables_that_are_missing_from_postgresql_are_an_error(
    healthy: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    name = await asyncio.to_thread(postgres.create_database, template="template0")
    healthy.setenv("KOMBO_DATABASE_URL", postgres.url(name))
    code, findings = await check()
    found = not_ok(findings)
    assert (code, set(found)) == (1, {"migrations"})
    assert "kombo-embed migrate" in found["migrations"]["remedy"]
    rows = await postgres.aexecute("SELECT * FROM pg_tables WHERE schemaname = 'public'", database=name)
    assert rows == []
    await asyncio.to_thread(postgres.drop_database, name)


async def test_privileges_that_a_role_lacks_are_found_with_the_statements_that_grant_them(
    healthy: pytest.MonkeyPatch, postgres: PostgresServer, postgres_database: str
) -> None:
    await postgres.aexecute("CREATE ROLE kombo_reader LOGIN")
    healthy.setenv("KOMBO_DATABASE_URL", postgres.url(postgres_database, user="kombo_reader"))
    code, findings = await check()
    found = not_ok(findings)
    assert (code, set(found)) == (1, {"database"})
    assert "GRANT SELECT, INSERT" in found["database"]["message"]
    assert "statements above" in found["database"]["remedy"]
    await postgres.aexecute("DROP ROLE kombo_reader")


def answer_check(headers: dict[str, str] | None = None) -> httpx.Response:
    data = {"status": "success", "data": {"environment_id": "env"}}
    return httpx.Response(200, json=data, headers=headers)


async def findings_of(
    settings: Settings, *, answer: Callable[[httpx.Request], httpx.Response], mounts: str = ""
) -> dict[str, dict[str, Any]]:
    DATABASE.write_bytes(database_with_tables())
    findings = await diagnose(
        lambda: settings,
        clock=time,
        surroundings=Surroundings({}, [], mounts),
        transport=httpx.MockTransport(answer),
    )
    return not_ok([asdict(finding) for finding in findings])


async def test_a_key_of_another_region_is_found_with_that_region() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return answer_check() if request.url.host == "api.us.kombo.dev" else httpx.Response(401, json={})

    found = await findings_of(make_settings(api_url=None), answer=answer)
    assert found.keys() == {"region"}
    assert (found["region"]["level"], found["region"]["remedy"]) == ("error", "Set KOMBO_REGION to us.")


async def test_a_refused_key_is_sent_to_no_other_host_than_kombos() -> None:
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(401, json={})

    assert (await findings_of(make_settings(api_url=None), answer=answer)).keys() == {"api_key"}
    assert sorted(hosts) == ["api.ca.kombo.dev", "api.kombo.dev", "api.us.kombo.dev"]
    hosts.clear()
    await findings_of(make_settings(api_url="https://proxy.example/v1"), answer=answer)
    assert hosts == ["proxy.example"]


@pytest.mark.parametrize(("seconds", "words"), [(600, "behind"), (-600, "ahead of")])
async def test_a_clock_that_differs_from_kombos_is_found(seconds: int, words: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    found = await findings_of(make_settings(), answer=lambda _: answer_check({"Date": date}))
    assert (set(found), found["clock"]["level"]) == ({"clock"}, "warning")
    assert f"s {words} Kombo's" in found["clock"]["message"]
    assert "NTP" in found["clock"]["remedy"]


@pytest.mark.parametrize(
    "date", ["yesterday", "", "Tue, 99 Xyz 2026 00:00:00 GMT", "Tue, 01 Jan 0000 99:99:99 GMT"]
)
async def test_a_date_that_cannot_be_read_is_not_compared(date: str) -> None:
    assert await findings_of(make_settings(), answer=lambda _: answer_check({"Date": date})) == {}


async def test_an_api_key_over_http_and_an_unencrypted_redis_are_found() -> None:
    settings = make_settings(api_url="http://proxy.example/v1", redis_url="redis://redis.invalid/0")
    found = await findings_of(settings, answer=lambda _: answer_check())
    assert found.keys() == {"api_url", "redis"}
    assert "https://" in found["api_url"]["remedy"]


@pytest.mark.parametrize(
    ("file", "unsafe"),
    [("/srv/shared files/kombo_embed.db", True), ("/srv/shared", False), ("/run/kombo_embed.db", False)],
)
async def test_a_file_on_a_network_file_system_is_found(file: str, *, unsafe: bool, tmp_path: Path) -> None:
    # The table names the test's folder in place of the root, as a container would.
    mounts = NFS.replace(" /", f" {tmp_path}/")
    path = tmp_path / file[1:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(database_with_tables())
    settings = make_settings(database_url=f"sqlite:///{path}")
    found = await findings_of(settings, answer=lambda _: answer_check(), mounts=mounts)
    assert found.keys() == ({"database"} if unsafe else set())
    if unsafe:
        assert "network file system (nfs4)" in found["database"]["message"]
        assert "PostgreSQL" in found["database"]["remedy"]
