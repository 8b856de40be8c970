"""A real PostgreSQL: one server per test process, a fresh database for each test."""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from kombo_embed.store.store import migrate

MISSING = "PostgreSQL was not found; install it (Debian: apt-get install postgresql) to run this test"
OPTIONS = {
    "port": "5432",  # in the name of the socket file
    "listen_addresses": "",
    "fsync": "off",  # the machine does not lose power during the tests
    "max_connections": "40",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "deadlock_timeout": "100ms",
}
TEMPLATE = "kombo_template"

Result = TypeVar("Result")


class PostgresServer:
    """A PostgreSQL server in a temporary folder, which listens on a socket file."""

    def __init__(
        self, binaries: Path, folder: Path, options: Mapping[str, str], files: Mapping[str, bytes]
    ) -> None:
        self._binaries = binaries
        self._folder = folder
        self._files = files
        self._options = {**OPTIONS, **options}
        self._port = self._options["port"]
        self._data = folder / "data"
        self._numbers = itertools.count(1)

    @property
    def folder(self) -> Path:
        """Return the folder of the socket file."""
        return self._folder

    def create(self) -> None:
        """Create the server's files, start it, and create the database that tests get copies of."""
        self._run("initdb", "--no-sync", "--auth=trust", "--username=kombo", "--encoding=UTF8", "--locale=C")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in self._options.items())
            settings.write(f"unix_socket_directories = '{self._folder}'\n")
        for name, content in self._files.items():
            file = self._data / name
            file.write_bytes(content)
            file.chmod(0o600)
            if owner := unprivileged():
                os.chown(file, owner["user"], owner["group"])
        self.start()
        self.execute(f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(migrate(self.url(TEMPLATE)))

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder}/log")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; ``immediate`` looks like a crash."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def url(self, database: str, *, user: str = "kombo") -> str:
        """Return the value for KOMBO_DATABASE_URL."""
        return f"postgresql+asyncpg://{user}@/{database}?host={self._folder}&port={self._port}"

    def create_database(self, *, template: str = TEMPLATE) -> str:
        """Create a database; return its name."""
        name = f"kombo_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, even if clients are connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run a statement as the server's owner, outside of any event loop."""
        asyncio.run(self.aexecute(statement, database=database))

    async def aexecute(self, statement: str, *, database: str = "postgres") -> list[Any]:
        """Run a statement as the server's owner; return its rows."""
        connection = await self.connect(database)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def run_script(self, statements: str, *, database: str, user: str = "kombo") -> None:
        """Run several statements, separated by semicolons, as the server's owner or another role."""
        connection = await self.connect(database, user=user)
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    async def connect(self, database: str = "postgres", *, user: str = "kombo") -> asyncpg.Connection:
        """Open a connection of the test's own, to observe and to disturb the store's."""
        return await asyncpg.connect(
            host=str(self._folder), port=self._port, user=user, database=database, timeout=10
        )

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 - the installed server's own programs
            [self._binaries / program, f"--pgdata={self._data}", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
            cwd=self._folder,
            env={"LC_ALL": "C", "PATH": os.defpath},
            **unprivileged(),
        )


def unprivileged() -> dict[str, Any]:
    """Return the user to run PostgreSQL as, which refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = next(user for user in pwd.getpwall() if user.pw_name in {"postgres", "nobody"})
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def find_binaries() -> Path | None:
    """Return the folder of the newest installed server's programs; Debian does not put them on the PATH."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    on_path = shutil.which("postgres")
    found = [*([Path(on_path)] if on_path else []), *installed]
    return found[0].resolve().parent if found else None


@contextmanager
def running_postgres(
    binaries: Path, *, options: Mapping[str, str] | None = None, files: Mapping[str, bytes] | None = None
) -> Iterator[PostgresServer]:
    """Run a server as long as the context, with these options in addition, and files in its data folder."""
    with tempfile.TemporaryDirectory(prefix="kombo-pg-") as name:
        folder = Path(name)  # short: the path of a socket file may have some hundred characters
        owner = unprivileged()
        if owner:
            os.chown(folder, owner["user"], owner["group"])
        server = PostgresServer(binaries, folder, options or {}, files or {})
        server.create()
        try:
            yield server
        finally:
            server.stop("immediate")
