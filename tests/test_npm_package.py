"""The npm package as people install it: packed in a fresh clone, in projects of several kinds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent
FRONTEND = ROOT / "frontend_snippet"
SETTINGS = "audit=false\nfund=false\nupdate-notifier=false\n"
USES_EVERY_ENTRY = """
import { connect, disconnect, prefetch } from "kombo-embed";
import type { Integration, KomboEmbedError } from "kombo-embed";
import { KomboConnectButton } from "kombo-embed/element";
import { KomboIntegrations as ListElement } from "kombo-embed/integrations";
import { KomboIntegrations, useIntegrations, useKomboConnect } from "kombo-embed/react";

export const button: KomboConnectButton | null = document.querySelector("kombo-connect-button");
export const list: ListElement | null = document.querySelector("kombo-integrations");
export const calls: Promise<unknown>[] = [connect(), disconnect("int_1"), prefetch({ tool: "personio" })];

export function Page() {
  const { connect: open, prefetch: warmUp, error } = useKomboConnect();
  const { integrations, actions, loading, refresh, disconnect: remove } = useIntegrations();
  const failed: KomboEmbedError | undefined = error;
  const first: Integration | undefined = integrations?.[0];
  return (
    <main>
      <button onClick={open} onPointerEnter={warmUp}>
        {failed?.detail ?? first?.tool ?? actions.join()}
      </button>
      <button disabled={loading} onClick={refresh} onDoubleClick={() => void remove("int_1")} />
      <kombo-connect-button tool="personio" prefetch="intent" class="wide"></kombo-connect-button>
      {/* @ts-expect-error there is no such mode */}
      <kombo-connect-button prefetch="always"></kombo-connect-button>
      <kombo-integrations language="de"></kombo-integrations>
      <KomboIntegrations endpoint="/kombo" onDisconnected={({ integration }) => integration.id} />
    </main>
  );
}
"""
RENDERS = """
const { createElement } = require("react");
const { renderToString } = require("react-dom/server");
const { KomboIntegrations } = require("kombo-embed/react");

test("the package can be required, rendered on a server, and used in a DOM", async () => {
  expect(renderToString(createElement(KomboIntegrations, {}))).toContain("<kombo-integrations");
  require("kombo-embed/element");
  require("kombo-embed/integrations");
  const list = document.createElement("kombo-integrations");
  const reply = { status: 200, ok: true, headers: new Headers() };
  const integration = { id: "int_1", tool: "personio", next_action: "none", connected_at: "2026-01-01" };
  const body = JSON.stringify({ integrations: [integration] });
  list.options = { fetch: async () => ({ ...reply, text: async () => body }) };
  document.body.append(list, document.createElement("kombo-connect-button"));
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setTimeout(resolve));
  expect(list.shadowRoot.querySelector("[part=name]").textContent).toBe("Personio");
  list.remove();
});
"""


def run(*command: str, cwd: Path, seconds: int = 300) -> str:
    result = subprocess.run(  # noqa: S603 - our own programs
        command, cwd=cwd, check=False, capture_output=True, text=True, timeout=seconds
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a fresh clone has, without anything built or installed."""
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("npm was not found")
        pytest.skip("npm was not found; install Node.js to run this test")
    target = tmp_path_factory.mktemp("clone") / "frontend_snippet"
    ignored = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(FRONTEND, target, ignore=ignored)
    return target


