"""What is released: two builds are equal, both files install without npm, and every extra is optional."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"])
IGNORED = (".*", "node_modules", "dist", "__pycache__", "tests", "_build", "*.db")
BROWSER_FILES = {"kombo-embed.js", "kombo-integrations.js", "kombo-embed.tgz"}
# What an installation without any extra can do; each extra adds its module.
CORE = """
import asyncio, kombo_embed
for name in kombo_embed.__all__:
    getattr(kombo_embed, name)
from kombo_embed import KomboEmbed, Settings
settings = Settings(api_key="any", api_url="http://localhost:8001/v1", webhook_secret=("any",))
async def main():
    async with KomboEmbed(end_user=lambda _: None, settings=settings) as embed:
        assert await embed.integrations("acme") == []
asyncio.run(main())
"""
WITH_EXTRA = {
    "cli": "import kombo_embed.cli.app",
    "console": "KomboEmbed(end_user=lambda _: None, settings=settings).console(authorize=lambda _: True)",
    "demo": "import kombo_embed.demo.app, kombo_embed.cli.app",
    "fastapi": "import kombo_embed.fastapi",
    "otel": "import kombo_embed.otel; assert kombo_embed.otel.IS_INSTALLED",
    "postgres": "import asyncpg",
    "redis": "import kombo_embed.link_cache.redis_client, kombo_embed.link_cache.encryption",
    "test": "import kombo_embed.testing",
}
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def workflow(name: str) -> dict[str, object]:
    text = (ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8")
    document: dict[str, object] = yaml.safe_load(text)
    return document


def test_the_workflow_runs_what_ci_runs_on_every_supported_python() -> None:
    tests = workflow("ci.yml")["jobs"]["tests"]  # type: ignore[index]
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert tests["strategy"]["matrix"]["python"] == supported
    assert {"run": ".ci/run"} in tests["steps"]


def test_workflows_have_no_permission_that_a_job_does_not_ask_for() -> None:
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        assert workflow(file.name)["permissions"] == {}
    publish = workflow("release.yml")["jobs"]["publish"]  # type: ignore[index]
    assert publish["permissions"] == {"id-token": "write"}


def test_every_action_is_pinned_to_a_commit() -> None:
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        used = re.findall(r"uses: (\S+)", file.read_text(encoding="utf-8"))
        assert used
        assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one) for one in used), file.name


def test_the_files_of_the_hosting_platform_can_be_parsed() -> None:
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]
    assert len(files) >= 6
    assert all(yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build the wheel and the source distribution twice, in folders of different names."""
    if shutil.which("npm") is None:
        pytest.skip("npm was not found; install Node.js to run this test")
    return [build(tmp_path_factory.mktemp(name) / "checkout") for name in ("one", "another")]


def build(checkout: Path) -> Path:
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*IGNORED))
    shutil.rmtree(checkout / "kombo_embed" / "web" / "static", ignore_errors=True)  # built again
    modules = ROOT / "frontend_snippet" / "node_modules"
    (checkout / "frontend_snippet" / "node_modules").symlink_to(modules)
    environment = {**os.environ, "KOMBO_EMBED_SKIP_NPM_CI": "1"}
    command = [sys.executable, "-m", "hatchling", "build"]
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, timeout=300)  # noqa: S603 - our own command
    return checkout / "dist"


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.integration
def test_two_builds_are_equal_byte_for_byte(builds: list[Path]) -> None:
    first, second = map(hashes, builds)
    assert len(first) == 2
    assert first == second


@pytest.mark.integration
def test_wheel_and_source_distribution_have_the_browser_modules_and_the_npm_package(
    builds: list[Path],
) -> None:
    [wheel], [source] = builds[0].glob("*.whl"), builds[0].glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.rpartition("/")[2] for name in names if "/web/static/" in name} == BROWSER_FILES
    with tarfile.open(source) as archive:
        listed = archive.getnames()
    assert {name.rpartition("/")[2] for name in listed if "/web/static/" in name} == BROWSER_FILES
    assert not [name for name in names if "tests" in Path(name).parts or "docs" in Path(name).parts]


