"""The local sandbox: a stand-in for Kombo that needs no account and no network."""

from kombo_embed.sandbox.errors import (
    InputInvalid,
    IntegrationUnknown,
    LinkExpired,
    LinkUnknown,
    SandboxError,
)
from kombo_embed.sandbox.records import Completion
from kombo_embed.sandbox.sandbox import Sandbox

__all__ = [
    "Completion",
    "InputInvalid",
    "IntegrationUnknown",
    "LinkExpired",
    "LinkUnknown",
    "Sandbox",
    "SandboxError",
]
