"""Break each guard in a copy of the tree and run its tests there: ``python -m tests.mutants [--only 3,4]``.

``--write`` replaces the table in docs/reliability.md. The exit code is 1 if a mutant survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.mutants import MUTANTS, ROOT, Mutant

PAGE = ROOT / "docs" / "reliability.md"
COPIED = ("kombo_embed", "tests", "docs", "examples", "pyproject.toml", "README.md")
IGNORED = shutil.ignore_patterns("node_modules", "__pycache__", "*.pyc")
TESTS_FAILED = 1  # pytest's exit code; others mean that the tests could not run
HEADING = "| # | guard that was broken | tests | result |"


def copy_tree(folder: Path) -> None:
    """Copy what the tests need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=IGNORED)
        else:
            shutil.copy(source, folder / name)


def run_tests(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests in the copy until one fails; return pytest's exit code and the name of that test."""
    options = (
        "-x",
        "-q",
        "-n0",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=--import-mode=importlib",
    )
    environment = {**os.environ, "PYTHONPATH": str(folder), "SIMULATION_SEEDS": "30"}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "pytest", *options, "-rf", *tests],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    failed = re.search(r"^FAILED ([^\s\[]+)", done.stdout, re.MULTILINE)
    return done.returncode, failed[1] if failed else ""


def try_mutant(folder: Path, mutant: Mutant) -> tuple[bool, str]:
    """Return whether the tests found the mutant, and the result in words."""
    original = mutant.apply(folder)
    try:
        code, failed = run_tests(folder, mutant.tests)
    finally:
        (folder / mutant.file).write_text(original, encoding="utf-8")
    if code == TESTS_FAILED:
        return True, f"found by `{failed.partition('::')[2]}`"
    return False, "SURVIVED" if code == 0 else f"the tests did not run ({code})"


def main() -> int:
    """Try mutants; print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="numbers, separated by commas; all by default")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/reliability.md")
    arguments = parser.parse_args()
    numbers = {int(number) for number in arguments.only.split(",") if number}
    lines, survived = [HEADING, "| - | - | - | - |"], 0
    print("\n".join(lines))  # noqa: T201 - a program
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tree(folder)
        for number, mutant in enumerate(MUTANTS, start=1):
            if numbers and number not in numbers:
                continue
            is_found, result = try_mutant(folder, mutant)
            survived += not is_found
            files = ", ".join(dict.fromkeys(test.partition("::")[0] for test in mutant.tests))
            lines.append(f"| M{number} | {mutant.guard} | {files} | {result} |")
            print(lines[-1], flush=True)  # noqa: T201 - a program
    print(f"{len(lines) - 2 - survived} of {len(lines) - 2} found")  # noqa: T201 - a program
    if arguments.write:
        write(lines)
    return 1 if survived else 0


def write(lines: list[str]) -> None:
    """Replace the table on the page."""
    before, heading, after = PAGE.read_text(encoding="utf-8").partition(HEADING)
    rest = re.sub(r"\A(?:\n\|.*)*", "", after) if heading else ""
    PAGE.write_text(before + "\n".join(lines) + rest, encoding="utf-8")


sys.exit(main())
