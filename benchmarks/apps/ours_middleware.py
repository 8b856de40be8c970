"""kombo-embed as middleware with a path, behind a session login."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware

from benchmarks.apps.login import end_user, session_middleware
from kombo_embed import KomboEmbed, KomboEmbedMiddleware


def create_app() -> Starlette:
    """The host app."""
    embed = KomboEmbed(end_user=end_user)
    serving = Middleware(KomboEmbedMiddleware, embed=embed, path="/kombo")
    return Starlette(middleware=[session_middleware(), serving])
