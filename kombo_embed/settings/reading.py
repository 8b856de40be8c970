"""Reads the settings: all of them, without the API key, or the mount path alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from kombo_embed.errors import ConfigurationError
from kombo_embed.settings import fields, sources
from kombo_embed.settings.settings import Settings

MOUNT_PATH = "/kombo"
SettingsSource = Settings | Callable[[], Settings] | None


class RecordSettings(Settings):
    """The settings of commands that only read the database: they do not call Kombo and need no API key."""

    api_key: SecretStr = SecretStr("")


class _MountPathSettings(BaseSettings):
    model_config = Settings.model_config
    mount_path: fields.MountPath = MOUNT_PATH


def read_settings(source: SettingsSource) -> Settings:
    """Return the settings, reading the environment if there is no other source."""
    if source is None:
        return Settings()
    return source if isinstance(source, Settings) else source()


def read_mount_path(source: SettingsSource) -> str:
    """Return the mount path alone, for routes that are added before the settings are read.

    An invalid path gives the default: the start reads all settings and stops with the reason.
    """
    if source is not None:
        with suppress(Exception):  # a callable may raise anything of the host's
            return read_settings(source).mount_path
    with suppress(ConfigurationError, ValidationError), sources.converted_errors(sources.PREFIX):
        return _MountPathSettings().mount_path
    return MOUNT_PATH
