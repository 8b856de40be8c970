"""The settings: environment variables as one frozen object."""

from kombo_embed.settings.settings import (
    RecordSettings,
    Settings,
    misspelt_variables,
    mount_path_from_environment,
)
from kombo_embed.settings.shared import is_on_this_machine

__all__ = [
    "RecordSettings",
    "Settings",
    "is_on_this_machine",
    "misspelt_variables",
    "mount_path_from_environment",
]