@pytest.mark.integration
@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_a_file_installs_into_an_empty_environment_without_npm(
    pattern: str, builds: list[Path], tmp_path: Path
) -> None:
    [file] = builds[0].glob(pattern)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {**os.environ, "PATH": f"{python.parent}:/usr/bin:/bin"}
    if (npm := shutil.which("npm", path=environment["PATH"])) is not None:
        environment["PATH"] = f"{python.parent}"
        assert npm
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)  # noqa: S603 - our own command
    subprocess.run([*pip, str(file)], check=True, env=environment, timeout=600)  # noqa: S603 - as above
    probe = (
        f"{CORE}\nfrom kombo_embed.web.endpoints import load_browser_modules\n"
        "print(sorted(load_browser_modules()), kombo_embed.__file__)"
    )
    ran = run_python(str(python), probe, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "['kombo-embed.js', 'kombo-integrations.js']" in ran.stdout
    assert str(tmp_path) in ran.stdout


def run_python(python: str, program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [python, "-c", program], cwd=folder, check=False, capture_output=True, text=True, timeout=120
    )


def closure(requirements: list[str]) -> set[str]:
    """Return the names of all distributions that these requirements install."""
    found: set[str] = set()
    waiting = [Requirement(one) for one in requirements]
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        environment = {"extra": next(iter(requirement.extras), "")}
        if name in found and not requirement.extras:
            continue
        found.add(name)
        more = [Requirement(one) for one in requires(name) or () if name != "kombo-embed"]
        waiting += [one for one in more if one.marker is None or one.marker.evaluate(environment)]
    return found


def requirements_of(extras: list[str]) -> list[str]:
    """Return the requirements of the core and of these extras, and of the extras that they include."""
    optional: dict[str, list[str]] = PROJECT["optional-dependencies"]
    found: list[str] = list(PROJECT["dependencies"])
    waiting = list(extras)
    while waiting:
        for one in optional[waiting.pop()]:
            if one.startswith("kombo-embed["):
                waiting += Requirement(one).extras
            else:
                found.append(one)
    return found


COMBINATIONS = [
    [],
    *([one] for one in EXTRAS),
    *([one for one in EXTRAS if one != left_out] for left_out in EXTRAS),
    EXTRAS,
]


@pytest.mark.integration
@pytest.mark.parametrize("extras", COMBINATIONS, ids="+".join)
def test_every_combination_of_extras_works_without_the_packages_of_the_others(
    extras: list[str], tmp_path: Path
) -> None:
    allowed = closure(requirements_of(extras))
    optional = closure(requirements_of(EXTRAS)) - allowed
    owners = packages_distributions()
    blocked = {
        module
        for module, names in owners.items()
        if {name.lower().replace("_", "-") for name in names} <= optional
    }
    programs = [WITH_EXTRA[one] for one in extras if one in WITH_EXTRA]
    program = "\n".join([f"BLOCKED = {sorted(blocked)!r}", BLOCKER, CORE, *programs])
    ran = run_python(sys.executable, program, tmp_path)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    ("module", "program", "extra"),
    [
        ("fastapi", "import kombo_embed.fastapi", "fastapi"),
        ("typer", "import kombo_embed.__main__ as m; m.main()", "cli"),
        (
            "asyncpg",
            CORE.replace('("any",)', '("any",), database_url="postgresql://localhost/x"'),
            "postgres",
        ),
        ("redis", CORE.replace('("any",)', '("any",), redis_url="redis://localhost"'), "redis"),
    ],
)
def test_what_needs_an_extra_names_it(module: str, program: str, extra: str, tmp_path: Path) -> None:
    ran = run_python(sys.executable, f"BLOCKED = [{module!r}]\n{BLOCKER}\n{program}", tmp_path)
    assert ran.returncode != 0
    last = ran.stderr.strip().splitlines()[-1]
    assert re.search(rf"extra '{extra}'|kombo-embed\[{extra}\]", last), ran.stderr
