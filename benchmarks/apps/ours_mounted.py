"""kombo-embed as ``install`` mounts it, behind a session login."""

from __future__ import annotations

from starlette.applications import Starlette

from benchmarks.apps.login import end_user, session_middleware
from kombo_embed import KomboEmbed


def create_app() -> Starlette:
    """The host app."""
    app = Starlette(middleware=[session_middleware()])
    KomboEmbed(end_user=end_user).install(app)
    return app
