"""The browser module, as it was built from ``frontend_snippet/`` into this installation."""

from __future__ import annotations

import logging
from importlib import resources
from importlib.resources.abc import Traversable

logger = logging.getLogger("kombo_embed.web")

BROWSER_MODULE = resources.files("kombo_embed") / "web/static/kombo-embed.js"


def load_browser_module(file: Traversable = BROWSER_MODULE) -> bytes | None:
    """Return the browser module, or None if this installation was built without npm."""
    if file.is_file():
        return file.read_bytes()
    remedy = "install Node.js, then install kombo-embed again"
    logger.warning("browser_module.missing", extra={"remedy": remedy})
    return None
