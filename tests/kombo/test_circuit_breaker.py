"""Closed: calls pass. Open: calls are rejected. Half-open: one probe passes."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from kombo_embed.clock import ManualClock
from kombo_embed.errors import (
    KomboError,
    KomboInvalidResponse,
    KomboRateLimited,
    KomboRejected,
    KomboTimeout,
    KomboUnavailable,
)
from kombo_embed.kombo.circuit_breaker import FAILURES_TO_OPEN, CircuitBreaker
from kombo_embed.ports import CoolDown

DOWN = KomboUnavailable("down", retry_after=5)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock(monotonic=lambda: 1000.0)
        self.shared: list[CoolDown] = []
        self.breaker = CircuitBreaker(clock=self.clock, share_cool_down=self.shared.append)

    def succeed(self) -> None:
        with self.breaker.enter():
            pass

    def fail(self, error: KomboError = DOWN) -> None:
        with pytest.raises(type(error)), self.breaker.enter():
            raise error

    def open(self) -> None:
        for _ in range(FAILURES_TO_OPEN):
            self.fail()

    def retry_after(self) -> int | None:
        """Seconds until a probe may pass; None if calls pass."""
        try:
            self.succeed()
        except (KomboUnavailable, KomboRateLimited) as error:
            return error.retry_after
        return None


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("failure", [DOWN, KomboTimeout("slow")])
def test_failures_in_a_row_open_the_circuit(failure: KomboError, world: World) -> None:
    for _ in range(FAILURES_TO_OPEN - 1):
        world.fail(failure)
    world.succeed()
    for _ in range(FAILURES_TO_OPEN):
        world.fail(failure)
    with pytest.raises(KomboUnavailable, match="circuit breaker is open") as caught:
        world.succeed()
    assert (caught.value.retry_after, caught.value.sent) == (1, False)


@pytest.mark.parametrize(
    "rejection", [KomboRejected("no", kombo_code=None, cause="request"), KomboError("?")]
)
def test_a_response_that_refuses_counts_as_a_success(rejection: KomboError, world: World) -> None:
    for _ in range(FAILURES_TO_OPEN - 1):
        world.fail()
    world.fail(rejection)
    world.fail()
    assert world.retry_after() is None


def test_an_invalid_response_counts_as_neither(world: World) -> None:
    for _ in range(FAILURES_TO_OPEN - 1):
        world.fail()
    world.fail(KomboInvalidResponse("?"))
    world.fail()
    assert world.retry_after() == 1


def test_half_open_lets_one_probe_pass_at_a_time(world: World) -> None:
    world.open()
    world.clock.advance(1)
    with world.breaker.enter():
        assert world.retry_after() == 1
    assert world.retry_after() is None


def test_a_late_response_does_not_let_a_second_probe_pass(world: World) -> None:
    with ExitStack() as late:
        late.enter_context(world.breaker.enter())  # before the circuit opens
        world.open()
        world.clock.advance(1)
        with world.breaker.enter():
            late.close()
            assert world.retry_after() == 1


def test_each_failed_probe_doubles_the_pause_up_to_its_maximum(world: World) -> None:
    world.open()
    pauses = []
    for _ in range(6):
        pauses.append(world.retry_after() or 0)
        world.clock.advance(pauses[-1])
        world.fail()
    assert pauses == [1, 2, 4, 8, 16, 30]
    world.clock.advance(30)
    world.succeed()
    world.open()
    assert world.retry_after() == 1


def test_a_rate_limit_opens_at_once(world: World) -> None:
    world.fail(KomboRateLimited("slow down", retry_after=5))
    with pytest.raises(KomboRateLimited):
        world.succeed()
    assert world.shared == []


def test_a_retry_after_opens_for_that_long_and_is_shared(world: World) -> None:
    world.fail(KomboRateLimited("slow down", retry_after=60, has_retry_after=True))
    assert world.retry_after() == 60
    assert world.shared == [CoolDown(60, rate_limited=True)]
    world.clock.advance(60)
    assert world.retry_after() is None


def test_a_shorter_wait_does_not_end_a_longer_one(world: World) -> None:
    world.breaker.apply_cool_down(CoolDown(60, rate_limited=False))
    world.breaker.apply_cool_down(CoolDown(5, rate_limited=True))
    with pytest.raises(KomboUnavailable) as caught:
        world.succeed()
    assert caught.value.retry_after == 60
    assert world.shared == []


def test_a_late_success_does_not_close_the_circuit(world: World) -> None:
    with world.breaker.enter():
        world.fail(KomboRateLimited("slow down", retry_after=60, has_retry_after=True))
    assert world.retry_after() == 60


def test_late_failures_do_not_extend_the_pause(world: World) -> None:
    late = [world.breaker.enter() for _ in range(50)]
    for call in late:
        with pytest.raises(KomboUnavailable), call:
            raise DOWN
    assert world.retry_after() == 1


def test_a_rejected_retry_says_that_the_call_was_sent(world: World) -> None:
    world.open()
    with pytest.raises(KomboUnavailable) as caught:
        world.breaker.enter(sent=True)
    assert caught.value.sent


def test_what_passes_now_can_be_asked_without_a_call(world: World) -> None:
    assert world.breaker.free_calls(4) == 4
    world.open()
    assert world.breaker.free_calls(4) == 0
    world.clock.advance(1)
    assert world.breaker.free_calls(4) == 1
    world.breaker.reject_if_open()  # not the probe
    with world.breaker.enter():
        assert world.breaker.free_calls(4) == 0
        with pytest.raises(KomboUnavailable):
            world.breaker.reject_if_open()
    assert world.breaker.free_calls(4) == 4
