from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette

from kombo_embed import ConfigurationError, KomboEmbed, Settings
from tests.support import API_KEY, end_user_from_header

# HMAC pads its key with NUL characters, so a secret of them is the empty one.
INVISIBLE = ["\x00", "\x00\x00", "\u200b", "\ufeff", "\u00a0", "\u2060\u3000", "\x7f"]
TEXTS = [
    *("session_key", "claim_email", "claim_organization_name", "claim_origin_id"),
    *("scope_config_id", "remote_environment", "environment", "oidc_audience", "oidc_issuer", "jwks_url"),
]
# Lists whose emptiness means "all tools", "no encryption", "no webhooks".
LISTS = [
    *("allowed_categories", "allowed_tools", "allowed_origins", "jwt_algorithms"),
    *("webhook_secret", "link_encryption_keys", "oidc_audience", "oidc_authorized_party"),
]
NAMES_NOTHING = [",", " ", " , ,", "\t", "\u00a0", "\n"]

# Texts as an environment variable may contain them, many of which look like a valid value.
PIECES = st.sampled_from(
    [
        *(
            "https://",
            "http://",
            "postgresql://",
            "sqlite+aiosqlite:///",
            "rediss://",
            "unix://",
            "localhost",
        ),
        *(
            "user:pw-of-someone@",
            "[::1",
            ":99999",
            "/v1",
            "?x=%zz",
            "#",
            "..",
            ",",
            " ",
            "\t",
            "\n",
            "=",
            "*",
            "null",
        ),
        *(
            "10",
            "1e400",
            "-1",
            "nan",
            "0x10",
            "1/minute",
            "true",
            "HRIS",
            "hibob",
            "RS256",
            "none",
            "é",
            "\u200b",
        ),
    ]
)
VALUES = st.lists(PIECES | st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=6).map(
    "".join
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "sqlite+aiosqlite://user:pw@host/x.db"),
        ("database_url", "sqlite+aiosqlite://"),
        ("database_url", "sqlite+aiosqlite:///:memory:"),
        ("database_url", "sqlite+aiosqlite:///x.db?timeout=abc"),
        ("api_url", "https://api.kombo.dev:99999/v1"),
        ("api_url", "https://user:pw@api.kombo.dev/v1"),
        ("api_url", " https://api.kombo.dev/v1"),
        ("mount_path", "/kombo/.."),
        ("allowed_origins", "https://"),
        ("allowed_origins", "https://app.example.com:99999"),
        *((name, value) for name in LISTS for value in NAMES_NOTHING),
        *(("webhook_secret", secret) for secret in INVISIBLE),
        *(("webhook_secret", (secret,)) for secret in INVISIBLE),
        *(("webhook_secret", ("a", SecretStr(secret))) for secret in INVISIBLE),
        *(("api_key", value) for value in ("", " ", None, SecretStr(""), SecretStr(" "), "\u200b")),
        *(("link_encryption_keys", (value,)) for value in ("", " ", None, SecretStr(""))),
        *(("allowed_tools", value) for value in (("",), (" ",), ("hibob", ""), (None,), (" hibob",), "a b")),
        *(("allowed_origins", value) for value in (("",), (" ",), (None,), ("null",), ("*",))),
        *(("allowed_categories", value) for value in (("",), (None,), ("HRIS", ""))),
        *(("jwt_algorithms", value) for value in ((), ("",), ("none",), ("HS256",), (None,))),
        *((name, value) for name in TEXTS for value in ("", " ", "\t")),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_the_name_of_its_variable(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"KOMBO_{name.upper()}") as caught:
        Settings(**{"api_key": API_KEY, name: value})
    assert "pw@" not in str(caught.value)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("value", NAMES_NOTHING)
def test_a_variable_with_a_list_that_names_nothing_is_not_unset(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMBO_API_KEY", API_KEY)
    monkeypatch.setenv(f"KOMBO_{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=f"KOMBO_{name.upper()}: "):
        Settings()


@given(name=st.sampled_from(sorted(Settings.model_fields)), value=VALUES)
def test_any_text_in_a_variable_is_accepted_or_refused_by_its_name_and_never_repeated_if_secret(
    name: str, value: str
) -> None:
    variable = f"KOMBO_{name.upper()}"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KOMBO_API_KEY", API_KEY)
        environment.setenv(variable, value)
        try:
            said = repr(Settings())
        except ConfigurationError as error:
            said = str(error)
            assert variable in said
    if name.endswith(("_url", "_issuer", "_origins")) or "SecretStr" in str(
        Settings.model_fields[name].annotation
    ):
        assert "pw-of-someone" not in said


def test_an_allowed_origin_is_normalized_as_browsers_send_it() -> None:
    origins = Settings(api_key=API_KEY, allowed_origins="https://App.example.com:443").allowed_origins
    assert origins == ("https://app.example.com",)


def test_an_env_file_that_is_not_utf_8_is_reported_and_does_not_stop_the_import(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"KOMBO_API_KEY=\xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        Settings()
    KomboEmbed(end_user=end_user_from_header).install(Starlette())
