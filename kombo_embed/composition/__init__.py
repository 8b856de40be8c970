"""The composition root: chooses the implementations by the settings and joins them."""

from kombo_embed.composition.root import open_services

__all__ = ["open_services"]
