"""Every block of code in the pages runs, is compiled or parsed; what is not run has its reason here."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from kombo_embed import KomboEmbed, Settings
from kombo_embed.sandbox import Sandbox
from kombo_embed.upstream import WebhookEvent
from tests.cli.runner import run
from tests.code_blocks import ROOT, Block, blocks, commands, split_assignments
from tests.support import API_KEY, DATABASE, WEBHOOK_SECRET, database_with_tables, served

PARSED = {"ini", "json", "yaml", "toml"}
COMPILED = {"js", "jsx", "ts", "tsx", "html"}
# Languages whose blocks are not run here, and why.
NOT_RUN = {
    "text": "what a program prints, or a diagram",
    "sql": "tests/store/test_privileges.py runs the roles; the other one needs the reader's table",
    "nginx": "tests/journeys/test_deployment.py starts the file that one page includes",
    "dockerfile": "it needs an image builder",
}
# Programs in blocks of shell that are not run here, and why.
PROGRAMS_NOT_RUN = {
    "cd": "there are no folders to change to: each command runs in a folder of its own",
    "curl": "it needs a server at a fixed port, or the internet",
    "docker": "it needs an image builder",
    "make": "it would run these tests",
    "mkdir": "as cd",
    "node": "a server: tests/journeys/test_sidecar.py starts it",
    "npm": "it needs a registry: tests/test_npm_package.py installs the tarball",
    "oidc-provider-mock": "a server: tests/browser/test_logins_in_chromium.py starts it",
    "pip": "it needs a registry: tests/test_release.py installs the package",
    "podman": "it needs an image builder",
    "pytest": "tests/test_testing.py runs the tests of the pages",
    "python3": "it makes a virtual environment",
    ".": "as python3",
    "uvicorn": "a server: tests/browser/test_examples_in_chromium.py starts the examples",
}
# Our own commands that are only parsed, with all their options, and why.
COMMANDS_PARSED = {
    "sandbox": "a server, or a message to one: tests/sandbox/ starts it",
    "copy": "its target is an example: tests/store/test_copying.py copies",
    "npm-pack": "tests/cli/test_npm_pack_command.py writes the tarball",
}
# Python blocks that another test runs.
PYTHON_ELSEWHERE = {
    ("README.md", "import httpx"): "tests/test_testing.py",
    ("docs/operations.md", "import logging.config"): "tests/test_operations.py, since it is global",
    ("docs/testing.md", "# conftest.py"): "tests/test_testing.py",
    ("docs/testing.md", "# test_journeys.py"): "tests/test_testing.py",
}
# What blocks of Python take from the reader's app.
SETUP = """
from kombo_embed import KomboEmbed
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
app = Starlette()
async def my_login(request): ...
async def my_sync(integration_id): ...
async def current_end_user(request): ...
embed = KomboEmbed(end_user=current_end_user)
"""


def test_every_block_is_in_a_language_that_is_run_or_has_a_reason() -> None:
    handled = {"python", "sh", "vue"} | PARSED | COMPILED | NOT_RUN.keys()
    unknown = [f"{one}: {one.language!r}" for one in blocks() if one.language not in handled]
    assert [one for one in unknown if "'{" not in one] == []  # directives include files that tests run


@pytest.mark.parametrize("page", sorted({one.page for one in blocks("python")}))
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("app", "test_app"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    document = Sybil([CodeBlockParser(language="python", evaluator=evaluate)]).parse(ROOT / page)
    exec(SETUP, document.namespace)  # noqa: S102 - our own names
    for example in document.examples():
        example.evaluate()


def evaluate(example: Example) -> None:
    """Run a block; one that begins with the name of a file is that file, and is imported."""
    code, document = str(example.parsed), example.document
    first = code.partition("\n")[0]
    if (Path(document.path).relative_to(ROOT).as_posix(), first) in PYTHON_ELSEWHERE:
        return
    if first.startswith("# ") and first.endswith(".py"):
        run_file(document, first.removeprefix("# "), code)
    else:
        exec(compile(code, f"{document.path}:{example.line}", "exec"), document.namespace)  # noqa: S102 - our own pages


def run_file(document: Document, name: str, code: str) -> None:
    Path(name).write_text(code, encoding="utf-8")
    document.namespace.update(vars(import_module(name.removesuffix(".py"))))


def test_settings_in_the_pages_exist() -> None:
    known = {name.upper() for name in Settings.model_fields}
    for block in blocks("ini"):
        for line in filter(None, block.code.splitlines()):
            name = line.partition("=")[0]
            assert name.removeprefix("KOMBO_").removeprefix("US_") in known, f"{block}: {name}"


def test_structured_blocks_can_be_parsed() -> None:
    for block in blocks("json", "yaml", "toml"):
        {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}[block.language](block.code)


@pytest.fixture
async def folder(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, str]]:
    """Prepare what commands work with: a served sandbox, and a database with one integration.

    Return what replaces the placeholders of the pages.
    """
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    DATABASE.write_bytes(database_with_tables())
    async with served(sandbox.app) as url:
        for name, value in {"KEY": API_KEY, "URL": f"{url}/v1"}.items():
            monkeypatch.setenv(f"KOMBO_API_{name}", value)
            monkeypatch.setenv(f"KOMBO_US_API_{name}", value)
        monkeypatch.setenv("KOMBO_WEBHOOK_SECRET", WEBHOOK_SECRET)
        monkeypatch.setenv("KOMBO_US_WEBHOOK_SECRET", WEBHOOK_SECRET)
        integration_id = await connect(sandbox, url)
        event_id = await prepare_files(integration_id)
        yield {"EVENT_ID": event_id, "ID": event_id, "ORIGIN_ID": "company-7"}
    await sandbox.aclose()


async def connect(sandbox: Sandbox, url: str) -> str:
    body = {
        "end_user_email": "ada@acme.example",
        "end_user_organization_name": "Acme",
        "end_user_origin_id": "company-7",
        "integration_category": "HRIS",
        "link_type": "EMBEDDED",
    }
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {API_KEY}"}) as by_hand:
        minted = await by_hand.post("/v1/connect/create-link", json=body)
    return (await sandbox.complete(minted.json()["data"]["link"], "personio")).integration_id


async def prepare_files(integration_id: str) -> str:
    """Write the files that commands name, and an event that waits; return its id."""
    await asyncio.to_thread(
        Path("old.csv").write_text,
        f"integration_id,origin_id\n{integration_id},company-7\n",
        encoding="utf-8",
    )
    async with KomboEmbed(end_user=lambda _: None) as embed:
        embed.on("kombo.event", name="first-sync")(print)
        store = (await embed.services()).store
        await store.save_event(WebhookEvent("e", "data-changed", {}), None)
    listed = await asyncio.to_thread(run, "events", "--json", "--all")
    return str(json.loads(listed.stdout)["events"][0]["id"])


def test_every_program_in_the_pages_is_run_or_has_a_reason() -> None:
    for block in blocks("sh"):
        for words in commands(block):
            _, rest = split_assignments(words)
            assert not rest or rest[0] == "kombo-embed" or rest[0] in PROGRAMS_NOT_RUN, f"{block}: {words}"


@pytest.mark.integration
async def test_our_own_commands_in_the_pages_run(folder: dict[str, str]) -> None:
    for block in blocks("sh"):
        for words in commands(block):
            _, rest = split_assignments(words)
            if rest[:1] == ["kombo-embed"]:
                await run_command(block, [folder.get(word, word) for word in rest[1:]])


async def run_command(block: Block, words: list[str]) -> None:
    if words[0] in COMMANDS_PARSED or "..." in words:
        end = words.index("--") if "--" in words else len(words)
        result = await asyncio.to_thread(run, *words[:end], "--help")
        assert result.exit_code == 0, f"{block}: {words}\n{result.output}"
        return
    result = await asyncio.to_thread(run, *words)
    # 1 is the answer of a command that finds something to report, 2 that of one that is written wrongly.
    assert result.exit_code in {0, 1}, f"{block}: {words}\n{result.output}"
    assert result.exception is None or isinstance(result.exception, SystemExit), f"{block}: {words}"


@pytest.mark.integration
def test_the_typescript_of_the_pages_compiles(tmp_path: Path) -> None:
    compiler = ROOT / "frontend_snippet" / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.exists() or shutil.which("node") is None:
        missing = "TypeScript is not installed; `make test` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    for number, block in enumerate(blocks(*COMPILED)):
        suffix, code = source_of(block)
        (tmp_path / f"block{number}.{suffix}").write_text(
            f"// {block}\n{code}\nexport {{}};\n", encoding="utf-8"
        )
    (tmp_path / "host.d.ts").write_text(HOST, encoding="utf-8")
    (tmp_path / "tsconfig.json").write_text(json.dumps(tsconfig()), encoding="utf-8")
    command = ["node", str(compiler), "--project", str(tmp_path)]
    compiled = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)  # noqa: S603 - our own command
    assert compiled.returncode == 0, compiled.stdout


# What blocks of TypeScript take from the reader's app.
HOST = """
declare function show(integration: unknown): void;
declare function offer(integration: unknown, reconnect: () => void): void;
declare function forget(id: string): void;
declare function accessToken(): Promise<string>;
"""


def source_of(block: Block) -> tuple[str, str]:
    """Return a block's kind of file and its code; of a page, the code of its scripts."""
    if block.language != "html":
        return block.language, block.code
    scripts = block.code.split('<script type="module">')[1:]
    return "js", "\n".join(script.partition("</script>")[0] for script in scripts)


def tsconfig() -> dict[str, Any]:
    frontend = ROOT / "frontend_snippet"
    sources = {
        "kombo-embed": "src/index.ts",
        "kombo-embed/react": "src/react.ts",
        "kombo-embed/preact": "src/preact.ts",
        "react": "node_modules/@types/react",
        "react/jsx-runtime": "node_modules/@types/react/jsx-runtime",
        "@kombo-api/connect": "node_modules/@kombo-api/connect",
        "/kombo/kombo-embed.js": "src/served.ts",
    }
    options = {
        "allowJs": True,
        "noUnusedLocals": False,
        "noUnusedParameters": False,
        "types": [],
        "paths": {name: [str(frontend / path)] for name, path in sources.items()},
    }
    return {"extends": str(frontend / "tsconfig.json"), "compilerOptions": options, "include": ["."]}
