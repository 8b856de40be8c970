"""Removes secrets from bodies and paths, for the request log that the sandbox's page shows."""

import json
import re
from collections.abc import Callable, Iterable
from functools import partial

REDACTED = "[redacted]"
_TOO_DEEP = "[nested too deeply to be shown]"
_DEEPEST = 20

_SECRET_NAME = re.compile(
    r"(link|token|secret|password|credentials|key|authorization|signature|cookie)$", re.IGNORECASE
)
_SECRETS = re.compile(
    r"[\w-]{16,}\.[\w-]{16,}\.[\w-]{16,}"  # a JWT, or what has its shape
    r"|[A-Za-z0-9_-]{40,}"  # an opaque token
    r"|(?<=bearer )\S+",
    re.IGNORECASE | re.ASCII,
)
_SECRET_PARAMETER = re.compile(r"([?&][^=&\s]*(?:token|key|secret|signature)=)[^&\s\"']+", re.IGNORECASE)
_ACTIVATION_TOKEN = re.compile(r"(/integration-by-token/).+")


def redact_body(body: bytes, *, secrets: Iterable[str] = ()) -> str:
    """Return a body as readable text without secrets: JSON indented, by names and by form; else by form.

    ``secrets`` are texts that are removed wherever they are.
    """
    clean = partial(redact_text, secrets=tuple(secrets))
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return clean(body.decode("utf-8", "replace"))
    text = json.dumps(_redact_value(value, clean, depth=0), indent=2, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()  # JSON may contain half a character


def redact_path(path: str) -> str:
    """Return the path of a call without the activation token, or what else looks like a secret."""
    return redact_text(_ACTIVATION_TOKEN.sub(r"\1{token}", path))


def redact_text(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Return a text without these secrets, and without what has the form of one."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    text = _SECRET_PARAMETER.sub(rf"\1{REDACTED}", text)
    return _SECRETS.sub(REDACTED, text)


def _redact_value(value: object, clean: Callable[[str], str], *, depth: int) -> object:
    if depth > _DEEPEST:
        return _TOO_DEEP
    deeper = partial(_redact_value, clean=clean, depth=depth + 1)
    match value:
        case dict():
            return {clean(name): _redact_named(name, entry, deeper) for name, entry in value.items()}
        case list():
            return [deeper(entry) for entry in value]
        case str():
            return clean(value)
    return value


def _redact_named(name: str, value: object, deeper: Callable[[object], object]) -> object:
    is_secret = _SECRET_NAME.search(name) and value is not None and not isinstance(value, bool)
    return REDACTED if is_secret else deeper(value)
