"""A failed mint, as it is told to those in other processes that waited for it."""

from __future__ import annotations

import json

from kombo_embed.errors import (
    IntegrationNotFound,
    KomboEmbedError,
    KomboInvalidResponse,
    KomboRateLimited,
    KomboRejected,
    KomboTimeout,
    KomboUnavailable,
    RateLimited,
    StoreUnavailable,
)

KINDS = {
    kind.__name__: kind
    for kind in (
        IntegrationNotFound,
        KomboInvalidResponse,
        KomboRateLimited,
        KomboRejected,
        KomboTimeout,
        KomboUnavailable,
        RateLimited,
        StoreUnavailable,
    )
}


def write(error: BaseException) -> bytes:
    """The failure, or nothing where it says nothing to others: they try themselves."""
    kind = type(error).__name__
    if KINDS.get(kind) is not type(error):
        return b""
    return json.dumps({"kind": kind, "message": str(error), "more": vars(error)}).encode()


def read(value: bytes | None) -> KomboEmbedError:
    """The failure that `write` wrote; of what cannot be read, only that there was one."""
    try:
        told = json.loads(value or b"")
        return KINDS[told["kind"]](told["message"], **told["more"])
    except (ValueError, KeyError, TypeError):
        return KomboUnavailable("Another process could not mint this link.", retry_after=1)
