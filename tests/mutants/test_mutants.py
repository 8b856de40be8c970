"""The table of mutants fits the code: `make mutants` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, ROOT, Mutant


def test_there_are_at_least_twenty_guards() -> None:
    assert len({mutant.guard for mutant in MUTANTS}) == len(MUTANTS) >= 20


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.guard)
def test_a_mutant_changes_exactly_one_place_and_its_tests_exist(mutant: Mutant, tmp_path: Path) -> None:
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1
    (tmp_path / mutant.file).parent.mkdir(parents=True)
    (tmp_path / mutant.file).write_text(source, encoding="utf-8")
    assert mutant.apply(tmp_path) == source
    compile((tmp_path / mutant.file).read_text(encoding="utf-8"), mutant.file, "exec")
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).exists()
        assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
