"""A host with telemetry, and with a handler that fails now and then.

From the folder of this file: ``kombo-embed sandbox -- uvicorn app:app``, and in another terminal ``python
traffic.py``. The README.md beside it continues from there.
"""

import os
import random
import secrets

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import start_http_server
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from kombo_embed import EndUser, IntegrationConnected, KomboEmbed


def set_up() -> None:
    """Send spans and metrics to OTEL_EXPORTER_OTLP_ENDPOINT, or serve metrics on PROMETHEUS_PORT (9464)."""
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "fieldnotes")})
    tracing = TracerProvider(resource=resource)
    readers: list[MetricReader] = []
    if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    else:
        readers.append(PrometheusMetricReader())
        start_http_server(int(os.environ.get("PROMETHEUS_PORT", "9464")), addr="127.0.0.1")
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(MeterProvider(readers, resource))


async def current_end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the signed-in person."""
    company = connection.session.get("company")
    return company and EndUser(f"hr@{company}.example", company.title(), company)


async def sign_in(request: Request) -> Response:
    """``POST /sign-in?company=acme``, instead of a real login."""
    request.session["company"] = request.query_params["company"]
    return Response(status_code=204)


set_up()
session = Middleware(SessionMiddleware, secret_key=secrets.token_urlsafe())
app = Starlette(routes=[Route("/sign-in", sign_in, methods=["POST"])], middleware=[session])
embed = KomboEmbed(end_user=current_end_user)
embed.install(app)


@embed.on("integration.connected", name="crm")
async def update_crm(event: IntegrationConnected) -> None:
    """Succeed."""
    del event


@embed.on("integration.connected", name="billing")
async def bill(event: IntegrationConnected) -> None:
    """Fail with the probability BILLING_FAILS, so that there is something to see."""
    if random.random() < float(os.environ.get("BILLING_FAILS", "0.2")):  # noqa: S311 - no secret
        raise ConnectionError(f"no invoice for {event.origin_id}")
