"""Finds what is unsafe about a deployment without calling anything: in the settings, the process, its mounts.

`kombo-embed check` prints every finding; a start logs the unsafe ones.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from kombo_embed import database_url
from kombo_embed.database_url import SqliteUrl
from kombo_embed.errors import KomboEmbedError
from kombo_embed.kombo import webhooks
from kombo_embed.settings import Settings, near_miss_variables
from kombo_embed.urls import is_loopback

BROWSER_MODULES = ("kombo-embed.js", "kombo-integrations.js")
logger = logging.getLogger("kombo_embed")

MOUNTS = Path("/proc/mounts")  # Linux; on other systems the file system is unknown
# SQLite's WAL needs shared memory and locks that these do not provide between machines (sqlite.org/wal.html).
NETWORK_FILE_SYSTEMS = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.ceph-fuse"),
}
SERVERS = {"fastapi", "granian", "gunicorn", "hypercorn", "uvicorn"}
WORKERS_OPTION = re.compile(r"(?:^|\s)(?:--workers[= ]|-w[= ]?)(\d{1,4})(?=\s|$)")
PROBE = b'{"id": "probe", "type": "probe", "data": {}}'
WORKERS_VARIABLES = ("WEB_CONCURRENCY", "GRANIAN_WORKERS", "UVICORN_WORKERS")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, which ``id`` names. What is ok has no remedy."""

    id: str
    level: Literal["ok", "warning", "error"]
    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The environment variables, the command line, and the kernel's table of mounts (proc(5))."""

    environ: Mapping[str, str] = field(repr=False)
    arguments: Sequence[str] = field(repr=False)
    mounts: str = ""


def read_surroundings() -> Surroundings:
    """Return the surroundings of this process."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        mounts = ""
    return Surroundings(os.environ, sys.argv, mounts)


def inspect(settings: Settings, surroundings: Surroundings) -> list[Finding]:
    """Return the findings of every check that needs no call; the unsafe ones are warnings."""
    return [
        *_inspect_webhook_secret(settings),
        *_inspect_origins(settings),
        _inspect_workers(settings, surroundings),
        *_inspect_file_system(settings, surroundings),
    ]


def warn(settings: Settings) -> None:
    """Log what is unsafe or has no effect, at a start."""
    if not settings.is_private:
        logger.warning("settings.api_key_unencrypted", extra={"variable": f"{settings.prefix}API_URL"})
    for variable, effect in settings.clamped.items():
        logger.warning("settings.clamped", extra={"variable": variable, "effective": effect})
    for name, meant in near_miss_variables(settings.prefix):
        logger.warning("settings.unknown_variable", extra={"variable": name, "did_you_mean": meant})
    for finding in inspect(settings, read_surroundings()):
        fields = {"finding": finding.id, "reason": finding.message, "remedy": finding.remedy}
        if finding.id == "webhook_secret" and not settings.webhook_secret:
            variable = f"{settings.prefix}WEBHOOK_SECRET"
            logger.warning("webhooks.not_configured", extra={"variable": variable, "remedy": finding.remedy})
        elif finding.level != "ok":
            logger.warning("deployment.unsafe", extra=fields)


def _inspect_webhook_secret(settings: Settings) -> Iterator[Finding]:
    variable = f"{settings.prefix}WEBHOOK_SECRET"
    secrets = [secret.get_secret_value() for secret in settings.webhook_secret]
    if not secrets:
        yield Finding(
            "webhook_secret",
            "warning",
            f"{variable} is not set: webhooks are refused, so what end users connect is lost if they close "
            "the tab early.",
            f"Add a webhook in Kombo's dashboard, and set {variable} to its secret.",
        )
    for number, secret in enumerate(secrets, start=1):
        try:
            webhooks.verify_signature(PROBE, webhooks.sign(PROBE, secret), secrets)
        except KomboEmbedError as error:
            message = f"A webhook signed with secret {number} of {variable} is refused: {error}"
            yield Finding(
                "webhook_secret", "error", message, f"Copy it from Kombo's dashboard to {variable}."
            )
        else:
            message = f"A webhook signed with secret {number} of {variable} is accepted."
            yield Finding("webhook_secret", "ok", message)


def _inspect_origins(settings: Settings) -> Iterator[Finding]:
    variable = f"{settings.prefix}ALLOWED_ORIGINS"
    insecure = [origin for origin in settings.allowed_origins if _is_insecure(origin)]
    for origin in insecure:
        yield Finding(
            "origins",
            "warning",
            f"{variable} has {origin}: anyone who can change that page's traffic can act as its end user.",
            f"Serve that page over https and write https:// in {variable}.",
        )
    if not insecure:
        origins = ", ".join(settings.allowed_origins) or "the same origin only"
        yield Finding("origins", "ok", f"Pages that may call: {origins}.")


def _is_insecure(origin: str) -> bool:
    parts = urlsplit(origin)
    host = parts.hostname or ""
    return parts.scheme == "http" and not is_loopback(host) and not host.endswith(".localhost")


def _inspect_workers(settings: Settings, surroundings: Surroundings) -> Finding:
    variable, count = f"{settings.prefix}REDIS_URL", count_workers(surroundings)
    if count == 1 or settings.redis_url is not None:
        sharing = (
            "No number of workers is set here." if count == 1 else f"{count} workers share links in Redis."
        )
        return Finding("workers", "ok", sharing)
    return Finding(
        "workers",
        "warning",
        f"{count} worker processes without {variable}: each mints links of its own, and each counts the rate "
        "limits for itself.",
        f"Set {variable}, or run one worker.",
    )


def count_workers(surroundings: Surroundings) -> int:
    """Return how many worker processes the command line of a known server or the environment asks for."""
    environ = surroundings.environ
    program, *options = surroundings.arguments or [""]
    path = Path(program)
    name = path.parent.name if path.name == "__main__.py" else path.stem
    asked = WORKERS_OPTION.findall(" ".join(options)) if name in SERVERS else []
    if not asked:
        asked = [environ[variable] for variable in WORKERS_VARIABLES if environ.get(variable)]
        asked += WORKERS_OPTION.findall(environ.get("GUNICORN_CMD_ARGS", ""))
    return max([1, *(int(number) for number in asked if number.isdecimal())])


def _inspect_file_system(settings: Settings, surroundings: Surroundings) -> Iterator[Finding]:
    url = database_url.parse(settings.database_url.get_secret_value())
    if not isinstance(url, SqliteUrl):
        return
    kind = _file_system_of(url.file.resolve(), surroundings.mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        yield Finding(
            "database",
            "warning",
            f"The SQLite file {url.file} is on a network file system ({kind}), where SQLite can lose data.",
            f"Move it to a local disk, or set {settings.prefix}DATABASE_URL to a PostgreSQL database.",
        )


def _file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds a path; "" if it is unknown."""
    deepest, kind = -1, ""
    for line in mounts.splitlines():
        _, place, mounted, *_ = [*line.split(" "), "", "", ""]
        # Spaces and the like are octal in this table.
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place))
        depth = len(point.parts)
        if depth >= deepest and path.is_relative_to(point):  # of several at one place, the last is visible
            deepest, kind = depth, mounted
    return kind


