"""A start logs what is unsafe about its deployment; `kombo-embed check` finds the same."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest

from kombo_embed.composition.deployment import Surroundings, count_workers
from tests.support import API_KEY, LogRecorder, free_port, make_host, running

ROOT = Path(__file__).parent.parent
HOST = """
from starlette.applications import Starlette
from kombo_embed import KomboEmbed

app = Starlette()
KomboEmbed(end_user=lambda request: None).install(app)
"""


def unsafe(log: LogRecorder) -> list[str]:
    return [line for line in log.lines if "deployment.unsafe" in line]


async def test_a_start_without_webhook_secret_and_with_http_pages_logs_each_once_with_its_remedy(
    kombo: httpx.AsyncBaseTransport, log: LogRecorder
) -> None:
    origins = ("http://app.example.com", "http://localhost:5173", "https://app.example.com", "app://local")
    app, _ = make_host(kombo, webhook_secret=(), allowed_origins=origins)
    async with running(app):
        [page] = unsafe(log)
    [secret] = [line for line in log.lines if "KOMBO_WEBHOOK_SECRET" in line]
    assert " webhooks.not_configured " in secret
    assert "set KOMBO_WEBHOOK_SECRET to its secret" in secret
    assert "'finding': 'origins'" in page
    assert "has http://app.example.com:" in page


async def test_a_start_of_several_workers_without_redis_logs_it(
    kombo: httpx.AsyncBaseTransport, log: LogRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    app, _ = make_host(kombo)
    async with running(app):
        [workers] = unsafe(log)
    assert "'finding': 'workers'" in workers
    assert "3 worker processes without KOMBO_REDIS_URL" in workers


async def test_a_safe_start_logs_nothing_unsafe(kombo: httpx.AsyncBaseTransport, log: LogRecorder) -> None:
    app, _ = make_host(kombo, allowed_origins=("https://app.example.com", "http://dev.localhost:5173"))
    async with running(app):
        assert unsafe(log) == []


@pytest.mark.integration
@pytest.mark.parametrize(
    "server",
    [
        ["uvicorn", "--port", "{port}", "--workers", "2"],
        ["hypercorn", "--bind", "127.0.0.1:{port}", "-w", "2"],
        ["granian", "--interface", "asgi", "--no-ws", "--port", "{port}", "--workers=2"],
    ],
    ids=lambda server: server[0],
)
async def test_each_server_that_starts_several_workers_logs_it(server: list[str], tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(HOST, encoding="utf-8")
    command = [option.format(port=free_port()) for option in server]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command, "host:app"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "KOMBO_API_KEY": API_KEY},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        # Without a handler, logging prints the message alone: here one of each worker.
        async with asyncio.timeout(60):
            seen = 0
            while seen < 2:
                line = (await process.stderr.readline()).decode()
                assert line, "the server ended"
                seen += "deployment.unsafe" in line
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.parametrize(
    ("environ", "command", "count"),
    [
        ({}, "/app/.venv/bin/uvicorn app:app --workers 4", 4),
        ({}, "/usr/lib/python3/site-packages/uvicorn/__main__.py app:app --workers=4", 4),
        ({}, "gunicorn -k uvicorn.workers.UvicornWorker -w 4 app:app", 4),
        ({}, "gunicorn -w4 app:app", 4),
        ({}, "hypercorn --workers 4 app:app", 4),
        ({}, "fastapi run --workers 4", 4),
        ({"WEB_CONCURRENCY": "4"}, "uvicorn app:app", 4),
        ({"GRANIAN_WORKERS": "4"}, "granian app:app", 4),
        ({"GUNICORN_CMD_ARGS": "--bind :8000 --workers 4"}, "gunicorn app:app", 4),
        ({"WEB_CONCURRENCY": "4"}, "uvicorn app:app --workers 1", 1),
        ({"WEB_CONCURRENCY": "many"}, "uvicorn app:app", 1),
        ({"WEB_CONCURRENCY": "0"}, "uvicorn app:app", 1),
        ({}, "uvicorn app:app", 1),
        ({}, "celery worker -w 4", 1),
        ({}, "", 1),
    ],
)
def test_the_number_of_workers_is_read_from_the_command_line_or_the_environment(
    environ: dict[str, str], command: str, count: int
) -> None:
    assert count_workers(Surroundings(environ, command.split())) == count
