"""``kombo-embed sandbox -- ...``: the sandbox and the app under development in one terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.app_process import environment_for, find_port
from tests.support import free_port, person

APP = """
from starlette.applications import Starlette
from kombo_embed import KomboEmbed
from tests.support import end_user_from_header

app = Starlette()
embed = KomboEmbed(end_user=end_user_from_header)
embed.install(app)

@embed.on("integration.connected")
def print_it(event):
    print("connected", event.origin_id, flush=True)
"""
INTERRUPTED = """
import signal, sys

signals = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # none is lost, also if two come at once
print("app is waiting", flush=True)
first = signal.sigwait(signals)
second = signal.sigtimedwait(signals, 1)  # as an app that finishes its requests
sys.exit(7 if (first, second) == (signal.SIGINT, None) else 1)
"""
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def sandbox_with(
    *command: str, tmp_path: Path, **environ: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kombo_embed", "sandbox", "--port", "0", "--", *command),
        cwd=tmp_path,
        env={"PATH": str(Path(sys.executable).parent), "PYTHONPATH": f"{ROOT}:{tmp_path}", **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def lines_until(process: asyncio.subprocess.Process, text: str) -> str:
    assert process.stdout is not None
    read = ""
    while text not in read:
        line = await process.stdout.readline()
        assert line, read
        read += line.decode()
    return read


async def connect(url: str, sandbox_url: str) -> None:
    """Complete a flow whose tab is closed, so that only the webhook reports it."""
    async with httpx.AsyncClient(trust_env=False) as client:
        link = (await client.post(f"{url}/kombo/links", json={}, headers=person("ada@acme"))).json()["link"]
        assert link.startswith(sandbox_url)
        completed = await client.post(f"{sandbox_url}/_sandbox/complete", json={"link": link})
        assert completed.status_code == 200


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_app_gets_links_and_webhooks_and_ends_with_the_sandbox(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    port = free_port()
    uvicorn = ("uvicorn", "app:app", "--port", str(port), "--reload")
    async with sandbox_with(*uvicorn, tmp_path=tmp_path) as process:
        assert process.stderr is not None
        announced = await lines_until(process, "Ctrl-C")
        assert f"http://localhost:{port}/kombo/webhooks" in announced
        sandbox_url = announced.partition("KOMBO_API_URL=")[2].partition("/v1")[0]
        logged = ""
        while "startup complete" not in logged:
            logged += (await process.stderr.readline()).decode()
        await connect(f"http://127.0.0.1:{port}", sandbox_url)
        await lines_until(process, "connected acme")
        process.send_signal(number)
        _, errors = await process.communicate()
        assert b"Traceback" not in errors
        assert b"Finished server process" in errors
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize(
    ("program", "code"),
    [("raise SystemExit(3)", 3), ("pass", 0), ("import os; os.kill(os.getpid(), 9)", 128 + 9)],
)
async def test_the_exit_code_is_the_apps(program: str, code: int, tmp_path: Path) -> None:
    async with sandbox_with(sys.executable, "-c", program, tmp_path=tmp_path) as process:
        await process.communicate()
    assert process.returncode == code


async def test_ctrl_c_in_the_terminal_interrupts_the_app_once_and_gives_its_exit_code(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(INTERRUPTED, encoding="utf-8")
    terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", terminal),
        *(sys.executable, "-m", "kombo_embed", "sandbox", "--port", "0", "--"),
        *(sys.executable, str(app)),
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        await lines_until(process, "app is waiting")
        await process.communicate(b"\x03")
    assert process.returncode == 7


async def test_a_command_that_does_not_exist_is_reported_in_one_line(tmp_path: Path) -> None:
    async with sandbox_with("no-such-program", tmp_path=tmp_path) as process:
        _, errors = await process.communicate()
    assert process.returncode == 127
    assert errors.decode().splitlines() == ["no-such-program cannot be run: No such file or directory"]


async def test_the_apps_own_settings_win_over_the_defaults(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KOMBO_API_KEY=from-the-file\n", encoding="utf-8")
    program = "import os; print(*(os.environ[f'KOMBO_{name}'] for name in ('API_KEY', 'WEBHOOK_SECRET')))"
    async with sandbox_with(
        *(sys.executable, "-c", program), tmp_path=tmp_path, KOMBO_WEBHOOK_SECRET="new,old"
    ) as process:
        output, _ = await process.communicate()
    assert output.decode().splitlines()[-1] == "from-the-file new,old"


def test_without_settings_the_sandbox_and_the_app_agree_on_defaults() -> None:
    environ = environment_for(
        Sandbox(), "http://localhost:8001", environ={"KOMBO_API_KEY": "", "KOMBO_API_URL": "x", "HOME": ""}
    )
    assert environ == {
        "KOMBO_API_KEY": "any",
        "KOMBO_WEBHOOK_SECRET": "any",
        "KOMBO_API_URL": "http://localhost:8001/v1",
        "HOME": "",
    }


@pytest.mark.parametrize(
    ("command", "port"),
    [
        ("uvicorn app:app --reload", 8000),
        ("uvicorn app:app --port 9001", 9001),
        ("uvicorn app:app --port=9001 --workers 2", 9001),
        ("flask run -p 9001", 9001),
        ("hypercorn --bind 0.0.0.0:9001 app:app", 9001),
        ("gunicorn -b :9001 app:app", 9001),
        ("python -m app --report 12", 8000),
    ],
)
def test_the_port_of_the_webhooks_is_that_of_the_command_line(command: str, port: int) -> None:
    assert find_port(command.split()) == port
