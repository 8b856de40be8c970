"""Parses KOMBO_DATABASE_URL in the spellings of SQLAlchemy, libpq and hosting providers. Never connects.

The messages quote nothing of the URL but the names of parameters: it holds a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

SQLITE = "sqlite+aiosqlite:///path/to/file.db"
POSTGRESQL = "postgresql+asyncpg://user:password@host/database"
INCOMPLETE = (
    f"must be a complete URL, with # / ? : @ and spaces in the password percent-encoded: {POSTGRESQL}"
)
APPLICATION_NAME = "kombo-embed"
PORT_MAX = 65_535
URL = re.compile(
    r"(?P<scheme>[a-z+0-9]+)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(\?(?P<query>[^#]*))?", re.IGNORECASE
)
HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^:\[\]]*)(:(?P<port>\d{1,5}))?")
TRUE = {"true", "1", "on", "yes"}
FALSE = {"false", "0", "off", "no"}
WHOLE = r"\d{1,9}"
NUMBER = r"\d{1,9}(\.\d{1,9})?"
SYSTEM_ROOTS = "system"  # libpq's word for the operating system's authorities
LISTS = {"host", "port"}
VERIFYING = {"verify-ca", "verify-full"}
SSL_MODES = "disable|allow|prefer|require|verify-ca|verify-full"
# The parameters and their values; libpq's: www.postgresql.org/docs/current/libpq-connect.html
PARAMETERS = {
    # asyncpg's, as in libpq.
    **dict.fromkeys(("host", "user", "password", "dbname", "database", "passfile", "service"), ".+"),
    **dict.fromkeys(("sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword"), ".+"),
    **dict.fromkeys(("krbsrvname", "application_name", "options"), ".+"),
    **dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), r"TLSv1(\.[123])?"),
    "port": rf"{WHOLE}(,{WHOLE})*",
    "sslmode": SSL_MODES,
    "sslnegotiation": "postgres|direct",
    "target_session_attrs": "any|primary|standby|prefer-standby|read-write|read-only",
    "gsslib": "gssapi|sspi",
    # Those that are not passed on, but translated.
    "ssl": f"true|false|{SSL_MODES}",
    "channel_binding": "disable|prefer|require",
    "connect_timeout": rf"-?{WHOLE}",
    "timeout": NUMBER,
    "command_timeout": NUMBER,
    "pgbouncer": "|".join(TRUE | FALSE),
    **dict.fromkeys(("statement_cache_size", "prepared_statement_cache_size"), WHOLE),
}
# Parameters that asyncpg has no use for, and the values with which that changes nothing.
IGNORED = {
    **dict.fromkeys(("max_cached_statement_lifetime", "max_cacheable_statement_size"), WHOLE),
    **dict.fromkeys(("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"), ".*"),
    **dict.fromkeys(("tcp_user_timeout", "sslsni", "fallback_application_name"), ".*"),
    "client_encoding": "(?i:auto|utf-?8)",
    "gssencmode": "disable|prefer",
    "sslcompression": "0",
}


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A SQLite file; ``url`` is SQLAlchemy's."""

    url: str

    @property
    def file(self) -> Path:
        """Return the file's absolute path; a relative one begins in the working directory."""
        return Path(self.url.partition(":///")[2]).absolute()


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A PostgreSQL database.

    ``dsn`` is libpq's URL as asyncpg reads it, and ``tls`` holds its TLS parameters. ``cache_statements``:
    prepared statements may be kept, unless a pooler is detected.
    """

    dsn: str = field(repr=False)
    user: str  # "" if libpq's defaults name it
    tls: Mapping[str, str] = field(repr=False)
    connect_timeout_seconds: float | None
    command_timeout_seconds: float | None
    cache_statements: bool


def parse(url: str) -> SqliteUrl | PostgresUrl:
    """Return the parts of a database URL; raise `ValueError` with the reason if it cannot be used."""
    scheme = url.partition(":")[0].lower()
    if scheme in {"sqlite", "sqlite+aiosqlite"}:
        path = url.partition(":")[2]
        if not re.fullmatch(r"///[^?#]+", path) or path.endswith("/:memory:"):
            raise ValueError(f"SQLite must be in a file: {SQLITE}")
        return SqliteUrl(f"sqlite+aiosqlite:{path}")
    if scheme == "postgres" or scheme.partition("+")[0] == "postgresql":
        return _postgresql(url)
    raise ValueError(f"must be {SQLITE} or {POSTGRESQL}")


def _postgresql(url: str) -> PostgresUrl:
    parts = URL.fullmatch(url)
    if parts is None or re.search(r"[\s\x00]", url) or _has_unencoded_password(parts):
        raise ValueError(INCOMPLETE)
    parameters = _parameters(parts["query"] or "")
    databases = [unquote(parts["path"][1:]), *(parameters.pop(name, "") for name in ("database", "dbname"))]
    database = next((name for name in reversed(databases) if name), "")
    if not database and "service" not in parameters:
        raise ValueError(INCOMPLETE)
    connect_timeout, timeout, command_timeout = (
        float(parameters.pop(name, 0)) for name in ("connect_timeout", "timeout", "command_timeout")
    )
    cache_statements = _pop_statement_caching(parameters)
    _translate_tls(parameters)
    authority = _authority(parts["authority"], parameters)
    path = f"/{quote(database, safe='')}" if database else ""
    query = urlencode({"application_name": APPLICATION_NAME} | parameters, quote_via=quote)
    return PostgresUrl(
        dsn=f"postgresql://{authority}{path}?{query}",
        user=unquote(parts["authority"].rpartition("@")[0].partition(":")[0]) or parameters.get("user", ""),
        tls={name: value for name, value in parameters.items() if name.startswith("ssl")},
        connect_timeout_seconds=max(connect_timeout, timeout) or None,
        command_timeout_seconds=command_timeout or None,
        cache_statements=cache_statements,
    )


def _has_unencoded_password(parts: re.Match[str]) -> bool:
    """Return whether a character of the password ended the authority, so that the rest follows it."""
    if "@" in parts["path"] or not parts["authority"]:
        return "@" in parts["path"]
    return "@" not in parts["authority"] and "@" in (parts["query"] or "")


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters that asyncpg or we use; several values of one are joined, as for hosts."""
    parameters: dict[str, str] = {}
    given = parse_qsl(query, keep_blank_values=True)
    _verify_names({name for name, _ in given})
    for name, value in given:
        _verify_value(name, value)
        if name in PARAMETERS:
            parameters[name] = f"{parameters[name]},{value}" if name in LISTS & parameters.keys() else value
    return parameters


