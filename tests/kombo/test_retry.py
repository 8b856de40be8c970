from __future__ import annotations

import asyncio

import pytest

from kombo_embed.errors import KomboError, KomboRateLimited, KomboRejected, KomboTimeout, KomboUnavailable
from kombo_embed.kombo.retry import RetryPolicy


def policy(left_seconds: float = 100) -> RetryPolicy:
    return RetryPolicy(asyncio.get_running_loop().time() + left_seconds)


@pytest.mark.parametrize(
    ("error", "pauses_seconds"),
    [
        (KomboUnavailable("down", retry_after=5), [0.2, 0.4]),
        (KomboRateLimited("slow down", retry_after=5), [1, 2]),
        (KomboRateLimited("slow down", retry_after=5, has_retry_after=True), [5, 5]),
    ],
)
async def test_pauses_double_and_a_retry_after_is_obeyed(
    error: KomboError, pauses_seconds: list[float]
) -> None:
    retry = policy()
    for expected in pauses_seconds:
        assert expected + 0.05 <= retry(error) <= expected + 0.2


@pytest.mark.parametrize(
    "error",
    [
        KomboTimeout("slow"),
        KomboRejected("no", kombo_code=None, cause="request"),
        KomboUnavailable("down", retry_after=5, retryable=False),
        KomboUnavailable("down", retry_after=6, has_retry_after=True),
        ValueError(),
    ],
)
async def test_other_failures_and_long_waits_are_not_retried(error: Exception) -> None:
    assert policy()(error) is False


async def test_no_retry_starts_beyond_the_deadline() -> None:
    assert policy(left_seconds=0.2)(KomboUnavailable("down", retry_after=5)) is False
