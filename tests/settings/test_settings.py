from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from kombo_embed import ConfigurationError, Settings
from kombo_embed.settings import (
    RecordSettings,
    is_on_this_machine,
    near_miss_variables,
    read_mount_path,
)
from tests.support import make_host, running

KEY = "ks_dev_made-up"


def test_one_message_names_every_invalid_variable_and_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = {
        "KOMBO_REGION": "mars-value",
        "KOMBO_API_URL": "not-a-url-value",
        "KOMBO_TIMEOUT": "soon-value",
        "KOMBO_LINK_CACHE_SIZE": "0",
        "KOMBO_LINK_RATE": "20-value",
        "KOMBO_COMPLETION_RATE": "0/minute",
        "KOMBO_MOUNT_PATH": "kombo-value",
        "KOMBO_DATABASE_URL": "mysql://user:password-value@host/db",
        "KOMBO_REDIS_URL": "http://user:password-value@host/0",
        "KOMBO_LINK_ENCRYPTION_KEYS": "too-short-value",
        "KOMBO_ALLOWED_ORIGINS": "https://app.example.com/path-value",
        "KOMBO_ENABLE_FILTERING": "perhaps-value",
        "KOMBO_ALLOWED_CATEGORIES": "HRIS,PAYROLL-value",
        "KOMBO_AUTH": "guess-value",
        "KOMBO_OIDC_ISSUER": "http://login.example/issuer-value",
        "KOMBO_JWKS_URL": "ftp://login.example/keys-value",
        "KOMBO_JWT_ALGORITHMS": "RS256,HS256-value",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    message = str(caught.value)
    for name in ["KOMBO_API_KEY", *wrong]:
        assert f"{name}:" in message
    assert "18 settings" in message
    assert "-value" not in message
    assert caught.value.__cause__ is None


def test_the_process_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(f"KOMBO_API_KEY={KEY}\nKOMBO_REGION=us\nOTHER_PROGRAM=1\n", encoding="utf-8")
    monkeypatch.setenv("KOMBO_REGION", "ca")
    settings = Settings()
    assert settings.api_key.get_secret_value() == KEY
    assert settings.base_url == "https://api.ca.kombo.dev/v1"


def test_an_empty_value_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv("KOMBO_REGION", "")
    monkeypatch.setenv("KOMBO_ALLOWED_TOOLS", "")
    settings = Settings()
    assert settings.region == "eu"
    assert settings.allowed_tools == ()


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu", "https://api.kombo.dev/v1"),
        ("us", "https://api.us.kombo.dev/v1"),
        ("ca", "https://api.ca.kombo.dev/v1"),
    ],
)
def test_the_region_gives_the_base_url(region: str, url: str) -> None:
    assert Settings(api_key=KEY, region=region).base_url == url


def test_an_api_url_wins_over_the_region() -> None:
    settings = Settings(api_key=KEY, region="us", api_url="http://localhost:8001/v1/")
    assert settings.base_url == "http://localhost:8001/v1"


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv("KOMBO_WEBHOOK_SECRET", "old, new")
    monkeypatch.setenv("KOMBO_ALLOWED_TOOLS", "personio,hibob")
    monkeypatch.setenv("KOMBO_ALLOWED_ORIGINS", "https://app.example.com, http://localhost:3000")
    settings = Settings()
    assert [secret.get_secret_value() for secret in settings.webhook_secret] == ["old", "new"]
    assert settings.allowed_tools == ("personio", "hibob")
    assert settings.allowed_origins == ("https://app.example.com", "http://localhost:3000")


def test_a_second_set_of_variables_is_read_and_reported_with_its_own_prefix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv("KOMBO_US_REGION", "us")
    with pytest.raises(ConfigurationError, match="KOMBO_US_API_KEY: missing"):
        Settings(_env_prefix="KOMBO_US_")
    monkeypatch.setenv("KOMBO_US_API_KEY", "ks_dev_the-other")
    settings = Settings(_env_prefix="KOMBO_US_")
    assert settings.region == "us"
    assert settings.api_key.get_secret_value() == "ks_dev_the-other"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:///kombo_embed.db",
        "sqlite+aiosqlite:////var/lib/app/kombo_embed.db",
        "sqlite:///kombo_embed.db",
        "postgres://user:p%40ss-value@db.internal/app?sslmode=verify-full&sslrootcert=root.crt",
        "postgresql+asyncpg://user:p%40ss-value@db.internal:5432/app?ssl=require",
        "postgresql+asyncpg://user@/app?host=/var/run/postgresql",
        "postgresql+asyncpg://user:p%40ss-value@/app?host=one:5432&host=two:5432&target_session_attrs=primary",
    ],
)
def test_a_database_is_a_sqlite_file_or_postgresql(url: str) -> None:
    assert Settings(api_key=KEY, database_url=url).database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("postgresql+asyncpg://user:pass-value@host/", "must be a complete URL"),
        ("postgresql+asyncpg://user:pa#ss-value@host/db", "percent-encoded"),
        ("postgresql+asyncpg://user:pass-value@host:70000/db", "must be a complete URL"),
        (
            "postgresql+asyncpg://user:pass-value@host/db?sslmode=maybe-value",
            "parameter sslmode: it must be one",
        ),
        ("sqlite:pass-value.db", "must be in a file"),
        ("sqlite+aiosqlite://", "must be in a file"),
        ("sqlite+aiosqlite:///:memory:", "must be in a file"),
        ("mysql://user:pass-value@host/db", "must be sqlite"),
    ],
)
def test_an_unsupported_database_url_is_refused_with_a_hint_and_without_its_password(
    url: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError, match=hint) as caught:
        Settings(api_key=KEY, database_url=url)
    assert "KOMBO_DATABASE_URL" in str(caught.value)
    assert "-value" not in str(caught.value)


