"""The dashboard and the alert rules of examples/observability use what the app exports to Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kombo_embed import otel
from kombo_embed.sandbox import Sandbox
from tests.processes import serving
from tests.support import (
    API_KEY,
    DATABASE,
    WEBHOOK_SECRET,
    database_with_tables,
    eventually,
    free_port,
    make_host,
    order_fault,
    person,
    running,
    served,
    webhook_request,
)
from tests.telemetry import Recorded

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "observability"
ADA = person("ada@acme")
RULES = (FOLDER / "alerts.yaml").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
# Of expressions: the labels of a selector or a grouping, which are not names of metrics.
SELECTOR, GROUPING = re.compile(r"(\w+)\{([^}]*)\}"), re.compile(r"by\s*\(([^)]*)\)")
NAME = re.compile(r"\bkombo_embed_\w+")


def expressions_of_dashboard() -> list[str]:
    dashboard = json.loads((FOLDER / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return [target["expr"] for target in targets]


def expressions_of_rules() -> list[str]:
    return re.findall(r"expr: (?:>\n)?(.*?)\n {8}\w+:", RULES, re.DOTALL)


EXPRESSIONS = [*expressions_of_dashboard(), *expressions_of_rules()]


def used(expression: str) -> dict[str, set[str]]:
    """Return the metrics of an expression with the labels by which they are selected or grouped."""
    grouped = {label.strip() for group in GROUPING.findall(expression) for label in group.split(",")}
    found = {name: set(grouped) for name in NAME.findall(SELECTOR.sub(r"\1", GROUPING.sub("", expression)))}
    for name, selector in SELECTOR.findall(expression):
        found[name] |= set(re.findall(r"(\w+)\s*=", selector))
    return found


@pytest.fixture
async def exported(
    sandbox: Sandbox, kombo: httpx.AsyncBaseTransport, recorded: Recorded
) -> dict[str, set[str]]:
    """The exported names of series, each with its labels, after a flow with successes and failures."""
    app, embed = make_host(kombo, environment="exported")

    @embed.on("integration.connected", name="crm")
    async def fail(_: object) -> None:
        raise ValueError

    async with running(app) as client:
        link = (await client.post("/kombo/links", headers=ADA, json={})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        token = {"activation_token": flow.activation_token}
        await client.post("/kombo/completions", headers=ADA, json=token)
        await order_fault(sandbox, "create-link", "unauthorized")
        await client.post("/kombo/links", headers=ADA, json={"fresh": True})
        await client.post("/kombo/webhooks", json={})
        await client.post("/kombo/webhooks", **webhook_request("e1", "data-changed", {}))
        await eventually(lambda: len(recorded.spans("kombo_embed.delivery")) == 1)
        await eventually(lambda: "kombo_embed.integrations" in recorded.metrics("exported"))
        labels: dict[str, set[str]] = defaultdict(set)
        for family in recorded.prometheus.collect():
            for sample in family.samples:
                labels[sample.name] |= sample.labels.keys()
    return labels


async def test_every_metric_and_label_of_the_dashboard_and_the_rules_is_exported(
    exported: dict[str, set[str]],
) -> None:
    assert len(EXPRESSIONS) > 20
    for expression in EXPRESSIONS:
        metrics = used(expression)
        assert metrics, expression
        for name, labels in metrics.items():
            assert name in exported, f"{name} in {expression}"
            assert labels <= exported[name], f"{labels - exported[name]} of {name} in {expression}"


async def test_the_dashboard_and_the_page_have_every_metric_and_span(exported: dict[str, set[str]]) -> None:
    shown = {name for expression in expressions_of_dashboard() for name in used(expression)}
    parts = ("_created", "_sum", "_count", "_bucket")
    series = {name for name in exported if name.startswith("kombo_embed_") and not name.endswith(parts)}
    assert series <= shown
    documented = set(re.findall(r"^\| `(kombo_embed\.[a-z.]+)` \|", PAGE, re.MULTILINE))
    metrics = {name for name, *_ in (*otel.COUNTERS.values(), otel.MINT_DURATION, *otel.OBSERVED)}
    assert documented == metrics | set(otel.SPANS.values())


def test_the_page_lists_every_alert() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES))
    assert len(alerts) >= 10
    assert set(re.findall(r"^\| `(Kombo\w+)` \|", PAGE, re.MULTILINE)) == alerts


def test_the_dashboard_answers_the_questions_of_the_page() -> None:
    dashboard: dict[str, Any] = json.loads(
        (FOLDER / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    )
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    for row in rows:
        assert f"**{row}**" in PAGE or row == "Integrations"


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is a part of Prometheus")
def test_prometheus_accepts_the_rules_and_they_fire_when_they_should() -> None:
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        run = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)  # noqa: S603, S607 - our own files
        assert run.returncode == 0, run.stdout + run.stderr


@asynccontextmanager
async def running_example(sandbox: Sandbox, **environ: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run the example beside the sandbox, and sign in."""
    DATABASE.write_bytes(database_with_tables())
    url = f"http://127.0.0.1:{free_port()}"
    async with served(sandbox.app) as kombo_url:
        settings = {
            "KOMBO_API_KEY": API_KEY,
            "KOMBO_API_URL": f"{kombo_url}/v1",
            "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "KOMBO_DATABASE_URL": f"sqlite:///{DATABASE.resolve()}",
        }
        command = (sys.executable, "-m", "uvicorn", "app:app", "--port", url.rpartition(":")[2])
        async with (
            serving(*command, url=f"{url}/kombo/health", environ=settings | environ, cwd=FOLDER),
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            await client.post("/sign-in", params={"company": "acme"})
            yield client


@pytest.mark.integration
async def test_the_example_serves_its_metrics_to_prometheus(sandbox: Sandbox) -> None:
    port = str(free_port())
    async with running_example(sandbox, PROMETHEUS_PORT=port) as client:
        assert (await client.post("/kombo/links", json={})).status_code == 200
        metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    assert re.search(
        r'^kombo_embed_links_total\{.*kombo_embed_result="stored".*} 1\.0$', metrics, re.MULTILINE
    )


@pytest.mark.integration
async def test_the_example_sends_spans_and_metrics_by_otlp(sandbox: Sandbox) -> None:
    bodies: dict[str, bytes] = defaultdict(bytes)

    async def collect(request: Request) -> Response:
        bodies[request.url.path] += await request.body()
        return Response()

    routes = [Route("/v1/{signal}", collect, methods=["POST"])]
    async with served(Starlette(routes=routes)) as collector:
        soon = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
        plain = {"OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, **soon, **plain}
        async with running_example(sandbox, **environ) as client:
            assert (await client.post("/kombo/links", json={})).status_code == 200
            await eventually(lambda: b"kombo_embed.mint" in bodies["/v1/traces"])
            await eventually(lambda: b"kombo_embed.outbox.lag" in bodies["/v1/metrics"])
    assert b"hr@acme.example" not in bodies["/v1/traces"] + bodies["/v1/metrics"]
