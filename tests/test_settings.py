from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from kombo_embed import ConfigurationError, Settings
from kombo_embed.settings import mount_path_from_environment
from kombo_embed.shared_settings import is_on_this_machine
from kombo_embed.spelling import near_misses

KEY = "ks_dev_made-up"


def test_one_message_names_every_variable_at_fault_and_shows_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = {
        "KOMBO_REGION": "mars-value",
        "KOMBO_API_URL": "not-a-url-value",
        "KOMBO_TIMEOUT": "soon-value",
        "KOMBO_LINK_CACHE_SIZE": "0",
        "KOMBO_MOUNT_PATH": "kombo-value",
        "KOMBO_DATABASE_URL": "mysql://user:password-value@host/db",
        "KOMBO_REDIS_URL": "http://user:password-value@host/0",
        "KOMBO_LINK_ENCRYPTION_KEYS": "too-short-value",
        "KOMBO_ALLOWED_ORIGINS": "https://app.example.com/path-value",
        "KOMBO_ENABLE_FILTERING": "perhaps-value",
        "KOMBO_ALLOWED_CATEGORIES": "HRIS,PAYROLL-value",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    message = str(caught.value)
    for name in ["KOMBO_API_KEY", *wrong]:
        assert f"{name}:" in message
    assert "12 settings" in message
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


def test_a_base_url_of_ones_own_wins_over_the_region() -> None:
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


def test_a_second_set_of_variables_is_read_with_its_own_prefix_and_told_by_it(
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


@pytest.mark.parametrize(
    ("lifetime", "margin", "effective"),
    [(3600, 300, 300), (3, 1, 1), (3, 300, 1.5), (7200, 3600, 1800), (60, 0, 0)],
)
def test_odd_lifetimes_and_margins_are_legal_and_clamped(
    lifetime: float, margin: float, effective: float
) -> None:
    settings = Settings(api_key=KEY, link_lifetime=lifetime, link_min_remaining=margin)
    assert settings.margin == effective
    assert settings.lifetime <= 3600


def test_an_api_key_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="KOMBO_API_KEY"):
        Settings(api_key="with\nnewline")


def test_settings_are_frozen() -> None:
    settings = Settings(api_key=KEY)
    with pytest.raises(Exception, match="frozen"):
        settings.region = "us"  # type: ignore[misc]


def test_the_mount_path_can_be_told_before_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mount_path_from_environment() == "/kombo"
    monkeypatch.setenv("KOMBO_MOUNT_PATH", "/connect/kombo/")
    assert mount_path_from_environment() == "/connect/kombo"
    monkeypatch.setenv("KOMBO_MOUNT_PATH", "nonsense")
    assert mount_path_from_environment() == "/kombo"


def test_a_misspelt_variable_is_told_together_with_the_one_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_API_KYE", KEY)
    with pytest.raises(ConfigurationError, match="KOMBO_API_KYE: not a setting; did you mean KOMBO_API_KEY"):
        Settings()


def test_a_variable_that_is_almost_known_is_told_with_the_known_name() -> None:
    known = {"KOMBO_" + name.upper() for name in Settings.model_fields}
    names = ["KOMBO_API_KEYS", "KOMBO_WEBHOK_SECRET", "PATH", "KOMBO_LUNCH_MENU", "KOMBO_US_API_KEY"]
    assert list(near_misses(names, known=known, prefix="KOMBO_")) == [
        ("KOMBO_API_KEYS", "KOMBO_API_KEY"),
        ("KOMBO_WEBHOK_SECRET", "KOMBO_WEBHOOK_SECRET"),
    ]


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("redis://localhost", True),
        ("redis://:password@127.0.0.1:6380/3", True),
        ("rediss://user:p%40ss@cache.example.com:6380/0?ssl_cert_reqs=none", False),
        ("unix:///run/redis.sock?db=2", True),
    ],
)
def test_redis_is_reached_by_whatever_url_redis_py_knows(url: str, local: bool) -> None:
    settings = Settings(api_key=KEY, redis_url=url)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url
    assert is_on_this_machine(url) is local
    assert "p%40ss" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["localhost:6379", "redis://", "redis://host:0", "redis://host:x", "unix://", "valkey://h"]
)
def test_what_is_no_url_of_redis_stops_the_start(url: str) -> None:
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