def inspect_browser_modules() -> Finding:
    """Return whether this installation has its browser modules."""
    folder = resources.files("kombo_embed") / "web/static"
    missing = [name for name in BROWSER_MODULES if not (folder / name).is_file()]
    if not missing:
        return Finding("browser_modules", "ok", "The browser modules are installed.")
    return Finding(
        "browser_modules",
        "warning",
        f"kombo-embed was installed without npm, so {' and '.join(missing)} is missing and gives 404.",
        "Install Node.js 20.19 or newer with npm, then install kombo-embed again.",
    )


def inspect_variables(settings: Settings, surroundings: Surroundings) -> Iterator[Finding]:
    """Yield the variables that are misspelled, out of range, or in quotes."""
    findings = [
        *(
            Finding("variables", "warning", f"{name} is not a setting.", f"Did you mean {meant}? Rename it.")
            for name, meant in near_miss_variables(settings.prefix)
        ),
        *(
            Finding(
                "variables",
                "warning",
                f"{variable} is outside of the possible range; the effective value is {value:g}.",
                f"Set {variable} to {value:g}, or remove it.",
            )
            for variable, value in settings.clamped.items()
        ),
        *inspect_quotes(settings.prefix, surroundings),
    ]
    yield from findings or [Finding("variables", "ok", "No variable is misspelled or out of range.")]


def inspect_quotes(prefix: str, surroundings: Surroundings) -> Iterator[Finding]:
    """Yield the values in quotes, which shells and ``.env`` remove, but not Docker's environment files."""
    for name, value in surroundings.environ.items():
        if name.upper().startswith(prefix) and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            message = f"{name} begins and ends with a quote, which is part of its value."
            yield Finding("variables", "warning", message, f"Remove the quotes from {name}.")