def test_secrets_hide_in_repr() -> None:
    settings = Settings(
        api_key=KEY, webhook_secret="hush-hush", database_url="sqlite+aiosqlite:///hidden-place.db"
    )
    assert KEY not in repr(settings)
    assert "hush" not in repr(settings)
    assert "hidden-place" not in repr(settings)


def test_the_default_category_must_be_an_allowed_one() -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_INTEGRATION_CATEGORY"):
        Settings(api_key=KEY, allowed_categories="ATS,LMS")
    with pytest.raises(ConfigurationError, match=r"KOMBO_API_KEY(.|\n)*KOMBO_ALLOWED_CATEGORIES"):
        Settings(allowed_categories="ATS,LMS")


@pytest.mark.parametrize(
    ("lifetime", "margin", "effective"),
    [(3600, 300, 300), (3, 1, 1), (3, 300, 1.5), (7200, 3600, 1800), (60, 0, 0)],
)
def test_odd_lifetimes_and_margins_are_legal_and_clamped(
    lifetime: float, margin: float, effective: float
) -> None:
    settings = Settings(api_key=KEY, link_lifetime=lifetime, link_min_remaining=margin)
    assert settings.margin_seconds == effective
    assert settings.lifetime_seconds <= 3600


@pytest.mark.parametrize(
    ("values", "clamped"),
    [
        ({}, {}),
        ({"link_lifetime": 3600, "link_min_remaining": 1800, "connect_timeout": 10}, {}),
        ({"link_lifetime": 7200}, {"KOMBO_LINK_LIFETIME": 3600}),
        ({"link_min_remaining": 3000}, {"KOMBO_LINK_MIN_REMAINING": 1800}),
        ({"link_lifetime": 3}, {"KOMBO_LINK_MIN_REMAINING": 1.5}),
        ({"timeout": 2}, {"KOMBO_CONNECT_TIMEOUT": 2}),
        ({"event_retention": 10**30}, {"KOMBO_EVENT_RETENTION": 36_500}),
        ({"audit_retention": 10**30}, {"KOMBO_AUDIT_RETENTION": 36_500}),
    ],
)
async def test_the_start_warns_of_a_value_that_is_clamped(
    values: dict[str, Any],
    clamped: dict[str, float],
    kombo: httpx.AsyncBaseTransport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, _ = make_host(kombo, **values)
    async with running(app) as client:
        assert (await client.get("/kombo/health")).status_code == 200
    records = [vars(record) for record in caplog.records if record.message == "settings.clamped"]
    assert {record["variable"]: record["effective"] for record in records} == clamped
    assert {record["levelname"] for record in records} <= {"WARNING"}


def test_an_api_key_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_API_KEY"):
        Settings(api_key="with\nnewline")


@pytest.mark.parametrize(("name", "value"), [("event_retention", "0"), ("duplicates", "sometimes")])
def test_an_invalid_retention_or_duplicates_policy_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"KOMBO_{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=f"KOMBO_{name.upper()}"):
        Settings(api_key=KEY)


def test_record_settings_need_no_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_ENVIRONMENT", "us")
    assert RecordSettings().environment == "us"
    monkeypatch.setenv("KOMBO_DATABASE_URL", "mysql://host/db")
    with pytest.raises(ConfigurationError, match="KOMBO_DATABASE_URL"):
        RecordSettings()


def test_settings_are_frozen() -> None:
    settings = Settings(api_key=KEY)
    with pytest.raises(Exception, match="frozen"):
        settings.region = "us"  # type: ignore[misc]


def test_the_mount_path_can_be_read_before_all_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_mount_path(None) == "/kombo"
    monkeypatch.setenv("KOMBO_MOUNT_PATH", "/connect/kombo/")
    assert read_mount_path(None) == "/connect/kombo"
    monkeypatch.setenv("KOMBO_MOUNT_PATH", "nonsense")
    assert read_mount_path(None) == "/kombo"


def test_the_message_about_a_missing_variable_names_the_near_miss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_API_KYE", KEY)
    with pytest.raises(ConfigurationError, match="KOMBO_API_KYE: not a setting; did you mean KOMBO_API_KEY"):
        Settings()


def test_near_misses_of_a_name_are_found_and_other_names_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KOMBO_API_KEYS", "KOMBO_WEBHOK_SECRET", "KOMBO_LUNCH_MENU", "KOMBO_US_API_KEY"):
        monkeypatch.setenv(name, "x")
    assert near_miss_variables() == [
        ("KOMBO_API_KEYS", "KOMBO_API_KEY"),
        ("KOMBO_WEBHOK_SECRET", "KOMBO_WEBHOOK_SECRET"),
    ]


@pytest.mark.parametrize(
    "rate",
    ["20", "x/minute", "0/minute", "-1/minute", "20/fortnight", "20 / minute", "1/minute;2/hour", "1e9/day"],
)
def test_a_rate_is_a_number_per_unit_of_time(rate: str) -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_LINK_RATE: must be a rate such as 20/minute"):
        Settings(api_key=KEY, link_rate=rate)


@pytest.mark.parametrize("rate", ["1/second", "20/minute", "1000/hour", "999999/day"])
def test_rates_are_per_second_minute_hour_or_day(rate: str) -> None:
    assert Settings(api_key=KEY, completion_rate=rate).completion_rate == rate


def test_one_message_names_everything_that_a_bearer_login_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_AUTH", "bearer")
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    for name in ("KOMBO_API_KEY", "KOMBO_OIDC_ISSUER", "KOMBO_OIDC_AUDIENCE"):
        assert f"{name}: missing" in str(caught.value)
    assert "3 settings" in str(caught.value)


def test_one_of_audience_and_authorized_party_is_enough() -> None:
    bearer = {"api_key": KEY, "auth": "bearer", "oidc_issuer": "https://login.example"}
    assert Settings(**bearer, oidc_audience="app").oidc_authorized_party == ()
    assert Settings(**bearer, oidc_authorized_party="app").oidc_audience == ()
    with pytest.raises(
        ConfigurationError, match=r"KOMBO_OIDC_AUDIENCE: missing.*KOMBO_OIDC_AUTHORIZED_PARTY"
    ):
        Settings(**bearer)


@pytest.mark.parametrize("name", ["OIDC_AUDIENCE", "OIDC_AUTHORIZED_PARTY"])
def test_recipients_are_separated_by_commas_and_blanks_are_ignored(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv(f"KOMBO_{name}", " one, two words ,,one,\t")
    assert getattr(Settings(), name.lower()) == ("one", "two words", "one")
    monkeypatch.setenv(f"KOMBO_{name}", "")
    assert getattr(Settings(), name.lower()) == ()
    assert getattr(Settings(**{name.lower(): None}), name.lower()) == ()
    assert getattr(Settings(**{name.lower(): ["one"]}), name.lower()) == ("one",)


@pytest.mark.parametrize("name", ["OIDC_AUDIENCE", "OIDC_AUTHORIZED_PARTY"])
@pytest.mark.parametrize("value", [",", " ", " , ,", "\t", ("",), ("app", " "), ["\n"], 7, ({"a": 1},)])
def test_recipients_that_name_nobody_are_not_unset(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"OIDC_AUDIENCE": "app", "OIDC_AUTHORIZED_PARTY": "app"}
    monkeypatch.setenv("KOMBO_AUTH", "bearer")
    monkeypatch.setenv("KOMBO_OIDC_ISSUER", "https://login.example")
    for other in others.keys() - {name}:
        monkeypatch.setenv(f"KOMBO_{other}", "app")
    if isinstance(value, str):
        monkeypatch.setenv(f"KOMBO_{name}", value)
    with pytest.raises(ConfigurationError, match=f"1 setting is .*(.|\n)*KOMBO_{name}: "):
        Settings(api_key=KEY, **({} if isinstance(value, str) else {name.lower(): value}))


@pytest.mark.parametrize("auth", ["callable", "session", "request_user"])
def test_other_logins_need_no_issuer(auth: str) -> None:
    assert Settings(api_key=KEY, auth=auth).oidc_issuer is None


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example",
        "https://login.example/",
        "https://login.example:8443/tenant/v2.0",
        "http://localhost:8080/realms/acme",
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
    ],
)
def test_an_issuer_is_kept_exactly_as_it_is_given(url: str) -> None:
    assert Settings(api_key=KEY, auth="bearer", oidc_issuer=url, oidc_audience="app").oidc_issuer == url


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example",
        "http://localhost.evil.example",
        "http://10.0.0.7",
        "ftp://login.example",
        "login.example",
        "https://",
        "https:///path",
        "https://user:password@login.example",
        "https://login.example?tenant=acme",
        "https://login.example?",
        "https://login.example#here",
        "https://login.example:port",
        "https://login .example",
        "https://[::1",
        "//login.example",
    ],
)
def test_an_issuer_url_that_others_could_impersonate_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_OIDC_ISSUER"):
        Settings(api_key=KEY, auth="bearer", oidc_issuer=url, oidc_audience="app")


