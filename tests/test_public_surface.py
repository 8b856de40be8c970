"""The public names, what importing them loads, and the table of errors."""

from __future__ import annotations

import subprocess
import sys

import kombo_embed
from kombo_embed import errors
from kombo_embed.web.problems import STATUSES, TITLES

HEAVY = (
    "sqlalchemy",
    "alembic",
    "pydantic",
    "pydantic_settings",
    "httpx",
    "fastapi",
    "typer",
    "uvicorn",
    "authlib",
    "joserfc",
    "cryptography",
)


def test_every_public_name_is_listed_sorted_and_importable() -> None:
    assert kombo_embed.__all__ == sorted(kombo_embed.__all__)
    for name in kombo_embed.__all__:
        assert getattr(kombo_embed, name) is not None
    assert dir(kombo_embed) == kombo_embed.__all__


def test_importing_the_package_and_creating_an_embed_loads_nothing_heavy() -> None:
    program = (
        "import sys; from kombo_embed import EndUser, KomboEmbed, KomboEmbedMiddleware; KomboEmbed();"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    output = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert output.stdout.strip() == "[]"


def test_every_error_has_a_code_a_status_and_a_title() -> None:
    def leaves(kind: type[errors.KomboEmbedError]) -> set[type[errors.KomboEmbedError]]:
        return {kind}.union(*(leaves(child) for child in kind.__subclasses__()))

    bases = {errors.KomboEmbedError, errors.KomboError, errors.RetryLater}
    concrete = leaves(errors.KomboEmbedError) - bases
    assert concrete == set(STATUSES)
    assert {kind.code for kind in concrete} <= set(TITLES)
    drawn = errors.__doc__ or ""
    for kind in concrete:
        assert kind.__name__ in drawn
