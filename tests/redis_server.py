"""A real Redis on a free port, to be stopped, paused and started again under what uses it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import free_port


class RedisServer:
    """One redis-server process, without a file unless it is asked to save one."""

    def __init__(self, executable: str, folder: Path) -> None:
        self.port = free_port()
        self._command = [
            executable,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--dir", str(folder), "--unixsocket", str(folder / "redis.sock"), "--loglevel", "warning"),
        ]
        self.socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603 - found on the PATH
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            try:
                if self.command("PING") == b"+PONG":
                    return
            except OSError:
                time.sleep(0.01)
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        """End at once, keeping nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Stop answering, with all connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """The first line of the answer to a command."""
        return self.answer(*words).split(b"\r\n")[0]

    def answer(self, *words: str) -> bytes:
        """The answer to a command, on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            parts = [word.encode() for word in words]
            connection.sendall(
                b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            )
            return connection.recv(65536)

    def calls(self, command: str) -> int:
        """How often it was asked to do this."""
        found = re.search(rb"cmdstat_%s:calls=(\d+)" % command.encode(), self.answer("INFO", "commandstats"))
        return int(found[1]) if found else 0

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def running_redis(folder: Path) -> Iterator[RedisServer]:
    """A server until the test ends; without redis-server the test is skipped, and fails in CI."""
    executable = shutil.which("redis-server")
    if executable is None:
        missing = "redis-server was not found; install it (Debian: apt-get install redis-server)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    server = RedisServer(executable, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