def test_the_jwks_url_may_have_a_query() -> None:
    url = "https://login.example/keys?tenant=acme"
    assert Settings(api_key=KEY, jwks_url=url).jwks_url == url


@pytest.mark.parametrize("names", ["none", "HS256", "RS256,none", "RS256,HS512", "rs256", "RS256 ES256", ","])
def test_an_algorithm_with_which_anyone_could_sign_is_refused(
    names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv("KOMBO_JWT_ALGORITHMS", names)
    with pytest.raises(ConfigurationError, match="KOMBO_JWT_ALGORITHMS: each must be one of RS256"):
        Settings()


def test_algorithms_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    assert Settings().jwt_algorithms == ("RS256", "ES256", "EdDSA")
    monkeypatch.setenv("KOMBO_JWT_ALGORITHMS", "PS256, ES384")
    assert Settings().jwt_algorithms == ("PS256", "ES384")


def test_algorithms_passed_as_arguments_are_validated_too() -> None:
    for names in ((), ("HS256",), ["none"]):
        with pytest.raises(ConfigurationError, match="KOMBO_JWT_ALGORITHMS"):
            Settings(api_key=KEY, jwt_algorithms=names)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("redis://localhost", True),
        ("redis://:password@127.0.0.1:6380/3", True),
        ("rediss://user:p%40ss@cache.example.com:6380/0?ssl_cert_reqs=none", False),
        ("unix:///run/redis.sock?db=2", True),
    ],
)
def test_every_url_scheme_of_redis_py_is_accepted(url: str, local: bool) -> None:
    settings = Settings(api_key=KEY, redis_url=url)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url
    assert is_on_this_machine(url) is local
    assert "p%40ss" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["localhost:6379", "redis://", "redis://host:0", "redis://host:x", "unix://", "valkey://h"]
)
def test_an_invalid_redis_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_REDIS_URL"):
        Settings(api_key=KEY, redis_url=url)


