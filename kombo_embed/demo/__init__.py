"""A small product with kombo-embed built in: an example to read, and the app of ``kombo-embed demo``.

`create_app` returns the host app, written as yours would be, with public names only; `run` serves it beside
the local sandbox.
"""

from kombo_embed.demo.app import create_app
from kombo_embed.demo.server import run

__all__ = ["create_app", "run"]
