"""A ``.env`` does not choose where a key of the process environment is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kombo_embed import ConfigurationError, Settings
from kombo_embed.settings import RecordSettings

KEY = "ks_dev_made-up"
ELSEWHERE = "https://collector.example/v1"


def write(text: str, path: str = ".env") -> None:
    Path(path).write_text(text, encoding="utf-8")


def assert_refused(prefix: str = "KOMBO_", **values: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    assert f"{prefix}API_URL: is set in .env, but {prefix}API_KEY is not" in str(caught.value)
    assert "collector" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        ELSEWHERE,
        "http://10.0.0.7:8001/v1",
        "http://api.kombo.dev/v1",
        "https://api.kombo.dev.evil.example/v1",
        "https://evilkombo.dev/v1",
        "https://kombo.dev.example/v1",
        "https://localhost.example/v1",
        "https://127.0.0.1.example/v1",
        "https://api.kombo.dev@evil.example/v1",
    ],
)
def test_a_url_from_the_env_file_with_a_key_of_the_process_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    write(f"KOMBO_API_URL={url}\n")
    with pytest.raises(ConfigurationError, match="KOMBO_API_URL: "):
        Settings()


@pytest.mark.parametrize(
    "url",
    [
        "https://api.kombo.dev/v1",
        "https://api.us.kombo.dev/v1",
        "https://API.KOMBO.DEV/v1",
        "http://localhost:8001/v1",
        "http://127.0.0.1:8001/v1",
        "http://[::1]:8001/v1",
    ],
)
def test_kombos_own_hosts_and_this_machine_are_accepted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    write(f"KOMBO_API_URL={url}\n")
    assert Settings().base_url == url


def test_it_is_refused_whatever_the_file_and_the_variables_look_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("kombo_api_key", KEY)
    write(f"kombo_api_url={ELSEWHERE}\n")
    assert_refused()
    write(f"export KOMBO_API_URL='{ELSEWHERE}'  # ours\nKOMBO_API_KEY=ks_dev_of-the-file\n")
    assert_refused()  # the key of the process wins over the file's
    write("")
    write(f"KOMBO_API_URL={ELSEWHERE}\n", "other.env")
    assert_refused(_env_file="other.env")
    assert_refused(_env_file=(".env", "other.env"))


def test_it_is_refused_with_a_key_from_code_or_from_a_secrets_directory(tmp_path: Path) -> None:
    write(f"KOMBO_API_URL={ELSEWHERE}\n")
    assert_refused(api_key=KEY)
    (tmp_path / "secrets").mkdir()
    write(KEY, str(tmp_path / "secrets" / "kombo_api_key"))
    assert_refused(_secrets_dir=tmp_path / "secrets")


def test_it_is_refused_for_a_second_set_of_variables_by_its_own_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KOMBO_US_API_KEY", KEY)
    write(f"KOMBO_US_API_URL={ELSEWHERE}\n")
    assert_refused("KOMBO_US_", _env_prefix="KOMBO_US_")
    monkeypatch.delenv("KOMBO_US_API_KEY")
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    write(f"KOMBO_US_API_URL={ELSEWHERE}\nKOMBO_US_API_KEY={KEY}\n")
    assert Settings(_env_prefix="KOMBO_US_").base_url == ELSEWHERE


@pytest.mark.parametrize(
    ("environment", "file", "values"),
    [
        ({}, {"API_KEY": KEY, "API_URL": ELSEWHERE}, {}),
        ({"API_KEY": ""}, {"API_KEY": KEY, "API_URL": ELSEWHERE}, {}),
        ({"API_KEY": KEY, "API_URL": ELSEWHERE}, {}, {}),
        ({"API_KEY": KEY, "API_URL": ELSEWHERE}, {"API_URL": "https://ignored.example/v1"}, {}),
        ({"API_KEY": KEY}, {}, {"api_url": ELSEWHERE}),
        ({"API_KEY": KEY}, {"API_URL": "https://ignored.example/v1"}, {"api_url": ELSEWHERE}),
        ({"API_URL": ELSEWHERE}, {"API_KEY": KEY}, {}),
        ({"API_URL": ELSEWHERE}, {}, {"api_key": KEY}),
        ({}, {}, {"api_key": KEY, "api_url": ELSEWHERE}),
    ],
)
def test_a_url_from_the_same_place_as_the_key_or_from_a_better_one_is_accepted(
    environment: dict[str, str],
    file: dict[str, str],
    values: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"KOMBO_{name}", value)
    write("".join(f"KOMBO_{name}={value}\n" for name, value in file.items()))
    settings = Settings(**values)
    assert (settings.base_url, settings.api_key.get_secret_value()) == (ELSEWHERE, KEY)


@pytest.mark.parametrize("values", [{"_env_file": None}, {"api_url": None}])
def test_a_url_that_has_no_effect_is_not_refused(
    values: dict[str, None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    write(f"KOMBO_API_URL={ELSEWHERE}\n")
    assert Settings(**values).base_url == "https://api.kombo.dev/v1"
    write("KOMBO_API_URL=\n")
    assert Settings().base_url == "https://api.kombo.dev/v1"


def test_commands_that_need_no_key_accept_a_url_from_the_env_file() -> None:
    write(f"KOMBO_API_URL={ELSEWHERE}\n")
    assert RecordSettings().base_url == ELSEWHERE


def test_the_one_message_names_it_beside_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    write(f"KOMBO_API_URL={ELSEWHERE}\nKOMBO_REGION=mars\nKOMBO_REGIONS=eu\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert "KOMBO_API_URL: is set in .env, but KOMBO_API_KEY is not" in str(caught.value)
    assert "KOMBO_REGION: " in str(caught.value)
    assert "did you mean KOMBO_REGION?" in str(caught.value)


def test_an_env_file_with_only_a_url_asks_for_the_key() -> None:
    write(f"KOMBO_API_URL={ELSEWHERE}\n")
    with pytest.raises(ConfigurationError, match=r"1 setting is missing(.|\n)*KOMBO_API_KEY: missing"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", "${CLOUD_SECRET}"),
        ("API_URL", "https://${KOMBO_API_KEY}.kombo.dev/v1"),
        ("DATABASE_URL", "postgresql://app:${CLOUD_SECRET}@collector.example/app"),
        ("REDIS_URL", "redis://:${CLOUD_SECRET:-none}@collector.example"),
        ("OIDC_ISSUER", "https://collector.example/${KOMBO_API_KEY}"),
        ("JWKS_URL", "'https://collector.example/${KOMBO_API_KEY}'"),
    ],
)
@pytest.mark.parametrize("indirectly", [False, True])
def test_a_destination_in_the_env_file_takes_nothing_from_the_process_environment(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, *, indirectly: bool
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv("CLOUD_SECRET", "made-up-cloud-secret")
    if name == "API_KEY":
        monkeypatch.delenv("KOMBO_API_KEY")
    write(f"PART={value}\nkombo_{name}=${{PART}}\n" if indirectly else f"KOMBO_{name}={value}\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert f"KOMBO_{name}: takes ${{...}} in .env from the process environment" in str(caught.value)
    assert KEY not in str(caught.value)
    assert "made-up-cloud-secret" not in str(caught.value)


def test_the_env_file_may_expand_what_it_sets_itself_and_what_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STAGE", "staging")
    monkeypatch.setenv("REDIS_HOST", "elsewhere.example")
    write(
        f"REDIS_HOST=cache\nKOMBO_API_KEY={KEY}\nKOMBO_ENVIRONMENT=${{STAGE}}\n"
        "KOMBO_REDIS_URL=redis://${REDIS_HOST}/${UNSET:-0}\n"
    )
    settings = Settings()
    assert settings.environment == "staging"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://cache/0"


def test_an_expansion_that_has_no_effect_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", KEY)
    monkeypatch.setenv("KOMBO_REDIS_URL", "redis://cache")
    monkeypatch.setenv("SECRET", "made-up")
    text = "redis://${SECRET}@collector.example"
    write(f"KOMBO_REDIS_URL={text}\nKOMBO_OIDC_ISSUER={text}\n")
    settings = Settings(oidc_issuer="https://issuer.example")
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://cache"
    write(f"KOMBO_JWKS_URL={text}\n", "other.env")
    assert Settings(_env_file=None).jwks_url is None
    with pytest.raises(ConfigurationError, match="KOMBO_JWKS_URL: takes"):
        Settings(_env_file=(".env", "other.env"), oidc_issuer="https://issuer.example")
