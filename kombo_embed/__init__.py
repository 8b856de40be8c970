"""kombo-embed: the missing half between Kombo Connect and a Starlette or FastAPI app.

The names in ``__all__`` are stable; everything else is private. Each is imported on first use, so that
importing the package is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kombo_embed._version import __version__

if TYPE_CHECKING:
    from kombo_embed.embed import KomboEmbed
    from kombo_embed.errors import ConfigurationError, KomboEmbedError, KomboError
    from kombo_embed.event import (
        Event,
        FlowAbandoned,
        FlowFailed,
        IntegrationConnected,
        IntegrationDeleted,
        IntegrationDuplicate,
        IntegrationUpdated,
        KomboEvent,
    )
    from kombo_embed.integration import Integration
    from kombo_embed.middleware import KomboEmbedMiddleware
    from kombo_embed.models import EndUser, LinkOptions
    from kombo_embed.settings import Settings
    from kombo_embed.store.tables import metadata

__all__ = [
    "ConfigurationError",
    "EndUser",
    "Event",
    "FlowAbandoned",
    "FlowFailed",
    "Integration",
    "IntegrationConnected",
    "IntegrationDeleted",
    "IntegrationDuplicate",
    "IntegrationUpdated",
    "KomboEmbed",
    "KomboEmbedError",
    "KomboEmbedMiddleware",
    "KomboError",
    "KomboEvent",
    "LinkOptions",
    "Settings",
    "__version__",
    "metadata",
]

_MODULES = {
    "ConfigurationError": "errors",
    "EndUser": "models",
    "Event": "event",
    "FlowAbandoned": "event",
    "FlowFailed": "event",
    "Integration": "integration",
    "IntegrationConnected": "event",
    "IntegrationDeleted": "event",
    "IntegrationDuplicate": "event",
    "IntegrationUpdated": "event",
    "KomboEmbed": "embed",
    "KomboEmbedError": "errors",
    "KomboEmbedMiddleware": "middleware",
    "KomboError": "errors",
    "KomboEvent": "event",
    "LinkOptions": "models",
    "Settings": "settings",
    "metadata": "store.tables",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
