from __future__ import annotations

import random
from pathlib import Path

import pytest
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

PASSWORD = "pw-of-someone"
# Texts as an environment variable may contain them, many of which are nearly a valid value.
SCHEMES = [
    "https://",
    "http://",
    "postgresql://",
    "sqlite+aiosqlite:///",
    "redis://",
    "rediss://",
    "unix://",
    "",
]
USERS = ["", "", "", f"user:{PASSWORD}@"]
HOSTS = ["api.example.com", "localhost", "[::1]", "[::1", "[", "]", "xn--\u00e9", "a b", "*", "null", ""]
PORTS = ["", "", "", ":6379", ":0", ":99999", ":-1", ":x", ":"]
PATHS = ["", "", "", "/v1", "/..", "/%zz", "?x=%zz", "?sslmode=what", "?timeout=x", "#f", "\n", " "]
NUMBERS = ["0", "1", "-1", "1e400", "nan", "9" * 400, "0x10", "\u0663", "1_0"]
UNITS = ["", "", "s", "d", "y", "/minute", "/fortnight", "/"]
WORDS = [
    "true",
    "off",
    "HRIS",
    "hibob",
    "en",
    "eu",
    "RS256",
    "none",
    "bearer",
    "null",
    "\u00e9",
    "\u200b",
    "\U0001f600",
    "\udcff",
]
MARKS = [",", " ", "\t", "\n", "=", "*", "..", "${HOME}", '"', "'", "\\", "a" * 300]
NAMES = sorted(Settings.model_fields)
DERIVED = [name for name, member in vars(Settings).items() if isinstance(member, property)]
SECRET = [
    name
    for name, field in Settings.model_fields.items()
    if name.endswith(("_url", "_issuer", "_origins")) or "SecretStr" in str(field.annotation)
]


def random_text(chance: random.Random, name: str) -> str:
    """Return a value for a variable: a URL, a number with a unit, or anything."""
    shapes = [
        [SCHEMES, USERS, HOSTS, PORTS, PATHS],
        [NUMBERS, UNITS],
        [WORDS, MARKS, WORDS],
        [MARKS],
        [WORDS],
    ]
    if name in SECRET:
        shapes += shapes[:1] * 3
    return "".join(map(chance.choice, chance.choice(shapes)))


def random_values(chance: random.Random) -> dict[str, str]:
    """Return values of one to three variables, most of which are accepted, or of all of them."""
    names = chance.choice([NAMES, chance.sample(NAMES, chance.randint(1, 3))])
    return {name: random_text(chance, name) for name in names}


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


def test_any_text_in_variables_is_accepted_or_refused_by_name_and_never_repeated_if_secret() -> None:
    chance = random.Random(5)  # noqa: S311 - the same values each time
    for _ in range(300):
        values = random_values(chance)
        outcome = read({"api_key": API_KEY, **values})
        if isinstance(outcome, str):
            assert any(f"KOMBO_{name.upper()}:" in outcome for name in values)
            assert PASSWORD not in outcome
            continue
        for name in DERIVED:
            getattr(outcome, name)
        shown = any(PASSWORD in value for name, value in values.items() if name not in SECRET)
        assert shown or PASSWORD not in repr(outcome)


def read(values: dict[str, str]) -> Settings | str:
    """Return the settings with these values in the environment, or the message of why they are refused."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in values.items():
            environment.setenv(f"KOMBO_{name.upper()}", value)
        try:
            return Settings()
        except ConfigurationError as error:
            return str(error)


def test_an_allowed_origin_is_normalized_as_browsers_send_it() -> None:
    origins = Settings(api_key=API_KEY, allowed_origins="https://App.example.com:443").allowed_origins
    assert origins == ("https://app.example.com",)


def test_an_env_file_that_is_not_utf_8_is_reported_and_does_not_stop_the_import(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"KOMBO_API_KEY=\xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        Settings()
    KomboEmbed(end_user=end_user_from_header).install(Starlette())
