"""TLS to PostgreSQL, as ``sslmode`` and its companions ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from kombo_embed.errors import ConfigurationError, StoreUnavailable
from tests.postgres import PostgresServer, find_binaries, running_postgres
from tests.store.samples import opened_database, opened_store, read
from tests.support import free_port

TLS_IN_USE = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


def make_certificate() -> tuple[bytes, bytes]:
    """Return a certificate for localhost that is its own authority, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


CERTIFICATE, KEY = make_certificate()
ANOTHER_CERTIFICATE, _ = make_certificate()


@pytest.fixture(autouse=True)
def certificate_files(clean_environment: None) -> None:
    """Write the files into the working directory of the test."""
    del clean_environment
    Path("root.crt").write_bytes(CERTIFICATE)
    Path("other.crt").write_bytes(ANOTHER_CERTIFICATE)


@pytest.fixture(scope="module")
def port(postgres: PostgresServer) -> Iterator[str]:
    """The port of a server that offers TLS; its database is ``kombo_1``."""
    del postgres  # skips without one
    binaries = find_binaries()
    assert binaries is not None
    port = str(free_port())
    options = {"port": port, "listen_addresses": "localhost", "ssl": "on"}
    with running_postgres(
        binaries, options=options, files={"server.crt": CERTIFICATE, "server.key": KEY}
    ) as server:
        server.create_database()
        yield port


async def uses_tls(port: str, query: str, *, host: str = "localhost") -> bool:
    async with opened_database(f"postgresql://kombo@{host}:{port}/kombo_1?{query}") as database:
        return bool(await read(database, TLS_IN_USE))


@pytest.mark.parametrize(
    ("query", "encrypted"),
    [
        ("", True),
        ("sslmode=disable", False),
        ("sslmode=allow", False),
        ("sslmode=prefer", True),
        ("sslmode=require", True),
        ("sslmode=verify-ca&sslrootcert=root.crt", True),
        ("sslmode=verify-full&sslrootcert=root.crt", True),
        ("sslmode=require&channel_binding=require&sslrootcert=root.crt", True),
        ("ssl=require", True),
    ],
)
async def test_every_sslmode_is_as_in_libpq(port: str, query: str, *, encrypted: bool) -> None:
    assert await uses_tls(port, query) is encrypted


@pytest.mark.parametrize(
    ("query", "host"),
    [
        ("sslmode=verify-ca&sslrootcert=other.crt", "localhost"),
        ("sslmode=verify-full&sslrootcert=other.crt", "localhost"),
        ("sslmode=verify-full&sslrootcert=root.crt", "127.0.0.1"),
        ("sslmode=verify-full&sslrootcert=system", "localhost"),
        ("sslmode=require&channel_binding=require", "localhost"),
    ],
)
async def test_a_certificate_that_cannot_be_verified_is_refused_with_the_remedy(
    port: str, query: str, host: str
) -> None:
    with pytest.raises(StoreUnavailable, match=r"sslrootcert=/path/to/root\.crt"):
        await uses_tls(port, query, host=host)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (
            "sslmode=verify-full&sslrootcert=missing.crt",
            "the file of sslrootcert .* does not exist: missing.crt",
        ),
        ("sslcert=missing.crt", "the file of sslcert .* does not exist"),
        ("sslmode=verify-full", "add sslrootcert=/path/to/root.crt, or sslrootcert=system"),
    ],
)
async def test_a_missing_certificate_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, query: str, reason: str
) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    with pytest.raises(ConfigurationError, match=reason):
        async with opened_store(f"postgresql://ada:hush-hush@localhost:1/db?{query}"):
            pass