@pytest.fixture(scope="module")
def package(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball that ``npm pack`` makes in a fresh clone."""
    folder = tmp_path_factory.mktemp("packed")
    run("npm", "pack", "--pack-destination", str(folder), cwd=clone)
    [file] = folder.glob("*.tgz")
    return file


def project(folder: Path, **dependencies: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / ".npmrc").write_text(SETTINGS, encoding="utf-8")
    content = {"name": "project", "private": True, "dependencies": dependencies}
    (folder / "package.json").write_text(json.dumps(content), encoding="utf-8")
    run("npm", "install", "--ignore-scripts", "--loglevel=error", cwd=folder)
    return folder


def test_a_folder_of_a_fresh_clone_is_built_when_it_is_installed(clone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".npmrc").write_text(SETTINGS, encoding="utf-8")
    (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
    run("npm", "install", str(clone), cwd=folder)
    names = "console.log(Object.keys(require('kombo-embed')).includes('connect'))"
    assert run("node", "--eval", names, cwd=folder).strip() == "true"


@pytest.mark.parametrize("react", ["18", "19"])
def test_typescript_resolves_every_entry_in_every_way(package: Path, tmp_path: Path, react: str) -> None:
    folder = project(
        tmp_path / "project",
        **{"kombo-embed": f"file:{package}", "typescript": "~5.9.0", "react": f"^{react}"},
        **{"react-dom": f"^{react}", "@types/react": f"^{react}"},
    )
    (folder / "page.tsx").write_text(USES_EVERY_ENTRY, encoding="utf-8")
    for module, resolution in (
        ("commonjs", "node10"),
        ("node16", "node16"),
        ("nodenext", "nodenext"),
        ("esnext", "bundler"),
    ):
        options = ("--module", module, "--moduleResolution", resolution, "--jsx", "react-jsx", "--strict")
        run("npx", "tsc", "--noEmit", "--target", "es2022", *options, "page.tsx", cwd=folder)


def test_jest_takes_it(package: Path, tmp_path: Path) -> None:
    folder = project(
        tmp_path / "project",
        **{"kombo-embed": f"file:{package}", "jest": "^30.0.0", "jest-environment-jsdom": "^30.0.0"},
        **{"react": "^19.0.0", "react-dom": "^19.0.0"},
    )
    needs = "/** @jest-environment ./environment.js */\n"
    environment = """
const { TestEnvironment } = require("jest-environment-jsdom");
module.exports = class extends TestEnvironment {
  async setup() {
    await super.setup();
    Object.assign(this.global, { TextEncoder, TextDecoder, MessageChannel, ReadableStream, Headers });
  }
};
"""
    (folder / "environment.js").write_text(environment, encoding="utf-8")
    (folder / "page.test.js").write_text(needs + RENDERS, encoding="utf-8")
    run("npx", "jest", cwd=folder)


@pytest.mark.parametrize(
    ("environment", "version"), [("jsdom", "^26"), ("jsdom", "^27"), ("happy-dom", "^20"), ("happy-dom", "*")]
)
def test_vitest_takes_it(package: Path, tmp_path: Path, environment: str, version: str) -> None:
    folder = project(
        tmp_path / "project",
        **{"kombo-embed": f"file:{package}", "vitest": "^3.2.0", environment: version},
        **{"react": "^19.0.0", "react-dom": "^19.0.0"},
    )
    imports = """
import { createRequire } from "node:module";
import { expect, test } from "vitest";
const require = createRequire(import.meta.url);
"""
    (folder / "page.test.mjs").write_text(imports + RENDERS, encoding="utf-8")
    run("npx", "vitest", "run", f"--environment={environment}", cwd=folder)


VITE_PAGE = """
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import "kombo-embed/element";
import { KomboIntegrations } from "kombo-embed/react";
createRoot(document.body).render(createElement(KomboIntegrations, {}));
"""
NEXT_PAGE = """
import { KomboIntegrations } from "kombo-embed/react";
import { Connect } from "./connect";
export default function Page() {
  return <main><Connect /><KomboIntegrations empty={<p>Nothing yet</p>} /></main>;
}
"""
NEXT_BUTTON = """
"use client";
import { useKomboConnect } from "kombo-embed/react";
export function Connect() {
  const { connect, prefetch } = useKomboConnect();
  return <button onClick={connect} onPointerEnter={prefetch}>Connect</button>;
}
"""
NEXT_LAYOUT = """
export default function Layout({ children }: { children: React.ReactNode }) {
  return <html lang="en"><body>{children}</body></html>;
}
"""


def test_vite_builds_a_page_with_it(package: Path, tmp_path: Path) -> None:
    folder = project(
        tmp_path / "project",
        **{"kombo-embed": f"file:{package}", "vite": "^7.0.0", "react": "^19.0.0", "react-dom": "^19.0.0"},
    )
    page = '<!doctype html><body></body><script type="module" src="/page.js"></script>'
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "page.js").write_text(VITE_PAGE, encoding="utf-8")
    run("npx", "vite", "build", cwd=folder)
    [built] = (folder / "dist" / "assets").glob("*.js")
    code = built.read_text(encoding="utf-8")
    assert "kombo-integrations" in code
    assert "kombo-connect-button" in code


def test_next_builds_a_page_with_it_with_each_of_its_bundlers(package: Path, tmp_path: Path) -> None:
    folder = project(
        tmp_path / "project",
        **{"kombo-embed": f"file:{package}", "next": "^16.0.0", "react": "^19.0.0", "react-dom": "^19.0.0"},
        **{"typescript": "~5.9.0", "@types/react": "^19.0.0", "@types/node": "^20.0.0"},
    )
    app = folder / "app"
    app.mkdir()
    for name, code in (("page", NEXT_PAGE), ("connect", NEXT_BUTTON), ("layout", NEXT_LAYOUT)):
        (app / f"{name}.tsx").write_text(code, encoding="utf-8")
    for bundler in ("--turbopack", "--webpack"):
        shutil.rmtree(folder / ".next", ignore_errors=True)
        run("npx", "next", "build", bundler, cwd=folder, seconds=400)
        page = (folder / ".next" / "server" / "app" / "index.html").read_text(encoding="utf-8")
        assert '<kombo-integrations><div slot="empty"><p>Nothing yet</p></div></kombo-integrations>' in page


def test_the_packages_own_checks_report_nothing(clone: Path, package: Path) -> None:
    assert package.exists()  # the clone has its npm packages now
    run("npx", "publint", "--strict", cwd=clone)
    entries = ("--exclude-entrypoints", "./kombo-embed.js", "./kombo-integrations.js")
    run("npx", "attw", "--pack", ".", *entries, "--quiet", cwd=clone)
