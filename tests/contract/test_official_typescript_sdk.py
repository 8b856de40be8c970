"""Kombo's official TypeScript SDK works with the sandbox as with Kombo."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from kombo_embed.sandbox import Sandbox
from tests.support import API_KEY, served

SCRIPT = Path(__file__).parent / "typescript" / "life.mjs"


async def test_the_whole_life_of_an_integration_errors_included(sandbox: Sandbox) -> None:
    node = shutil.which("node")
    if node is None or not (SCRIPT.parent / "node_modules" / "@kombo-api" / "sdk").exists():
        missing = "Kombo's TypeScript SDK is not installed; `make test` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    async with served(sandbox.app) as url:
        process = await asyncio.create_subprocess_exec(
            *(node, SCRIPT, url, API_KEY), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            output, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    steps = json.loads(output)
    assert steps["link"].startswith(f"{url}/connect?token=")
    assert (steps["by_token"]["tool"], steps["by_token"]["end_user_origin_id"]) == ("personio", "acme")
    assert (steps["details"]["id"], steps["details"]["status"]) == (steps["by_token"]["id"], "ACTIVE")
    assert steps["relink"]["link"].startswith(url)
    assert steps["disabled"] == "INACTIVE"
    assert steps["key"]["environment_id"]
    assert steps["tools"] > 50
    codes = {name: (failure["name"], failure["code"]) for name, failure in steps["errors"].items()}
    assert codes["deleted"] == ("KomboGeneralError", "PLATFORM.INTEGRATION_NOT_FOUND")
    assert codes["key"] == ("KomboGeneralError", "PLATFORM.AUTHENTICATION_INVALID")
    assert codes["token"][0] == "KomboGeneralError"
