"""A small product with kombo-embed built in: the example to read, and what ``kombo-embed demo`` runs.

`create_app` is the host app, written as yours would be; `run` serves it beside the local sandbox.
"""

from kombo_embed.demo.app import create_app
from kombo_embed.demo.servers import run

__all__ = ["create_app", "run"]
