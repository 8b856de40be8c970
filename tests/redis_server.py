"""A real Redis on a free port that tests can stop, pause and start again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import free_port

RECONFIGURING = {"ACL", "CONFIG", "REPLICAOF"}


class RedisServer:
    """One redis-server process, with more ``options``. It writes a file only on ``SAVE``."""

    def __init__(self, executable: str, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.socket = folder / "redis.sock"
        self._snapshot = folder / "dump.rdb"
        self._command = [
            executable,
            *options,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--dir", str(folder), "--unixsocket", str(self.socket), "--loglevel", "warning"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._is_changed = False

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603 - found on the PATH
        ends = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < ends:
            try:
                if self.command("PING") == b"+PONG":
                    return
            except OSError:
                time.sleep(0.01)
        self.stop()
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        """Kill the process."""
        self._is_changed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Stop replying while all connections stay open."""
        self._is_changed = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def reset(self) -> None:
        """Delete all data, and restart the process if a test has stopped or configured it."""
        self._snapshot.unlink(missing_ok=True)
        if self._is_changed:
            self.stop()
            self.start()
            self._is_changed = False
        assert self.command("FLUSHALL") == b"+OK"

    def command(self, *words: str) -> bytes:
        """Return the first line of the reply to a command."""
        return self.reply(*words).split(b"\r\n")[0]

    def reply(self, *words: str) -> bytes:
        """Return the reply to a command, sent on a connection of its own."""
        self._is_changed |= words[0] in RECONFIGURING
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            parts = [word.encode() for word in words]
            connection.sendall(
                b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            )
            return connection.recv(65536)

    def calls(self, command: str) -> int:
        """Return how often this command was executed."""
        found = re.search(rb"cmdstat_%s:calls=(\d+)" % command.encode(), self.reply("INFO", "commandstats"))
        return int(found[1]) if found else 0

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@contextmanager
def running_redis(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server. Without redis-server the test is skipped, and fails in CI."""
    executable = shutil.which("redis-server")
    if executable is None:
        missing = "redis-server was not found; install it (Debian: apt-get install redis-server)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    server = _started(executable, folder, *options)
    try:
        yield server
    finally:
        server.stop()


def _started(executable: str, folder: Path, *options: str) -> RedisServer:
    # A port may be taken meanwhile, or that of the cluster's bus, which is 10,000 higher.
    for _ in range(5):
        server = RedisServer(executable, folder, *options)
        with suppress(AssertionError):
            server.start()
            return server
    raise AssertionError("redis-server did not start on any of five ports")
