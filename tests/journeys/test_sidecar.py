"""The sidecar of docs/other-languages.md beside a real host in Node.js."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.processes import running_nginx, serving
from tests.support import API_KEY, DATABASE, WEBHOOK_SECRET, database_with_tables, free_port, served

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "node_sidecar"
PAGE = ROOT / "docs" / "other-languages.md"
NO_NODE = "Node.js was not found; install it to run this test"


@pytest.fixture
def ports() -> tuple[int, int]:
    """Return the ports of the host and of the sidecar."""
    return free_port(), free_port()


@pytest.fixture
async def host(sandbox: Sandbox, tmp_path: Path, ports: tuple[int, int]) -> AsyncIterator[str]:
    """Run the sidecar and the Node host; return the host's URL."""
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI"):
            pytest.fail(NO_NODE)
        pytest.skip(NO_NODE)
    database = tmp_path / DATABASE
    database.write_bytes(database_with_tables())
    port, sidecar_port = ports
    url, sidecar_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sidecar_port}"
    async with served(sandbox.app) as kombo_url:
        settings = {
            "KOMBO_API_KEY": API_KEY,
            "KOMBO_API_URL": f"{kombo_url}/v1",
            "KOMBO_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "KOMBO_DATABASE_URL": f"sqlite:///{database}",
            "KOMBO_AUTH": "bearer",
            "KOMBO_OIDC_ISSUER": url,
            "KOMBO_OIDC_AUDIENCE": "kombo-embed",
            "KOMBO_JWKS_URL": f"{url}/.well-known/jwks.json",
        }
        sidecar = (sys.executable, "-m", "uvicorn", "sidecar:app", "--port", str(sidecar_port))
        places = {"PORT": str(port), "SIDECAR_URL": sidecar_url}
        async with (
            serving(*sidecar, url=f"{sidecar_url}/kombo/health", environ=settings, cwd=EXAMPLE),
            serving(node, "server.mjs", url=url, environ=places, cwd=EXAMPLE),
        ):
            sandbox.webhook_url = f"{url}/kombo/webhooks"
            yield url


async def connect_a_tool(sandbox: Sandbox, url: str) -> None:
    sandbox.webhook_url = f"{url}/kombo/webhooks"
    async with httpx.AsyncClient(base_url=url, trust_env=False, follow_redirects=True) as browser:
        forged = {"Authorization": "Bearer of-the-browser"}
        refused = await browser.post("/kombo/links", json={}, headers=forged)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        await browser.post("/sign-in")
        minted = await browser.post("/kombo/links", json={}, headers={"Origin": url, **forged})
        assert minted.status_code == 200, minted.text
        # The webhook passes through the host unchanged, and without a login.
        await sandbox.complete(minted.json()["link"], "personio", order="webhook_first")
        await sandbox.settle()
        listed = (await browser.get("/kombo/integrations")).json()["integrations"]
        assert [(one["tool"], one["organization_name"]) for one in listed] == [("personio", "Northwind")]
        assert (await browser.get("/kombo/kombo-embed.js")).status_code == 200
        foreign = await browser.post("/kombo/links", json={}, headers={"Origin": "https://elsewhere.example"})
        assert foreign.json()["code"] == "cross_origin"
        assert "kombo-connect-button" in (await browser.get("/")).text


async def test_people_of_a_node_host_connect_tools_through_the_sidecar(sandbox: Sandbox, host: str) -> None:
    await connect_a_tool(sandbox, host)


async def test_nginx_asks_the_host_for_the_token_as_the_page_says(
    sandbox: Sandbox, host: str, ports: tuple[int, int], nginx: str, tmp_path: Path
) -> None:
    del host
    [locations] = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    locations = locations.replace("127.0.0.1:8000", f"127.0.0.1:{ports[0]}")
    locations = locations.replace("127.0.0.1:8002", f"127.0.0.1:{ports[1]}")
    async with running_nginx(nginx, tmp_path, lambda port: f"server {{ listen {port}; {locations} }}") as url:
        await connect_a_tool(sandbox, url)


def test_the_page_and_the_example_have_the_same_sidecar_and_settings() -> None:
    text = PAGE.read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n# sidecar\.py\n(.*?)```", text, re.DOTALL)
    code = (EXAMPLE / "sidecar.py").read_text(encoding="utf-8").partition('"""\n\n')[2]
    assert program.split() == re.sub(r"  # .*", "", code).split()
    assert "KOMBO_AUTH=bearer" in text
