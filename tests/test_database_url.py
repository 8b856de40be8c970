"""The spellings of KOMBO_DATABASE_URL, and what becomes of them in asyncpg's own parser."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from kombo_embed.database_url import PostgresUrl, SqliteUrl, parse


def postgres_url(url: str) -> PostgresUrl:
    parsed = parse(url)
    assert isinstance(parsed, PostgresUrl)
    return parsed


def authority(url: str) -> str:
    parts = urlsplit(postgres_url(url).dsn)
    return f"{parts.netloc}{parts.path}"


def parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(postgres_url(url).dsn).query))


@pytest.mark.parametrize(
    "scheme",
    ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2", "POSTGRES"],
)
def test_every_scheme_of_postgresql_means_our_driver(scheme: str) -> None:
    assert authority(f"{scheme}://ada:secret@db.internal:5433/app") == "ada:secret@db.internal:5433/app"


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
def test_every_scheme_of_sqlite_means_a_file(scheme: str) -> None:
    assert parse(f"{scheme}:///kombo.db") == SqliteUrl("sqlite+aiosqlite:///kombo.db")
    absolute = parse(f"{scheme}:////var/lib/kombo.db")
    assert isinstance(absolute, SqliteUrl)
    assert absolute.file == Path("/var/lib/kombo.db")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:kombo.db",
        "sqlite://kombo.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:///file:kombo?mode=memory",
        "sqlite+pysqlite:///kombo.db",
        "mysql://ada:secret@host/db",
        "kombo.db",
        "",
    ],
)
def test_what_is_neither_a_file_nor_postgresql_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite\+aiosqlite:///path/to/file.db"):
        parse(url)


# As the providers' documentation and dashboards print them.
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alex:AbC123@ep-cool-a1-pooler.us-east-2.aws.neon.tech/db?sslmode=require&channel_binding=require",
        "postgres://alex:AbC123@ep-cool-a1.us-east-2.aws.neon.tech/db?sslmode=require&options=endpoint%3Dep-cool-a1",
        "postgres://postgres.ref:secret@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true",
        "postgresql://postgres:secret@db.ref.supabase.co:5432/postgres",
        "postgres://user:secret@ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:5432/d1b2",
        "postgresql://ada:secret@kombo.abc.eu-central-1.rds.amazonaws.com:5432/db?sslmode=verify-full&sslrootcert=/a.pem",
        "postgresql://ada:secret@dpg-abc-a.frankfurt-postgres.render.com/db_1a2b",
        "postgres://postgres:secret@app-db.flycast:5432/app?sslmode=disable",
        "postgresql://doadmin:secret@db-1.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
        "postgresql://ada%40server:secret@server.postgres.database.azure.com:5432/postgres?sslmode=require",
        "postgresql://ada:secret@localhost/db?host=/cloudsql/project:europe-west1:instance",
        "postgresql://ada:secret@one:26257,two:26257/db?target_session_attrs=read-write&connect_timeout=10",
        "postgresql://ada:secret@h/db?application_name=billing&keepalives=1&keepalives_idle=30&client_encoding=utf8",
        "postgresql:///db?host=/var/run/postgresql",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/db",
        "postgresql:///?dbname=db&host=[::1]",
        "postgresql:///?service=kombo",
    ],
)
def test_the_urls_of_hosting_providers_and_of_libpq_are_read(url: str) -> None:
    assert postgres_url(url).dsn.startswith("postgresql://")


def test_reserved_characters_reach_the_driver_encoded() -> None:
    password = "p@:/?#[] %é+&="
    encoded = "p%40%3A%2F%3F%23%5B%5D%20%25%C3%A9%2B%26%3D"
    for spelling in (encoded, "p@:%2F%3F%23[]%20%25é+&="):
        parts = urlsplit(postgres_url(f"postgresql://a%2Fda:{spelling}@host/my%2Fdb").dsn)
        assert unquote(parts.password or "") == password
        assert unquote(parts.username or "") == "a/da"
        assert (parts.hostname, parts.path) == ("host", "/my%2Fdb")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:secret/x@host/db",
        "postgresql://ada:secret?x@host/db",
        "postgresql://ada:secret?sslmode=x@host/db",
        "postgresql://ada:secret#x@host/db",
        "postgresql://ada:secret @host/db",
        "postgresql://ada:secret@host",
        "postgresql://ada:secret@host:0/db",
        "postgresql://ada:secret@host:70000/db",
        "postgresql://ada:secret@host:port/db",
        "postgresql://ada:secret@one,/db",
        "postgresql://ada:secret@[::1/db",
        "postgresql://ada:secret@/db?host=one:99999",
        "postgresql://ada:secret@/db?port=99999",
        "postgresql:ada:secret@host/db",
        "postgresql://",
    ],
)
def test_an_incomplete_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="must be a complete URL") as caught:
        parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("connection_limit=1&schema=x", "cannot be used: connection_limit, schema$"),
        ("secret%20word=1", "cannot be used: their names may be a part of the password$"),
        ("password=not-encoded&secret", "cannot be used: their names may be a part of the password$"),
        (
            "password=not-encoded&secret=1&schema=x",
            "cannot be used: their names may be a part of the password$",
        ),
        (
            "sslmode=sometimes",
            "sslmode: it must be one of allow, disable, prefer, require, verify-ca, verify-full$",
        ),
        ("ssl=yes", "for the parameter ssl"),
        ("target_session_attrs=writer", "parameter target_session_attrs: it must be one of any, "),
        ("connect_timeout=soon", "for the parameter connect_timeout"),
        ("statement_cache_size=", "for the parameter statement_cache_size"),
        ("client_encoding=latin1", "for the parameter client_encoding"),
        ("gssencmode=require", "for the parameter gssencmode"),
        ("sslmode=disable&channel_binding=require", "contradicts sslmode=disable"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(query: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse(f"postgresql://ada:secret@host/db?{query}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_every_sslmode_reaches_the_driver(mode: str) -> None:
    url = f"postgresql://ada@host/db?sslmode={mode}&sslrootcert=/root.crt&sslcert=/c&sslkey=/k"
    assert parameters(url)["sslmode"] == mode
    assert parameters(url)["sslrootcert"] == "/root.crt"
    assert parameters(f"postgresql+asyncpg://ada@host/db?ssl={mode}")["sslmode"] == mode


def test_required_channel_binding_becomes_a_verified_certificate() -> None:
    given = parameters("postgresql://ada@host/db?sslmode=require&channel_binding=require")
    assert (given["sslmode"], given["sslrootcert"]) == ("verify-full", "system")
    own = parameters("postgresql://ada@host/db?channel_binding=require&sslrootcert=/root.crt")
    assert (own["sslmode"], own["sslrootcert"]) == ("verify-full", "/root.crt")
    assert "channel_binding" not in given
    assert "sslmode" not in parameters("postgresql://ada@host/db?channel_binding=prefer")


def test_the_parameters_of_the_session_reach_the_driver_and_name_the_application() -> None:
    given = parameters("postgresql://ada@host/db?options=-csearch_path%3Dkombo")
    assert given == {"application_name": "kombo-embed", "options": "-csearch_path=kombo"}
    assert parameters("postgresql://ada@host/db?application_name=mine")["application_name"] == "mine"


def test_a_host_in_the_parameters_wins_as_in_libpq() -> None:
    assert authority("postgresql://ada@localhost/db?host=/cloudsql/a:b:c") == "ada@/db"
    assert parameters("postgresql://ada@/db?host=one:5432&host=two:5433")["host"] == "one:5432,two:5433"
    assert parameters("postgresql://ada@:5433/db")["port"] == "5433"


def test_timeouts_are_numbers_and_poolers_keep_no_statements() -> None:
    url = postgres_url("postgresql://ada@host/db?connect_timeout=3&command_timeout=9.5")
    assert (url.connect_timeout_seconds, url.command_timeout_seconds) == (3, 9.5)
    assert url.cache_statements
    assert postgres_url("postgresql://ada@host/db?connect_timeout=0").connect_timeout_seconds is None
    for query in ("pgbouncer=true", "statement_cache_size=0", "prepared_statement_cache_size=0"):
        assert not postgres_url(f"postgresql://ada@host/db?{query}").cache_statements


def test_neither_password_nor_certificates_are_in_the_repr() -> None:
    url = postgres_url("postgresql://ada:secret@host/db?sslpassword=hush-hush&password=other-secret")
    assert "secret" not in repr(url)
    assert "hush-hush" not in repr(url)
