"""The files of examples/deployment: nginx and four workers really run, the others are checked."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from kombo_embed import Settings
from kombo_embed.sandbox import Sandbox
from tests.postgres import PostgresServer
from tests.processes import running_nginx, serving
from tests.redis_server import RedisServer
from tests.support import API_KEY, WEBHOOK_SECRET, free_port, minted, person, served

ROOT = Path(__file__).parents[2]
FILES = ROOT / "examples" / "deployment"
HOST = """
import os

from starlette.applications import Starlette

from kombo_embed import KomboEmbed
from tests.support import end_user_from_header

app = Starlette()
embed = KomboEmbed(end_user=end_user_from_header)
embed.install(app)


class NamedWorker:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with_name(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-worker", str(os.getpid()).encode())]
            await send(message)

        await self.app(scope, receive, send_with_name)


app.add_middleware(NamedWorker)
"""
ADA = person("ada@acme")
FERNET_KEY = "bWFkZS11cC1rZXktZm9yLXRoZS10ZXN0cy1vbmx5ISE="
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def server_command() -> list[str]:
    """Return the command line of the container, which the systemd unit has, too."""
    [command] = re.findall(r"^CMD (\[.*?\])$", CONTAINERFILE.replace("\\\n", ""), re.MULTILINE | re.DOTALL)
    words: list[str] = yaml.safe_load(command)
    return words


@asynccontextmanager
async def deployed(
    nginx: str, folder: Path, environ: dict[str, str]
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run four workers behind nginx; yield nginx's URL and the workers' parent."""
    (folder / "app.py").write_text(HOST, encoding="utf-8")
    app_port = free_port()
    # The later options win.
    options = ["--port", str(app_port), "--host", "127.0.0.1", "--no-access-log"]
    workers = [sys.executable, "-m", *server_command(), *options]
    paths = {**environ, "PYTHONPATH": f"{ROOT}:{folder}"}

    def configuration(address: str) -> str:
        conf = (FILES / "nginx.conf").read_text(encoding="utf-8")
        return conf.replace("app:8000", f"127.0.0.1:{app_port}").replace("listen 8080", f"listen {address}")

    async with (
        serving(*workers, environ=paths, url=f"http://127.0.0.1:{app_port}/kombo/health") as parent,
        running_nginx(nginx, folder, configuration) as url,
    ):
        yield url, parent


@pytest.fixture
def environ(postgres: PostgresServer, postgres_database: str, redis_server: RedisServer) -> dict[str, str]:
    """Return the settings of compose.yaml, with this machine's servers."""
    return {
        "KOMBO_API_KEY": API_KEY,
        "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "KOMBO_DATABASE_URL": postgres.url(postgres_database),
        "KOMBO_REDIS_URL": redis_server.url,
        "KOMBO_LINK_ENCRYPTION_KEYS": FERNET_KEY,
    }


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/kombo/links", json={}, headers={**ADA, **headers})


@pytest.mark.integration
async def test_four_workers_behind_nginx_share_one_link_and_survive_a_rolling_restart(
    nginx: str, sandbox: Sandbox, environ: dict[str, str], tmp_path: Path
) -> None:
    async with served(sandbox.app) as kombo_url:
        environ = {**environ, "KOMBO_API_URL": f"{kombo_url}/v1"}
        async with (
            deployed(nginx, tmp_path, environ) as (url, parent),
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as browser,
        ):
            sandbox.webhook_url = f"{url}/kombo/webhooks"
            # One mint, whichever of the workers answers.
            answers = await asyncio.gather(*(ask(browser, Origin=url) for _ in range(40)))
            async with asyncio.timeout(60):
                while len({answer.headers["x-worker"] for answer in answers}) == 1:
                    answers.append(await ask(browser, Origin=url))
            assert {answer.status_code for answer in answers} == {200}
            links = {answer.json()["link"] for answer in answers}
            assert (len(links), minted(sandbox)) == (1, 1)
            assert (await ask(browser, Origin="https://elsewhere.example")).json()["code"] == "cross_origin"
            assert (await browser.get("/kombo/health")).status_code == 404

            # A webhook passes nginx; a completion invalidates the link in all workers.
            flow = await sandbox.complete(links.pop(), "personio")
            token = {"activation_token": flow.activation_token}
            done = await browser.post("/kombo/completions", json=token, headers=ADA)
            assert done.status_code in {200, 201}
            await sandbox.settle()
            assert '"delivered"' in json.dumps(sandbox.report()["deliveries"])
            assert (await ask(browser)).status_code == 200
            assert minted(sandbox) == 2

            await assert_no_request_is_lost_while(browser, parent)
            parent.terminate()
            async with asyncio.timeout(60):
                await parent.wait()


async def assert_no_request_is_lost_while(
    browser: httpx.AsyncClient, parent: asyncio.subprocess.Process
) -> None:
    """Replace all workers (SIGHUP) while requests arrive."""
    before = workers_of(parent)
    assert len(before) == 4
    parent.send_signal(signal.SIGHUP)
    async with asyncio.timeout(120):
        while workers_of(parent) & before:
            answer = await ask(browser)  # one at a time: the new workers need the processor
            assert answer.status_code == 200
    assert {answer.status_code for answer in [await ask(browser) for _ in range(20)]} == {200}


def workers_of(parent: asyncio.subprocess.Process) -> set[str]:
    """Return the process ids of the workers: what multiprocessing spawned."""
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text(encoding="utf-8").split()
    return {pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_the_last_stage_of_the_container_has_a_user_without_privileges_and_no_build_tools() -> None:
    stages = re.split(r"^FROM ", CONTAINERFILE, flags=re.MULTILINE)[1:]
    assert len(stages) == 3
    assert re.search(r"^USER [1-9][0-9]+$", stages[-1], re.MULTILINE)
    assert not re.search(r"\b(npm|node|pip install|apt-get)\b", re.sub(r"(?m)^#.*", "", stages[-1]))
    assert server_command()[0] == "uvicorn"


def test_everything_that_the_container_copies_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert len(paths) > 5
    for path in paths:
        assert (ROOT / path).exists(), path
        assert any(path == kept or path.startswith(f"{kept}/") for kept in (one[1:] for one in ignored)), path


def test_the_requirements_of_the_container_have_what_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["project"]["dependencies"],
        *(one for extra in ("cli", "fastapi", "postgres", "redis") for one in extras[extra]),
    ]
    pinned = (ROOT / "requirements" / "deploy.txt").read_text(encoding="utf-8")
    for requirement in wanted:
        name = re.match(r"[a-z0-9-]+", requirement)
        assert name is not None
        assert re.search(rf"^{name[0]}(\[\w+\])?==", pinned, re.MULTILINE), requirement


def test_compose_migrates_before_the_app_starts_and_nginx_waits_for_its_health() -> None:
    compose = yaml.safe_load((FILES / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    assert services["migrate"]["command"] == ["kombo-embed", "migrate"]
    assert services["app"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["nginx"]["depends_on"]["app"] == {"condition": "service_healthy"}
    assert "/kombo/health" in CONTAINERFILE
    command = server_command()
    assert command[command.index("--workers") + 1] == "4"
    grace = int(command[command.index("--timeout-graceful-shutdown") + 1])
    assert int(services["app"]["stop_grace_period"].removesuffix("s")) > grace
    known = {f"KOMBO_{name.upper()}" for name in Settings.model_fields}
    assert services["app"]["environment"].keys() <= known


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze was not found; install systemd to run this test")
    # It also wants the programs and the folder to exist.
    unit = (FILES / "kombo-embed.service").read_text(encoding="utf-8")
    unit = re.sub(r"/srv/kombo-embed/\.venv/bin/\S+", "/bin/true", unit)
    file = tmp_path / "kombo-embed.service"
    file.write_text(unit, encoding="utf-8")
    result = subprocess.run([verify, "verify", file], check=False, capture_output=True, text=True)  # noqa: S603
    about_it = [line for line in result.stderr.splitlines() if "kombo-embed.service" in line]
    assert about_it == []
