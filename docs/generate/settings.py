"""The reference of settings, from the class `Settings` and ``settings.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kombo_embed import Settings

MEANINGS = Path(__file__).with_name("settings.toml")
# What a setting is without a value, where that is not "unset".
UNSET = {
    "api_url": "from the region",
    "allowed_categories": "all",
    "allowed_tools": "all",
    "allowed_origins": "same origin",
    "jwks_url": "discovered",
}
INTRODUCTION = """\
# Settings

Settings are read from the environment and from `.env`; the environment wins, and an empty value counts as unset. If settings
are missing or invalid, the start stops with one message that names all of them. A `KOMBO_` variable whose name is almost that
of a setting is logged with the name that it probably means.

In Python they are the fields of `kombo_embed.Settings`, in small letters and without the prefix:
`KomboEmbed(settings=Settings(mount_path="/connect"))`.
"""


def page() -> str:
    """Return the page."""
    groups = tomllib.loads(MEANINGS.read_text(encoding="utf-8"))
    listed = [name for meanings in groups.values() for name in meanings]
    known = Settings.model_fields
    if sorted(listed) != sorted(known):
        different = ", ".join(sorted(set(listed) ^ set(known)))
        raise LookupError(f"{MEANINGS.name} and the class Settings differ: {different}")
    return "\n".join([INTRODUCTION, *(_group(title, meanings) for title, meanings in groups.items())])


def _group(title: str, meanings: dict[str, str]) -> str:
    rows = [
        f"| `KOMBO_{name.upper()}` | {_default(name, Settings.model_fields[name])} | {meaning} |"
        for name, meaning in meanings.items()
    ]
    return "\n".join([f"## {title}", "", "| variable | default | meaning |", "|---|---|---|", *rows, ""])


def _default(name: str, field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, tuple):
        default = ",".join(default)
    return UNSET.get(name, "unset") if default in (None, "") else f"`{default}`"
