"""kombo-embed mounted, with the login that ``KOMBO_AUTH`` chooses."""

from __future__ import annotations

import os

from starlette.applications import Starlette

from benchmarks.apps.login import session_middleware
from kombo_embed import KomboEmbed


def create_app() -> Starlette:
    """The host app."""
    by_session = os.environ["KOMBO_AUTH"] == "session"
    app = Starlette(middleware=[session_middleware()] if by_session else [])
    KomboEmbed().install(app)
    return app
