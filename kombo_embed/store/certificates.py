"""The TLS of connections to PostgreSQL, as far as asyncpg does not read it from its URL."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kombo_embed.database_url import SYSTEM_ROOTS, VERIFYING
from kombo_embed.errors import ConfigurationError

FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
DEFAULT_ROOTS = Path("~/.postgresql/root.crt")  # libpq's, which asyncpg reads


def verify_certificates(tls: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` if a file is missing that the URL names or needs."""
    for name in FILES:
        file = tls.get(name, SYSTEM_ROOTS)
        if file != SYSTEM_ROOTS and not Path(file).is_file():
            raise ConfigurationError(
                f"kombo-embed cannot start: the file of {name} in KOMBO_DATABASE_URL does not exist: {file}"
            )
    has_roots = "sslrootcert" in tls or "PGSSLROOTCERT" in os.environ
    if tls.get("sslmode") in VERIFYING and not has_roots and not DEFAULT_ROOTS.expanduser().is_file():
        raise ConfigurationError(
            f"kombo-embed cannot start: sslmode={tls['sslmode']} in KOMBO_DATABASE_URL needs the certificate "
            "of the server's authority: add sslrootcert=/path/to/root.crt, or sslrootcert=system for the "
            "authorities that the operating system trusts."
        )


def tls_arguments(tls: Mapping[str, str]) -> dict[str, Any]:
    """Return asyncpg's arguments for ``sslrootcert=system``, which it does not know; else none."""
    if tls.get("sslrootcert") != SYSTEM_ROOTS:
        return {}
    context = ssl.create_default_context()
    if "sslcert" in tls:
        context.load_cert_chain(tls["sslcert"], tls.get("sslkey"), password=tls.get("sslpassword", ""))
    return {"ssl": context}
