"""The power fails at each fsync: the database is rebuilt from what was durable, and nothing answered is lost.

The writes and fsyncs of a run are recorded with strace. At each fsync, just before it takes effect and just
after, what was not synced is dropped, or half of it is, by chance.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.sizes import size
from tests.faults.synced_disk import Call, File, read_trace
from tests.support import database_with_tables

pytestmark = pytest.mark.integration

CUSTOMERS = size(small=12, full=400)
TRACED = "pwrite64,write,ftruncate,fsync,fdatasync"
ROOT = Path(__file__).parents[2]
DATABASE, WAL = "kombo_embed.db", "kombo_embed.db-wal"
RECORDED = """SELECT integration_id FROM kombo_embed_integrations
    UNION SELECT event_id FROM kombo_embed_received_events"""
Record = Callable[[str, object], None]


@pytest.fixture
def strace() -> str:
    """Return the path of strace."""
    found = shutil.which("strace")
    if found is None:
        missing = "strace was not found; install it (Debian: apt-get install strace) to run this test"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    probe = subprocess.run([found, "-o", os.devnull, "true"], capture_output=True, check=False)  # noqa: S603 - found
    if probe.returncode != 0:
        pytest.skip("this system does not allow to trace processes")
    return found


@dataclass
class Disk:
    """The files of the run, and what was acknowledged so far."""

    files: defaultdict[str, File] = field(default_factory=lambda: defaultdict(File))
    acknowledged: list[str] = field(default_factory=list)

    def run(self, calls: Iterator[Call]) -> Iterator[str]:
        """Apply calls; stop before and after each fsync."""
        for call in calls:
            name = Path(call.path).name
            if name == "acknowledged":
                self.acknowledged += call.data.decode().split()
            elif name in {DATABASE, WAL}:
                yield from self._apply(call, self.files[name])

    def _apply(self, call: Call, file: File) -> Iterator[str]:
        if call.name in {"fsync", "fdatasync"}:
            yield "before"
            file.sync()
            yield "after"
        else:
            assert call.offset is not None  # SQLite says where
            file.pending.append(call)


def record(strace: str, folder: Path) -> Path:
    """Run the app and trace it."""
    trace = folder / "trace"
    program = (sys.executable, "-m", "tests.faults.durable_writer", str(CUSTOMERS))
    options = ("-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={TRACED}", "-o", str(trace))
    subprocess.run(  # noqa: S603 - our own program
        [strace, *options, *program],
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    return trace


def test_nothing_acknowledged_is_lost_when_the_power_fails_at_any_fsync(
    strace: str, tmp_path: Path, record_property: Record
) -> None:
    (tmp_path / DATABASE).write_bytes(database_with_tables())
    trace = record(strace, tmp_path)
    chance = random.Random(28)  # noqa: S311 - repeatable
    disk = Disk()
    disk.files[DATABASE].durable += database_with_tables()
    disk.files[DATABASE].exists = True
    points = 0
    for _ in disk.run(read_trace(trace)):
        points += 1
        for losing in (None, chance):
            assert_nothing_is_lost(tmp_path / "rebuilt", disk, losing)
    assert len(disk.acknowledged) == 2 * CUSTOMERS
    assert points >= CUSTOMERS / 2  # or nothing was synced
    figure = (
        f"power lost at {points} moments: 0 of {len(disk.acknowledged)} acknowledged lost, all files intact"
    )
    record_property("figure", figure)


def assert_nothing_is_lost(folder: Path, disk: Disk, chance: random.Random | None) -> None:
    """Rebuild the files after a power loss, and read them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, file in disk.files.items():
        if file.exists:
            (folder / name).write_bytes(file.after_power_loss(chance))
    database = sqlite3.connect(folder / DATABASE)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = {row[0] for row in database.execute(RECORDED)}
    finally:
        database.close()
    assert set(disk.acknowledged) <= found
