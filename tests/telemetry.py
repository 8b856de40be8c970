"""OpenTelemetry's SDK in this process: what the app has recorded so far."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from prometheus_client import REGISTRY, CollectorRegistry

ENVIRONMENT = "kombo_embed.environment"


class Switch(Sampler):
    """Samples everything or nothing: a provider of the process cannot be removed."""

    is_on = False

    def should_sample(self, *arguments: Any, **_: Any) -> SamplingResult:
        attributes = arguments[4]  # those with which the span begins
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self.is_on else Decision.DROP, attributes)

    def get_description(self) -> str:
        return "Switch"


@dataclass
class Recorded:
    """The spans and metrics of this process; a test has an environment of its own for its metrics."""

    sampler: Switch = field(default_factory=Switch)
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    prometheus: CollectorRegistry = REGISTRY

    def spans(self, name: str = "") -> Sequence[ReadableSpan]:
        """Return the ended spans with this name, or all."""
        return [one for one in self.exporter.get_finished_spans() if name in {"", one.name}]

    def span(self, name: str) -> ReadableSpan:
        """Return the only span with this name."""
        [found] = self.spans(name)
        return found

    def metrics(self, environment: str) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Export; return the attributes, without the environment, and the value of each point by metric."""
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        for metric in self.exported():
            for point in metric.data.data_points:
                attributes = dict(point.attributes)
                if attributes.pop(ENVIRONMENT, None) == environment:
                    value = point.value if hasattr(point, "value") else point
                    found.setdefault(metric.name, []).append((attributes, value))
        return found

    def exported(self) -> list[Any]:
        """Export; return the metrics of the package."""
        data = self.reader.get_metrics_data()
        scopes = (
            [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        )
        return [metric for scope in scopes if scope.scope.name == "kombo_embed" for metric in scope.metrics]


@functools.cache
def set_up() -> Recorded:
    """Set up the providers of this process, once."""
    recorded = Recorded()
    tracing = TracerProvider(sampler=recorded.sampler, shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(recorded.exporter))
    trace.set_tracer_provider(tracing)
    readers = [recorded.reader, PrometheusMetricReader()]
    metrics.set_meter_provider(MeterProvider(readers, shutdown_on_exit=False))
    return recorded
