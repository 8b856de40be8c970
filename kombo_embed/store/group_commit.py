"""Group commit for SQLite: runs the writers of a process in the order of their calls, several a transaction.

There is one writer at a time, over all processes, and each commit waits for the disk; see
https://www.sqlite.org/wal.html. With a commit per writer, the last ones of a burst would miss their deadline.
"""

from __future__ import annotations

import contextvars
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

GROUP_SIZE = 50  # writers in one transaction
GROUP_SECONDS = 0.05  # after which a transaction takes no further writer
HANDOVER_SECONDS = 0.005  # after a group, so that the writers of other processes get the lock, too

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Job:
    """Work that waits for the thread, in the context of its caller, and its outcome."""

    work: Callable[[], Any]
    outcome: Future[Any] = field(default_factory=Future)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class GroupCommit:
    """Runs work in one thread. ``open_transaction`` begins a transaction that writes, and commits it.

    The outcome of work is known when its group has been committed. If work fails, what it wrote is undone,
    and nothing else. If the commit fails, all work of the group has failed.
    """

    def __init__(
        self,
        open_transaction: Callable[[], AbstractContextManager[Connection]],
        *,
        group_seconds: float = GROUP_SECONDS,
    ) -> None:
        self._open_transaction = open_transaction
        self._group_seconds = group_seconds
        self._waiting: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kombo-embed writer")
        self._group = ExitStack()
        self._connection: Connection | None = None  # of the open transaction
        self._thread_id: int | None = None

    @property
    def is_in_its_thread(self) -> bool:
        """Return whether the caller is work of this object."""
        return threading.get_ident() == self._thread_id

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Run work after all earlier work; it may be cancelled until then."""
        job = _Job(work)
        self._waiting.append(job)
        self._thread.submit(self._run_group)
        return job.outcome

    def close(self) -> None:
        """End the thread when it has nothing left to do."""
        self._thread.shutdown(wait=False)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give work the transaction of its group, as if it had one of its own."""
        if self._connection is not None:
            with self._connection.begin_nested():
                yield self._connection
            return
        with ExitStack() as alone:
            connection = alone.enter_context(self._open_transaction())
            yield connection
            self._group, self._connection = alone.pop_all(), connection

    def _run_group(self) -> None:
        self._thread_id = threading.get_ident()
        outcomes: list[tuple[_Job, Any, BaseException | None]] = []
        closes_at = time.monotonic() + self._group_seconds
        while self._waiting and len(outcomes) < GROUP_SIZE and time.monotonic() < closes_at:
            job = self._waiting.popleft()
            if job.outcome.set_running_or_notify_cancel():
                outcomes.append((job, *_run(job)))
            if self._was_rolled_back():
                break
        self._commit(outcomes)
        if len(outcomes) > 1:
            time.sleep(HANDOVER_SECONDS)

    def _was_rolled_back(self) -> bool:
        """Return whether the transaction has ended, as SQLite itself ends it on a full disk."""
        if self._connection is None:
            return False
        if self._connection.invalidated:
            return True
        driver: Any = self._connection.connection.driver_connection
        return not driver.in_transaction

    def _commit(self, outcomes: list[tuple[_Job, Any, BaseException | None]]) -> None:
        commit_failure: BaseException | None = None
        try:
            if self._was_rolled_back():
                # The driver's commit would do nothing, without an error.
                self._group.callback(_raise_rolled_back)
            self._group.close()
        except BaseException as raised:  # noqa: BLE001 - raised in each caller
            commit_failure = raised
        self._connection = None
        for job, result, failure in outcomes:
            if error := failure or commit_failure:
                job.outcome.set_exception(error)
            else:
                job.outcome.set_result(result)


def _raise_rolled_back() -> None:
    raise sqlite3.OperationalError("the transaction was rolled back")


def _run(job: _Job) -> tuple[Any, BaseException | None]:
    try:
        return job.context.run(job.work), None
    except BaseException as error:  # noqa: BLE001 - raised in the caller
        return None, error
