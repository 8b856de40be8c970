"""Finds environment variables that were probably meant for us but are misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator


def near_misses(names: Iterable[str], *, known: Iterable[str], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield (name, the known name that was probably meant) for each name that is almost a known one.

    ``KOMBO_US_API_KEY`` is no misspelt ``KOMBO_API_KEY``: it is how a second set of variables is named.
    """
    variables = sorted(known)
    suffixes = tuple("_" + variable.removeprefix(prefix) for variable in variables)
    for name in names:
        upper = name.upper()
        if not upper.startswith(prefix) or upper in variables or upper.endswith(suffixes):
            continue
        match = difflib.get_close_matches(upper, variables, n=1, cutoff=0.85)
        if match:
            yield name, match[0]
