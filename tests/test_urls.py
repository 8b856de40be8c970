from __future__ import annotations

import pytest

from kombo_embed.urls import is_loopback, is_private_url


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_is_recognized(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "example.com", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "10.0.0.1"]
)
def test_other_hosts_are_not_this_machine(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url", ["https://login.example", "https://login.example:8443/x", "http://localhost:8001"]
)
def test_https_is_private_and_so_is_http_on_this_machine(url: str) -> None:
    assert is_private_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://login.example",
        "http://127.0.0.1.evil.example",
        "ftp://login.example",
        "//login.example",
        "https://",
        "https://user:password@login.example",
        "https://login.example:port",
        "https://[",
    ],
)
def test_any_other_url_is_not_private(url: str) -> None:
    assert not is_private_url(url)
