"""A real PgBouncer in transaction mode, in front of the tests' PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import PostgresServer, unprivileged

MISSING = "PgBouncer was not found; install it (Debian: apt-get install pgbouncer) to run this test"
# The defaults of PgBouncer 1.18, but for the mode. The few server connections are shared by many clients.
CONFIGURATION = """
[databases]
* = host={server}
[pgbouncer]
pool_mode = transaction
default_pool_size = 4
listen_addr =
unix_socket_dir = {folder}
logfile = {folder}/log
auth_type = trust
auth_file = {folder}/users
"""
READY_SECONDS = 20


class PgBouncer:
    """A PgBouncer that listens on a socket file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, database: str) -> str:
        """Return the value for KOMBO_DATABASE_URL; nothing in it says that there is a pooler."""
        return f"postgresql://kombo@/{database}?host={self._folder}&port=6432"


def find_pgbouncer() -> str | None:
    """Return the installed program; Debian has it where only root's PATH leads."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def running_pgbouncer(program: str, server: PostgresServer) -> Iterator[PgBouncer]:
    """Run a PgBouncer as long as the context."""
    with tempfile.TemporaryDirectory(prefix="kombo-pgb-") as name:
        folder, owner = Path(name), unprivileged()
        if owner:
            os.chown(folder, owner["user"], owner["group"])
        (folder / "users").write_text('"kombo" ""\n', encoding="utf-8")
        settings = folder / "settings"
        settings.write_text(CONFIGURATION.format(server=server.folder, folder=folder), encoding="utf-8")
        with subprocess.Popen(  # noqa: S603 - the installed program
            [program, "--quiet", settings], stderr=subprocess.DEVNULL, **owner
        ) as process:
            try:
                _wait_for(folder / ".s.PGSQL.6432")
                yield PgBouncer(folder)
            finally:
                process.terminate()


def _wait_for(socket: Path) -> None:
    give_up_at = time.monotonic() + READY_SECONDS
    while not socket.exists():
        if time.monotonic() > give_up_at:
            raise TimeoutError(socket)
        time.sleep(0.02)
