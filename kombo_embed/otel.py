"""Records spans and metrics: the only module that imports OpenTelemetry, whose API is the extra ``otel``.

Without that package, and until the host sets up its SDK, nothing is recorded.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import Token
from dataclasses import dataclass
from types import TracebackType
from typing import Self, get_args

from kombo_embed import errors
from kombo_embed._version import __version__
from kombo_embed.telemetry import (
    CIRCUIT_STATE,
    INTEGRATIONS,
    LAG,
    NOT_RECORDED,
    PENDING,
    Kind,
    Operation,
    Telemetry,
)

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True

SCOPE = "kombo_embed"
SPANS: dict[Kind, str] = {kind: f"{SCOPE}.{kind}" for kind in get_args(Kind)}
COUNTERS: dict[Kind, tuple[str, str, str]] = {
    "link": ("kombo_embed.links", "{link}", "Requests for a link, by what the link cache did."),
    "completion": ("kombo_embed.completions", "{completion}", "Completions of connection flows."),
    "webhook": ("kombo_embed.webhooks", "{webhook}", "Requests to the path of the webhooks."),
    "delivery": ("kombo_embed.deliveries", "{delivery}", "Attempts to deliver an event to a handler."),
}
MINT_DURATION = ("kombo_embed.mint.duration", "s", "How long Kombo takes to mint a link, retries included.")
# Kombo takes some hundred milliseconds, and a mint ends within KOMBO_TIMEOUT.
MINT_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0)
OBSERVED = (
    (PENDING, "{delivery}", "Deliveries that have not ended; at most 10,000 are counted."),
    (LAG, "s", "For how long the longest overdue delivery has been due."),
    (INTEGRATIONS, "{integration}", "Integrations that are not deleted, by status."),
    (CIRCUIT_STATE, "{circuit}", "1 for the state of each circuit breaker, and 0 for the other states."),
)
FAILURES = (errors.KomboError, errors.StoreUnavailable)
FAILED = {"failed", "dead_letter"}  # results that make a span an error
SUPPRESS = "suppress_instrumentation"  # the key that OpenTelemetry's instrumentations of libraries look for
TRACEPARENT = "traceparent"  # W3C Trace Context
LOOK_SECONDS = 1.0  # between looks for the SDK until it is set up: a look costs more than the rest of a span


def create_telemetry(environment: str, *, monotonic: Callable[[], float]) -> Telemetry:
    """Return what records for one mount, if OpenTelemetry is installed."""
    return RecordedTelemetry(environment, monotonic=monotonic) if IS_INSTALLED else Telemetry()


class RecordedTelemetry(Telemetry):
    """Records by what the host sets up, also after the mount was opened."""

    def __init__(self, environment: str, *, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self.environment = environment
        self.monotonic = monotonic
        self.instruments = _instruments()
        self._is_set_up, self._look_at = False, monotonic()
        _mounts.append(weakref.ref(self))

    async def aclose(self) -> None:
        """End the observation."""
        _mounts[:] = [one for one in _mounts if one() not in {self, None}]

    def operation(
        self, kind: Kind, attributes: Mapping[str, str] | None = None, *, caused_by: str | None = None
    ) -> Operation:
        """Return the context of an operation; see `Telemetry.operation`."""
        if not self._is_set_up and not self._look():
            return NOT_RECORDED
        return _RecordedOperation(self, kind, attributes or {}, caused_by)

    def _look(self) -> bool:
        now = self.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._is_set_up = _is_set_up()
        return self._is_set_up


class _RecordedOperation(Operation):
    __slots__ = (
        *("_attributes", "_caused_by", "_kind", "_telemetry"),
        *("_error_type", "_result", "_span", "_started_at", "_token"),
    )

    def __init__(
        self, telemetry: RecordedTelemetry, kind: Kind, attributes: Mapping[str, str], caused_by: str | None
    ) -> None:
        self._telemetry = telemetry
        self._kind = kind
        self._attributes = attributes
        self._caused_by = caused_by
        self._result: str | None = None
        self._error_type: str | None = None
        self._token: Token[otel_context.Context] | None = None

    def __enter__(self) -> Self:
        self._started_at = self._telemetry.monotonic()
        links = _links_to(self._caused_by) if self._caused_by else None
        self._span = self._telemetry.instruments.tracer.start_span(SPANS[self._kind], links=links)
        # Also a span that is not sampled: what belongs to it is not sampled, either.
        if self._span.get_span_context().is_valid:
            self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        attributes, instruments = self._measured_attributes(error), self._telemetry.instruments
        if self._kind in COUNTERS:
            instruments.counters[self._kind].add(1, attributes)
        elif self._kind == "mint":
            seconds = self._telemetry.monotonic() - self._started_at
            instruments.mint_duration.record(seconds, attributes)
        if self._token is not None:
            otel_context.detach(self._token)
            self._span.set_attributes(attributes)
            if attributes[f"{SCOPE}.result"] in FAILED:
                self._span.set_status(trace.StatusCode.ERROR)
            self._span.end()

    def count_as(self, result: str, *, error_type: str | None = None) -> None:
        self._result, self._error_type = result, error_type

    def describe(self, attributes: Mapping[str, str | int]) -> None:
        if self._token is not None:
            self._span.set_attributes({f"{SCOPE}.{name}": value for name, value in attributes.items()})

    def _measured_attributes(self, error: BaseException | None) -> dict[str, str]:
        result, error_type = self._result, self._error_type
        if error is not None:
            result, error_type = result or _result_of(error), error_type or _type_of(error)
        attributes = {f"{SCOPE}.{name}": value for name, value in self._attributes.items()}
        attributes[f"{SCOPE}.environment"] = self._telemetry.environment
        attributes[f"{SCOPE}.result"] = result or "ok"
        if error_type is not None:
            attributes["error.type"] = error_type
        return attributes


def current_trace_context() -> str | None:
    """Return the trace context of the current span; None if there is none."""
    if not IS_INSTALLED:
        return None
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(TRACEPARENT)


def detached() -> AbstractContextManager[None]:
    """Return a context without a current span: background tasks that begin in it belong to no request."""
    return _attached(otel_context.Context() if IS_INSTALLED else None)


def without_http_spans() -> AbstractContextManager[None]:
    """Return a context without the spans of instrumented HTTP clients: paths at Kombo contain tokens."""
    return _attached(otel_context.set_value(SUPPRESS, True) if IS_INSTALLED else None)  # noqa: FBT003


@contextmanager
def _attached(context: otel_context.Context | None) -> Iterator[None]:
    token = None if context is None else otel_context.attach(context)
    try:
        yield
    finally:
        if token is not None:
            otel_context.detach(token)


def _result_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    is_refused = isinstance(error, errors.KomboEmbedError) and not isinstance(error, FAILURES)
    is_unacceptable = isinstance(error, errors.KomboRejected) and error.cause == "request"
    return "refused" if is_refused or is_unacceptable else "failed"


def _type_of(error: BaseException) -> str:
    return error.code if isinstance(error, errors.KomboEmbedError) else type(error).__name__


def _links_to(trace_context: str) -> Sequence[trace.Link]:
    found = TraceContextTextMapPropagator().extract({TRACEPARENT: trace_context}, otel_context.Context())
    span_context = trace.get_current_span(found).get_span_context()
    return [trace.Link(span_context)] if span_context.is_valid else []


@dataclass(frozen=True, slots=True)
class _Instruments:
    tracer: trace.Tracer
    counters: dict[Kind, metrics.Counter]
    mint_duration: metrics.Histogram


_mounts: list[weakref.ref[RecordedTelemetry]] = []  # those that are open


@functools.cache
def _instruments() -> _Instruments:
    """Create the instruments of the process: each exists once, however many mounts there are."""
    meter = metrics.get_meter(SCOPE, __version__)
    for name, unit, description in OBSERVED:
        meter.create_observable_gauge(name, [functools.partial(_observe, name)], unit, description)
    counters = {kind: meter.create_counter(*names) for kind, names in COUNTERS.items()}
    try:
        duration = meter.create_histogram(*MINT_DURATION, explicit_bucket_boundaries_advisory=MINT_BUCKETS)
    except TypeError:  # the host has an API from before 1.30, and our extra is not installed
        duration = meter.create_histogram(*MINT_DURATION)
    return _Instruments(trace.get_tracer(SCOPE, __version__), counters, duration)


def _is_set_up() -> bool:
    """Return whether there is a provider of spans or metrics beside the API's own, which record nothing."""
    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    return any(
        not type(one).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))
        for one in providers
    )


def _observe(name: str, _: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
    """Yield what each open mount observes."""
    for telemetry in filter(None, [mount() for mount in _mounts]):
        for value, attributes in telemetry.observe(name):
            every = {"environment": telemetry.environment, **attributes}
            yield metrics.Observation(value, {f"{SCOPE}.{key}": text for key, text in every.items()})
