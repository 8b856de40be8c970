"""Request bodies: bytes become JSON here."""

import json

from starlette.requests import Request

from kombo_embed.sandbox.errors import InputInvalid


async def read_json(request: Request) -> object:
    """Read a body that has to be declared as JSON.

    Raises:
        InputInvalid: another content type, or no JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InputInvalid("The Content-Type must be application/json.")
    return parse_json(await request.body())


def parse_json(raw: bytes) -> object:
    """Turn bytes into JSON.

    Raises:
        InputInvalid: no JSON, or nested too deep to be read.
    """
    try:
        parsed: object = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputInvalid("The request body is not valid JSON.") from error
    return parsed
