"""The constant route behind joserfc alone: the signature, issuer, audience and times of a bearer token."""

from __future__ import annotations

import json
import os

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.apps.starlette_constant import CONSTANT
from benchmarks.wire import LINKS

ALGORITHMS = ["RS256"]


def create_app() -> Starlette:
    """The app; ``BENCH_KEY_SET`` is the issuer's key set."""
    keys = KeySet.import_key_set(json.loads(os.environ["BENCH_KEY_SET"]))
    claims = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": os.environ["BENCH_ISSUER"]},
        aud={"essential": True, "value": os.environ["BENCH_AUDIENCE"]},
        exp={"essential": True},
    )

    async def links(request: Request) -> Response:
        try:
            token = jwt.decode(
                request.headers["authorization"].removeprefix("Bearer "), keys, algorithms=ALGORITHMS
            )
            claims.validate(token.claims)
        except (JoseError, KeyError, ValueError):
            return JSONResponse({"code": "unauthenticated"}, status_code=401)
        return JSONResponse(CONSTANT)

    return Starlette(routes=[Route(LINKS, links, methods=["POST"])])
