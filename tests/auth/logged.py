"""Reads what was logged about an identity."""

from __future__ import annotations

import pytest


def logged_reason(caplog: pytest.LogCaptureFixture) -> str:
    """Return the reason of the one ``identity.failed`` that was logged."""
    [record] = [record for record in caplog.records if record.message == "identity.failed"]
    return str(vars(record)["reason"])
