from __future__ import annotations

import asyncio
import logging

import pytest

from kombo_embed.logs import KeyValueFormatter, mute_loggers, muted


async def test_only_calls_within_the_context_are_muted(caplog: pytest.LogCaptureFixture) -> None:
    foreign = logging.getLogger("tests.foreign")
    mute_loggers("tests.foreign")
    inside = asyncio.Event()
    outside = asyncio.Event()

    async def ours() -> None:
        with muted():
            inside.set()
            await outside.wait()
            foreign.warning("ours")

    ours_running = asyncio.create_task(ours())
    await inside.wait()
    foreign.warning("the host's")
    outside.set()
    await ours_running
    assert caplog.messages == ["the host's"]


def test_extra_fields_are_appended_to_the_first_line() -> None:
    record = logging.makeLogRecord({"msg": "kombo.refused", "status": 401, "reason": "bad key"})
    assert KeyValueFormatter("%(message)s").format(record) == "kombo.refused status=401 reason='bad key'"
    record.exc_text = "Traceback\n  ..."
    first, *rest = KeyValueFormatter("%(message)s").format(record).split("\n")
    assert first == "kombo.refused status=401 reason='bad key'"
    assert rest == ["Traceback", "  ..."]
