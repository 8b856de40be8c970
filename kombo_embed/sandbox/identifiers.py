"""Ids and tokens in the shapes that Kombo's documentation shows. None of them carries a meaning."""

import base64
import secrets

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_JWT_HEADER = b'{"alg":"HS256","typ":"JWT"}'
_LINK_TEXT = b"There is nothing to read in here: a connection link is opaque, even where it looks like a JWT."
_ACTIVATION_TEXT = b'{"message":"This token is opaque, too."}'


def new_id() -> str:
    """Make an id such as Kombo gives to events: 24 base58 characters."""
    return "".join(secrets.choice(BASE58) for _ in range(24))


def new_integration_id(tool: str) -> str:
    """Make an integration id, such as ``personio:CBNMt7dSNCzBdnRTx87dev4E``."""
    return f"{tool}:{new_id()}"


def new_link_token(*, opaque: bool) -> str:
    """Make a link's token: like the create-link page's JWT, or like the setup-link page's 48 characters.

    The payload of the documented JWT is a sentence and no JSON; so is this one.
    """
    if opaque:
        return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(48))
    return _jwt_looking(_LINK_TEXT)


def new_activation_token() -> str:
    """Make what the browser SDK's promise resolves to."""
    return _jwt_looking(_ACTIVATION_TEXT)


def _jwt_looking(payload: bytes) -> str:
    return ".".join(_base64url(part) for part in (_JWT_HEADER, payload, secrets.token_bytes(32)))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
