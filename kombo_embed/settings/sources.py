"""What the process environment and ``.env`` hold, and the one message about everything that is wrong with it.

The message contains no value.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.variables import parse_variables
from pydantic import ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsError

from kombo_embed.errors import ConfigurationError
from kombo_embed.urls import is_loopback

PREFIX = "KOMBO_"
KOMBO_DOMAIN = "kombo.dev"
# The settings that choose where something is sent, and the key that is sent.
DESTINATIONS = ("api_key", "api_url", "database_url", "redis_url", "oidc_issuer", "jwks_url")
EXPANDED = (
    "takes ${...} in .env from the process environment; set the whole value in one place, so that the file "
    "does not choose where secrets are sent"
)


def problems_of(error: ValidationError, prefix: str) -> dict[str, str]:
    """Return the reason for each variable that is missing or invalid."""
    problems: dict[str, str] = {}
    for detail in error.errors(include_input=False, include_url=False):
        name = prefix + str(detail["loc"][0]).upper()
        reason = detail["msg"].removeprefix("Value error, ").replace(PREFIX, prefix)
        if detail["type"] == "missing":  # only the API key has no default
            reason = "missing; it is the API key from Kombo's dashboard, page Secrets"
        problems.setdefault(name, reason)
    return problems


def invalid(prefix: str, problems: list[str]) -> ConfigurationError:
    """Return the error with these lines."""
    count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    lines = "\n".join(f"  {problem}" for problem in problems)
    source = f"environment variables {prefix}*, or .env"
    return ConfigurationError(f"kombo-embed cannot start, {count} missing or invalid ({source}):\n{lines}")


@contextmanager
def converted_errors(prefix: str) -> Iterator[None]:
    """Convert the errors of a file that cannot be read to `ConfigurationError`."""
    try:
        yield
    except SettingsError as error:
        raise invalid(prefix, [str(error)]) from None
    except UnicodeDecodeError:
        raise invalid(prefix, [".env: not UTF-8"]) from None
    except OSError as error:
        raise invalid(prefix, [f".env: cannot be read ({type(error).__name__})"]) from None


def read_env_file() -> dict[str, str | None]:
    """Return the variables of ``.env``, or raise `ConfigurationError` if it cannot be read."""
    with converted_errors(PREFIX):
        return dotenv_values(".env")


def find_near_misses(settings: Iterable[str], *, prefix: str) -> list[tuple[str, str]]:
    """Return (name, variable) for each name that almost is the variable of one of the settings.

    ``KOMBO_US_API_KEY`` is not a misspelled ``KOMBO_API_KEY``: it belongs to a second set of variables.
    """
    known = sorted(prefix + name.upper() for name in settings)
    other_sets = tuple("_" + name.removeprefix(prefix) for name in known)
    found = []
    in_file: dict[str, str | None] = {}
    with suppress(ConfigurationError):  # `Settings` reports it, unless they are not read from there
        in_file = read_env_file()
    for name in [*os.environ, *in_file]:
        upper = name.upper()
        if upper.startswith(prefix) and upper not in known and not upper.endswith(other_sets):
            match = difflib.get_close_matches(upper, known, n=1, cutoff=0.85)
            found += [(name, meant) for meant in match]
    return found


def find_redirected_key(
    settings: type[BaseSettings], values: Mapping[str, Any], *, prefix: str
) -> tuple[str, str] | None:
    """Return (variable, reason) if ``.env`` sends a key that it does not hold to a host that is not Kombo's.

    ``values`` are the arguments of the settings. A file that comes with a checkout must not receive the key
    of the machine that runs it.
    """
    file = DotEnvSettingsSource(
        settings,
        env_file=values.get("_env_file", settings.model_config.get("env_file")),
        env_file_encoding=values.get("_env_file_encoding"),
        env_prefix=prefix,
    )()
    outside = {"api_url", "api_key"} & {*values, *_process_environment(prefix)}
    if "api_url" not in file or "api_url" in outside or _is_trusted(str(file["api_url"])):
        return None
    if "api_key" not in outside and ("api_key" in file or not values.get("_secrets_dir")):
        return None
    return f"{prefix}API_URL", (
        f"is set in .env, but {prefix}API_KEY is not; set both in the same place, so that the file does not "
        "choose where the key is sent"
    )


def find_expanded(
    settings: type[BaseSettings], values: Mapping[str, Any], *, prefix: str
) -> Iterator[tuple[str, str]]:
    """Yield (variable, reason) for each destination in ``.env`` that ``${...}`` expands from the environment.

    Arguments as for `find_redirected_key`. Such a file could send any secret of the machine that runs it, in
    the path of an issuer's URL for example. Variables that the file sets itself can be used.
    """
    outside = {*values, *_process_environment(prefix)}
    files = values.get("_env_file", settings.model_config.get("env_file"))
    expanded: set[str] = set()
    for file in files if isinstance(files, list | tuple) else [files]:
        expanded |= _expanded_variables(file, values.get("_env_file_encoding"))
    for name in DESTINATIONS:
        if f"{prefix}{name}".lower() in expanded and name not in outside:
            yield f"{prefix}{name.upper()}", EXPANDED


def _expanded_variables(file: Any, encoding: str | None) -> set[str]:  # noqa: ANN401 - what pydantic accepts
    """Return the variables, in lower case, whose values the process environment is part of."""
    if file is None:
        return set()
    path, encoding = Path(file).expanduser(), encoding or "utf-8"
    alone: dict[str, str | None] = {}
    for name, value in dotenv_values(path, encoding=encoding, interpolate=False).items():
        alone[name] = value and "".join(part.resolve(alone) for part in parse_variables(value))
    expanded = dotenv_values(path, encoding=encoding)
    return {name.lower() for name, value in expanded.items() if value != alone[name]}


def _process_environment(prefix: str) -> set[str]:
    names = {name.lower() for name, value in os.environ.items() if value}
    return {name.removeprefix(prefix.lower()) for name in names if name.startswith(prefix.lower())}


def _is_trusted(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    # Over plain http the network between could read the key.
    is_kombo = host == KOMBO_DOMAIN or host.endswith(f".{KOMBO_DOMAIN}")
    return is_loopback(host) or (is_kombo and parts.scheme == "https")
