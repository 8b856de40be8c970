from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette

from kombo_embed import ConfigurationError, KomboEmbed, Settings
from tests.support import API_KEY, end_user_from_header


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
    ],
)
def test_a_value_that_cannot_work_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"KOMBO_{name.upper()}") as caught:
        Settings(**{"api_key": API_KEY, name: value})
    assert "pw@" not in str(caught.value)


def test_an_allowed_origin_is_normalized_as_browsers_send_it() -> None:
    origins = Settings(api_key=API_KEY, allowed_origins="https://App.example.com:443").allowed_origins
    assert origins == ("https://app.example.com",)


def test_an_env_file_that_is_not_utf_8_is_reported_and_does_not_stop_the_import(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"KOMBO_API_KEY=\xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        Settings()
    KomboEmbed(end_user=end_user_from_header).install(Starlette())
