"""The app that the tests of workers run in processes of their own; environment variables misuse it.

``BLOCK_SECONDS`` blocks the event loop for so long when the person ``blocker`` signs in. ``GET /tasks``
returns the number of tasks of the event loop.
"""

from __future__ import annotations

import asyncio
import os
import time

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from kombo_embed import EndUser, KomboEmbed
from tests.support import end_user_from_header


async def end_user(connection: HTTPConnection) -> EndUser | None:
    """Return the end user of the header; block the loop first if it is the blocker."""
    if connection.headers.get("x-person", "").startswith("blocker"):
        time.sleep(float(os.environ["BLOCK_SECONDS"]))  # noqa: ASYNC251 - on purpose
    return await end_user_from_header(connection)


async def count_tasks(request: Request) -> JSONResponse:
    """Return the number of tasks that have not ended."""
    del request
    return JSONResponse(len(asyncio.all_tasks()))


app = Starlette(routes=[Route("/tasks", count_tasks)])
embed = KomboEmbed(end_user=end_user)
embed.install(app)
