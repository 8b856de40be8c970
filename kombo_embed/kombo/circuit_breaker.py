"""The circuit breaker in front of Kombo.

Closed: calls pass. Open: calls are rejected at once, during a wait that Kombo asked for (``Retry-After``) and
after several failures in a row. Half-open: the wait is over, and one call at a time passes as a probe. A
successful probe closes the circuit; a failed one opens it for longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from kombo_embed import errors
from kombo_embed.ports import Clock, CoolDown

FAILURES_TO_OPEN = 5  # in a row
FIRST_PAUSE_SECONDS = 1.0  # doubled by each failed probe
MAX_PAUSE_SECONDS = 30.0
STATES = ("closed", "half_open", "open")


class CircuitBreaker:
    """Lets calls to Kombo pass, or rejects them; ``share_cool_down`` gets each wait that Kombo asks for."""

    def __init__(self, *, clock: Clock, share_cool_down: Callable[[CoolDown], None] | None = None) -> None:
        self._clock = clock
        self._share_cool_down = share_cool_down
        self._failures = 0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._open_until: float | None = None  # None: closed; in the past: half-open
        self._probing = False
        self._rate_limited = False
        self._times_opened = 0

    def enter(self, *, sent: bool = False) -> AbstractContextManager[None]:
        """Return the context for one call; what the call raises within it is counted.

        While open, raise `KomboRateLimited` or `KomboUnavailable`. ``sent``: an earlier attempt was sent.
        """
        if self._open_until is None:
            return self._counted(probe=False)
        self.reject_if_open(sent=sent)
        self._probing = True
        return self._counted(probe=True)

    def reject_if_open(self, *, sent: bool = False) -> None:
        """Raise as `enter` does, but neither count the call nor make it the probe."""
        if self.free_calls(1):
            return
        message = "Kombo is not called at the moment: the circuit breaker is open."
        retry_after = max(1, math.ceil(self._open_seconds()))
        if self._rate_limited:
            raise errors.KomboRateLimited(message, retry_after=retry_after)
        raise errors.KomboUnavailable(message, retry_after=retry_after, sent=sent)

    def free_calls(self, limit: int) -> int:
        """Return how many calls pass now, at most ``limit``: none while it is open, one while half-open."""
        if self._open_until is None:
            return limit
        return 0 if self._probing or self._open_seconds() > 0 else min(1, limit)

    @property
    def state(self) -> str:
        """Return one of `STATES`."""
        if self._open_until is None:
            return "closed"
        return "open" if self._open_seconds() > 0 else "half_open"

    def apply_cool_down(self, cool_down: CoolDown) -> None:
        """Open for a wait that Kombo asked another process for."""
        self._open(cool_down.seconds, rate_limited=cool_down.rate_limited)

    @contextmanager
    def _counted(self, *, probe: bool) -> Iterator[None]:
        times_opened = self._times_opened
        try:
            yield
        except (errors.KomboRateLimited, errors.KomboUnavailable, errors.KomboTimeout) as error:
            self._count_failure(error, probe=probe)
            raise
        except errors.KomboInvalidResponse:
            raise  # neither a success nor a failure of Kombo's
        except errors.KomboError:
            self._count_success(times_opened, probe=probe)
            raise
        else:
            self._count_success(times_opened, probe=probe)
        finally:
            if probe:
                self._probing = False

    def _count_success(self, times_opened: int, *, probe: bool) -> None:
        # A late response to a call from before the circuit opened does not close it.
        if probe or times_opened == self._times_opened:
            self._failures, self._pause_seconds, self._open_until = 0, FIRST_PAUSE_SECONDS, None

    def _count_failure(self, error: errors.KomboError, *, probe: bool) -> None:
        rate_limited = isinstance(error, errors.KomboRateLimited)
        self._failures += 1
        if probe:
            self._pause_seconds = min(self._pause_seconds * 2, MAX_PAUSE_SECONDS)
        if isinstance(error, errors.RetryLater) and error.has_retry_after:
            cool_down = CoolDown(error.retry_after, rate_limited=rate_limited)
            if self._share_cool_down is not None:
                self._share_cool_down(cool_down)
            self.apply_cool_down(cool_down)
        elif probe or (self._open_until is None and (rate_limited or self._failures >= FAILURES_TO_OPEN)):
            # While it is open, failures of calls from before do not extend the pause.
            self._open(self._pause_seconds, rate_limited=rate_limited)

    def _open_seconds(self) -> float:
        return 0.0 if self._open_until is None else self._open_until - self._clock.monotonic()

    def _open(self, seconds: float, *, rate_limited: bool) -> None:
        open_until = self._clock.monotonic() + seconds
        if self._open_until is None or open_until > self._open_until:
            self._open_until, self._rate_limited = open_until, rate_limited
            self._times_opened += 1