def _verify_names(names: set[str]) -> None:
    unknown = names - PARAMETERS.keys() - IGNORED.keys()
    if unknown:
        # What is no word may be a part of the password, and after a password in the query so may any word.
        is_word = re.compile(r"[A-Za-z][A-Za-z_-]{0,40}").fullmatch
        words = [] if "password" in names else sorted(filter(is_word, unknown))
        hidden = "their names may be a part of the password"
        raise ValueError(f"has parameters that cannot be used: {', '.join(words) or hidden}")


def _verify_value(name: str, value: str) -> None:
    allowed = PARAMETERS.get(name, IGNORED.get(name, ""))
    if not re.fullmatch(allowed, value):
        is_list_of_words = re.fullmatch(r"[a-z|-]+", allowed)
        hint = f": it must be one of {', '.join(sorted(allowed.split('|')))}" if is_list_of_words else ""
        raise ValueError(f"has a value that cannot be used for the parameter {name}{hint}")


def _pop_statement_caching(parameters: dict[str, str]) -> bool:
    sizes = [parameters.pop(f"{name}statement_cache_size", "1") for name in ("", "prepared_")]
    return parameters.pop("pgbouncer", "false") in FALSE and all(int(size) for size in sizes)


def _translate_tls(parameters: dict[str, str]) -> None:
    """Replace the parameters that asyncpg does not have by ``sslmode`` and ``sslrootcert``."""
    ssl = parameters.pop("ssl", None)
    if ssl is not None:
        parameters.setdefault("sslmode", {"true": "require", "false": "disable"}.get(ssl, ssl))
    mode = parameters.get("sslmode", "prefer")
    if parameters.pop("channel_binding", "prefer") == "require" and mode not in VERIFYING:
        if mode == "disable":
            raise ValueError("channel_binding=require needs TLS: it contradicts sslmode=disable")
        # asyncpg has no channel binding. A verified certificate also proves that the server is the right one.
        parameters["sslmode"] = "verify-full"
        parameters.setdefault("sslrootcert", SYSTEM_ROOTS)
    if parameters.get("sslrootcert") == SYSTEM_ROOTS:
        parameters["sslmode"] = "verify-full"  # libpq refuses every other mode


def _authority(authority: str, parameters: dict[str, str]) -> str:
    """Return user, password and hosts, percent-encoded; as in libpq, the parameter ``host`` wins."""
    userinfo, at, hosts = authority.rpartition("@")
    name, colon, password = userinfo.partition(":")
    encoded = quote(unquote(name), safe="") + colon + quote(unquote(password), safe="") + at
    if "host" in parameters:
        hosts = ""
    elif re.fullmatch(r":\d+", hosts):  # a port of the default host
        parameters["port"], hosts = hosts[1:], ""
    _verify_hosts(hosts or parameters.get("host", ""))
    if not all(0 < int(port) <= PORT_MAX for port in parameters.get("port", "1").split(",")):
        raise ValueError(INCOMPLETE)
    return encoded + hosts


def _verify_hosts(hosts: str) -> None:
    names = hosts.split(",") if hosts else []
    matches = [HOST.fullmatch(name) for name in names if not name.startswith("/")]
    if not all(match and match["host"] and 0 < int(match["port"] or 1) <= PORT_MAX for match in matches):
        raise ValueError(INCOMPLETE)