def test_encryption_keys_are_fernet_keys_separated_by_commas() -> None:
    first, second = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings = Settings(api_key=KEY, link_encryption_keys=f"{first}, {second}")
    assert [key.get_secret_value() for key in settings.link_encryption_keys] == [first, second]
    assert first not in repr(settings)
    for wrong in (f"{first},short", first[:-1], first.replace("=", "!"), "ä" * 44):
        with pytest.raises(ConfigurationError, match="Fernet"):
            Settings(api_key=KEY, link_encryption_keys=wrong)


@pytest.mark.parametrize("secrets", [("",), ("a", ""), ("  ",), ("a", "\t", "b")])
def test_an_empty_webhook_secret_in_code_is_refused(secrets: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_WEBHOOK_SECRET: must not be empty"):
        Settings(api_key="key", webhook_secret=secrets)


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        ("24h", timedelta(days=1)),
        ("30m", timedelta(minutes=30)),
        ("90s", timedelta(seconds=90)),
        ("7d", timedelta(days=7)),
        ("99999d", timedelta(days=99_999)),
        ("off", None),
    ],
)
def test_the_interval_of_reconciliation_has_a_unit(
    monkeypatch: pytest.MonkeyPatch, value: str, interval: timedelta | None
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv("KOMBO_RECONCILE_EVERY", value)
    assert Settings().reconcile_interval == interval


@pytest.mark.parametrize("value", ["0h", "24", "1 h", "1w", "OFF ", "-1h", "1.5h"])
def test_another_interval_of_reconciliation_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv("KOMBO_RECONCILE_EVERY", value)
    with pytest.raises(ConfigurationError, match="KOMBO_RECONCILE_EVERY: must be a time such as 24h or 30m"):
        Settings()


@pytest.mark.parametrize(("rate", "per_second"), [("1/second", 1), ("90/minute", 1.5), ("36/hour", 0.01)])
def test_the_rate_of_reconciliation_is_that_of_each_second(rate: str, per_second: float) -> None:
    assert Settings(api_key=KEY, reconcile_rate=rate).reconciled_per_second == pytest.approx(per_second)
