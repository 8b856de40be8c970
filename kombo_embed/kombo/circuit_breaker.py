"""Whether Kombo may be called now: one place that remembers what it last said.

While Kombo says wait, or after failures in a row, nobody of this process calls but one probe at a time, and
the others are told at once. A probe that succeeds opens the gate for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from kombo_embed.errors import (
    KomboError,
    KomboInvalidResponse,
    KomboRateLimited,
    KomboTimeout,
    KomboUnavailable,
)
from kombo_embed.ports import Clock, CoolDown

FAILURES_TO_CLOSE = 5  # in a row
PAUSE_FIRST = 1.0  # seconds; doubled by each failed probe
PAUSE_MAX = 30.0  # seconds


class CircuitBreaker:
    """Lets calls to Kombo pass, or tells when to come again.

    Args:
        clock: Where time comes from.
        tell: Called with each wait that Kombo asks for, so that other processes can be told.
    """

    def __init__(self, *, clock: Clock, share_cool_down: Callable[[CoolDown], None] | None = None) -> None:
        self._clock = clock
        self._share_cool_down = share_cool_down
        self._failures = 0
        self._pause = PAUSE_FIRST
        self._opens_at: float | None = None  # None: open
        self._probing = False
        self._rate_limited = False
        self._closings = 0

    def enter(self, *, sent: bool = False) -> AbstractContextManager[None]:
        """Pass once; the call goes into the context that is returned, and what it raises is noted.

        Args:
            tried: Whether this call was sent before, and is to be sent again.

        Raises:
            KomboRateLimited: Kombo said wait, and that is not over.
            KomboUnavailable: Kombo failed repeatedly, and it is not yet time to try again.
        """
        if self._opens_at is None:
            return self._passage(probe=False)
        remaining = self._opens_at - self._clock.monotonic()
        if remaining > 0 or self._probing:
            message, retry_after = "Kombo is not asked at the moment.", max(1, math.ceil(remaining))
            if self._rate_limited:
                raise KomboRateLimited(message, retry_after=retry_after)
            raise KomboUnavailable(message, retry_after=retry_after, sent=sent)
        self._probing = True
        return self._passage(probe=True)

    def apply_cool_down(self, cool_down: CoolDown) -> None:
        """Close for as long as Kombo told another process."""
        self._close_until(self._clock.monotonic() + cool_down.seconds, rate_limited=cool_down.rate_limited)

    @contextmanager
    def _passage(self, *, probe: bool) -> Iterator[None]:
        closings = self._closings
        try:
            yield
        except (KomboRateLimited, KomboUnavailable) as error:
            said = error.retry_after if error.has_retry_after else None
            self._note_failure(said, rate_limited=isinstance(error, KomboRateLimited), probe=probe)
            raise
        except KomboTimeout:
            self._note_failure(None, rate_limited=False, probe=probe)
            raise
        except KomboInvalidResponse:
            raise  # it says neither that Kombo is well nor that it is not
        except KomboError:
            self._note_answer(closings, probe=probe)
            raise
        else:
            self._note_answer(closings, probe=probe)
        finally:
            if probe:
                self._probing = False

    def _note_answer(self, closings: int, *, probe: bool) -> None:
        # The late answer to a call from before the closing does not tell that waiting is over.
        if probe or closings == self._closings:
            self._failures, self._pause, self._opens_at = 0, PAUSE_FIRST, None

    def _note_failure(self, said: float | None, *, rate_limited: bool, probe: bool) -> None:
        self._failures += 1
        if said is None and not rate_limited and not probe and self._failures < FAILURES_TO_CLOSE:
            return
        if said is None and not probe and self._opens_at is not None:
            return  # closed already: those that were under way then do not make it longer
        if probe:
            self._pause = min(self._pause * 2, PAUSE_MAX)
        if said is not None and self._share_cool_down is not None:
            self._share_cool_down(CoolDown(said, rate_limited=rate_limited))
        seconds = self._pause if said is None else said
        self._close_until(self._clock.monotonic() + seconds, rate_limited=rate_limited)

    def _close_until(self, opens_at: float, *, rate_limited: bool) -> None:
        if self._opens_at is None or opens_at > self._opens_at:
            self._opens_at, self._rate_limited = opens_at, rate_limited
            self._closings += 1
