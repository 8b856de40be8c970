"""Where a `KomboEmbed` gets its settings from: an object, a callable, or the environment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError

from kombo_embed.errors import ConfigurationError
from kombo_embed.settings.fields import MountPath
from kombo_embed.settings.settings import PREFIX, Settings

SettingsSource = Settings | Callable[[], Settings] | None


class _MountPathSettings(BaseSettings):
    model_config = Settings.model_config
    mount_path: MountPath = "/kombo"


def read_settings(source: SettingsSource) -> Settings:
    """Return the settings, reading the environment if there is no other source.

    Raises:
        ConfigurationError: Variables are missing or invalid.
    """
    if source is None:
        return Settings()
    return source if isinstance(source, Settings) else source()


def read_mount_path(source: SettingsSource, prefix: str = PREFIX) -> str:
    """Return the mount path alone, for routes that are added before the settings are read.

    An invalid path gives the default: the start reads all settings and stops with the reason.
    """
    if source is not None:
        with suppress(ConfigurationError):
            return read_settings(source).mount_path
    try:
        return _MountPathSettings(_env_prefix=prefix).mount_path
    except (ValidationError, SettingsError, UnicodeDecodeError):
        return "/kombo"
