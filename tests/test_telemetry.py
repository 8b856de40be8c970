"""Telemetry without OpenTelemetry, without its SDK, and with trace contexts that cannot be read."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from kombo_embed.otel import create_telemetry, current_trace_context
from kombo_embed.telemetry import NO_TELEMETRY
from tests.telemetry import Recorded

ROOT = Path(__file__).parent.parent
# A whole flow, and what is current in a handler. ``None`` makes an import fail as if it were not installed.
FLOW = """
import asyncio, sys
{arrange}
import httpx
from kombo_embed.sandbox import Sandbox
from tests.support import make_host, person, running

async def main():
    sandbox, done = Sandbox(api_key="ks_dev_a-made-up-key", webhook_secret="whsec_made-up"), asyncio.Event()
    app, embed = make_host(httpx.ASGITransport(sandbox.app))
    embed.on("integration.connected")(lambda _: loop.call_soon_threadsafe(done.set))
    loop = asyncio.get_running_loop()
    async with running(app) as client:
        ada = person("ada@acme")
        link = (await client.post("/kombo/links", headers=ada, json={{}})).json()["link"]
        flow = await sandbox.complete(link, "personio")
        body = {{"activation_token": flow.activation_token}}
        print((await client.post("/kombo/completions", headers=ada, json=body)).status_code)
        async with asyncio.timeout(30):
            await done.wait()
    await sandbox.aclose()

asyncio.run(main())
print("opentelemetry.trace" in sys.modules, "opentelemetry.sdk" in sys.modules)
"""


@pytest.mark.parametrize(
    ("arrange", "loaded"),
    [("sys.modules['opentelemetry'] = None", "False False"), ("", "True False")],
    ids=["absent", "present but not set up"],
)
@pytest.mark.integration
def test_without_opentelemetry_or_its_sdk_everything_works(arrange: str, loaded: str, tmp_path: Path) -> None:
    program = FLOW.format(arrange=arrange)
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        timeout=120,
        check=False,
    )
    assert (run.stdout.splitlines(), run.returncode) == (["201", loaded], 0), run.stderr


def test_importing_the_package_does_not_import_opentelemetry() -> None:
    program = "import sys, kombo_embed, kombo_embed.embed; print('opentelemetry' in sys.modules)"
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"


def test_no_telemetry_records_nothing(recorded: Recorded) -> None:
    with NO_TELEMETRY.operation("link") as operation:
        operation.describe({"attempt": 1})
        assert current_trace_context() is None
    assert not recorded.spans()


def test_the_trace_context_of_an_operation_links_another_one_to_it(recorded: Recorded) -> None:
    telemetry = create_telemetry("default", monotonic=time.monotonic)
    with telemetry.operation("completion"):
        trace_context = current_trace_context()
    assert trace_context is not None
    assert len(trace_context) == len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    with telemetry.operation("delivery", caused_by=trace_context):
        pass
    completion, delivery = recorded.spans()
    assert [link.context.span_id for link in delivery.links] == [completion.context.span_id]
    assert delivery.context.trace_id != completion.context.trace_id


@pytest.mark.parametrize(
    "trace_context", ["", "nonsense", "00-0-0-0", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
def test_a_trace_context_that_cannot_be_read_is_no_link(recorded: Recorded, trace_context: str) -> None:
    with create_telemetry("default", monotonic=time.monotonic).operation("delivery", caused_by=trace_context):
        pass
    assert recorded.span("kombo_embed.delivery").links == ()


def test_an_unexpected_exception_is_recorded_by_its_type_alone(recorded: Recorded) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        create_telemetry("default", monotonic=time.monotonic).operation("mint"),
    ):
        raise ZeroDivisionError("ada@acme.example")
    span = recorded.span("kombo_embed.mint")
    assert (span.attributes or {})["error.type"] == "ZeroDivisionError"
    assert "ada" not in span.to_json()
