"""A Kombo that answers at once, or after a delay, and counts its calls.

Its paths: Kombo's below ``/<run>/<delay in ms>/v1``, ``/calls/<run>``, and ``/jwks`` of an issuer of tokens.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

LINK = "https://connect.kombo.dev/?token={number:09}." + "x" * 656  # 700 bytes


def create_app() -> ASGIApp:
    """Return the fake Kombo."""
    calls: Counter[str] = Counter()
    numbers = itertools.count()

    async def answer(path: list[str]) -> bytes:
        match path:
            case ["", "jwks"]:
                return os.environ["BENCH_KEY_SET"].encode()
            case ["", "calls", run]:
                return b"%d" % calls[run]
            case ["", run, delay_ms, "v1", *what]:
                calls[run] += 1
                await asyncio.sleep(int(delay_ms) / 1000)
                return json.dumps({"status": "success", "data": _data(what, next(numbers))}).encode()
        raise LookupError("/".join(path))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError("there is no lifespan")
        while (await receive()).get("more_body"):
            pass
        body = await answer(scope["path"].split("/"))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _data(what: list[str], number: int) -> dict[str, object]:
    match what:
        case ["connect", "integration-by-token", token]:
            owner = {"end_user_origin_id": token.partition(".")[0], "setup_status": "INCOMPLETE"}
            return {"id": f"personio:{token}", "tool": "personio", **owner}
        case ["integrations", integration_id]:
            origin_id = integration_id.removeprefix("personio:").partition(".")[0]
            state = {"category": "HRIS", "status": "ACTIVE", "setup_status": "COMPLETED"}
            return {
                "id": integration_id,
                "tool": {"id": "personio"},
                "end_user": {"origin_id": origin_id},
                **state,
            }
    return {"link": LINK.format(number=number)}
