"""`KomboEmbed`, the object that a host mounts."""

from kombo_embed.embed.embed import EMBEDS, KomboEmbed

__all__ = ["EMBEDS", "KomboEmbed"]
