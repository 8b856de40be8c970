"""The settings: environment variables as one frozen object."""

from kombo_embed.settings.fields import is_on_this_machine
from kombo_embed.settings.settings import (
    RecordSettings,
    Settings,
    mount_path_from_environment,
    near_miss_variables,
)

__all__ = [
    "RecordSettings",
    "Settings",
    "is_on_this_machine",
    "mount_path_from_environment",
    "near_miss_variables",
]
