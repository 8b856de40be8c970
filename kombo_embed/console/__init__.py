"""The console: pages on what customers connected, mounted in the host's app, for its own support team."""

from kombo_embed.console.app import ConsoleApp
from kombo_embed.console.desk import Desk, desk_of

__all__ = ["ConsoleApp", "Desk", "desk_of"]
