"""What a row of rounds comes to: the median, and how far the rounds lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the quartiles and the ends of some measurements of one thing."""

    median: float
    first_quartile: float
    third_quartile: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Bound:
    """What a goal asks of the median, in the line's own unit."""

    side: Literal["at least", "at most", "exactly"]
    value: float

    def holds(self, measured: float) -> bool:
        """Whether the measured value is on the right side."""
        if self.side == "at least":
            return measured >= self.value
        return measured <= self.value if self.side == "at most" else measured == self.value


def spread(values: Sequence[float]) -> Spread:
    """Describe at least one measurement."""
    if len(values) == 1:
        return Spread(*[values[0]] * 5)
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, first, third, min(values), max(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The rounds' own ratios, each of two measurements that lie side by side."""
    return spread([one / other for one, other in zip(above, below, strict=True)])
