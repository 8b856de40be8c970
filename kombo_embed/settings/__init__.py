"""The settings: environment variables as one frozen object."""

from kombo_embed.settings.fields import is_on_this_machine
from kombo_embed.settings.reading import RecordSettings, read_mount_path, read_settings
from kombo_embed.settings.settings import Settings, near_miss_variables
from kombo_embed.settings.sources import read_env_file

__all__ = [
    "RecordSettings",
    "Settings",
    "is_on_this_machine",
    "near_miss_variables",
    "read_env_file",
    "read_mount_path",
    "read_settings",
]
