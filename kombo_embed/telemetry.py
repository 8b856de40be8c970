"""What is measured: operations, as spans and counts, and figures. `kombo_embed.otel` records it.

docs/telemetry.md lists names, units and attributes. None of them has a link, token, key, email, origin id or
message of an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

Kind = Literal["link", "mint", "completion", "webhook", "delivery", "reconcile"]
Observed = Iterable[tuple[float, Mapping[str, str]]]  # values with their attributes

PENDING, LAG, INTEGRATIONS = (
    "kombo_embed.outbox.pending",
    "kombo_embed.outbox.lag",
    "kombo_embed.integrations",
)
CIRCUIT_STATE = "kombo_embed.circuit.state"


@dataclass(frozen=True, slots=True)
class Figures:
    """What is read from the database from time to time, instead of being counted."""

    pending: int  # deliveries
    lag_seconds: float
    integrations: Mapping[str, int]  # by status


class Operation:
    """An operation that is measured; as a context, it is the current span. This one is not recorded."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        return None

    def count_as(self, result: str, *, error_type: str | None = None) -> None:
        """Set the result; by default it follows from the exception that leaves the context."""

    def describe(self, attributes: Mapping[str, str | int]) -> None:
        """Add attributes to the span, but not to the count."""


NOT_RECORDED = Operation()


class Telemetry:
    """The spans and metrics of one mount; close it with `aclose`. This one records nothing.

    ``observe`` returns the current values of a metric that is observed instead of counted. Exporters call it
    in threads of their own, so it must not wait.
    """

    def __init__(self) -> None:
        self.observe: Callable[[str], Observed] = lambda _: ()

    async def aclose(self) -> None:
        """End the observation."""

    def operation(
        self, kind: Kind, attributes: Mapping[str, str] | None = None, *, caused_by: str | None = None
    ) -> Operation:
        """Return the context of an operation, which is a part of the one that is in progress.

        ``attributes`` are those of its span and of its count. ``caused_by`` is the trace context of an
        earlier operation that it follows.
        """
        del kind, attributes, caused_by
        return NOT_RECORDED


NO_TELEMETRY = Telemetry()
