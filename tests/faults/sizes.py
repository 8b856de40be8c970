"""The sizes of these tests: small ones, or with ``FAULTS_FULL=1``, as `make soak` sets it, the full ones."""

from __future__ import annotations

import os

FULL = bool(os.environ.get("FAULTS_FULL"))


def size(*, small: int, full: int) -> int:
    """Return one of both."""
    return full if FULL else small
