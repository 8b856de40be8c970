"""What the README states is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import kombo_embed
from tests.support import SANDBOX_URL, running

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What the README's app takes from the host.
HOST = """
from typing import Any

async def my_login(request: object) -> Any: ...
async def my_sync(integration_id: str) -> None: ...
"""


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    assert len(README.splitlines()) <= 150
    assert re.findall(r"^```sh\n(make \w+)\n```$", README, re.MULTILINE) == ["make demo", "make test"]


async def test_the_app_in_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, kombo: httpx.AsyncBaseTransport
) -> None:
    [program] = re.findall(r"```python\n# app\.py\n(.*?)```", README, re.DOTALL)
    assert len(program.strip().splitlines()) <= 20
    monkeypatch.setenv("KOMBO_API_KEY", "ks_dev_a-made-up-key")
    monkeypatch.setenv("KOMBO_API_URL", f"{SANDBOX_URL}/v1")
    monkeypatch.setattr(kombo_embed, "KomboEmbed", with_transport(kombo), raising=False)

    async def my_login(_request: object) -> SimpleNamespace:
        return SimpleNamespace(email="ada@acme.example", company=SimpleNamespace(id=7, name="Acme"))

    names: dict[str, Any] = {"my_login": my_login, "__name__": "app"}
    exec(compile(program, "README.md", "exec"), names)  # noqa: S102 - our own README
    async with running(names["app"]) as client:
        assert (await client.post("/kombo/links", json={})).status_code == 200


@pytest.mark.integration
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_app_in_the_readme_passes_strict_type_checks(checker: str, tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n# app\.py\n(.*?)```", README, re.DOTALL)
    (tmp_path / "app.py").write_text(f"{HOST}{program}", encoding="utf-8")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")
    pyright = ROOT / "tests" / "contract" / "typescript" / "node_modules" / ".bin" / "pyright"
    if checker == "pyright" and not pyright.exists():
        missing = "pyright is not installed; `make test-integrations` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    command = {
        "mypy": [sys.executable, "-m", "mypy", "--strict", "app.py"],
        "pyright": [str(pyright), "--pythonpath", sys.executable, "app.py"],
    }[checker]
    checked = subprocess.run(  # noqa: S603 - our own command
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def with_transport(kombo: httpx.AsyncBaseTransport) -> Any:
    class InProcess(kombo_embed.KomboEmbed):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments, http_transport=kombo)

    return InProcess
