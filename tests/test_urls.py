from __future__ import annotations

import pytest

from kombo_embed.urls import is_loopback, is_private_url, is_same_origin


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


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("http://sandbox:8001/connect?token=x", "http://sandbox:8001/v1"),
        ("http://sandbox/x", "http://SANDBOX:80/v1"),
        ("http://[fd00::5]:8001/x", "http://[fd00::5]:8001/v1"),
    ],
)
def test_urls_of_one_scheme_host_and_port_have_the_same_origin(url: str, other: str) -> None:
    assert is_same_origin(url, other)


@pytest.mark.parametrize(
    "url",
    [
        "https://sandbox:8001/x",
        "http://sandbox:8002/x",
        "http://sandbox/x",
        "http://sandbox.evil.example:8001/x",
        "http://sandbox:8001@evil.example/x",
        "http://sandbox:port/x",
        "http://[/x",
        "/x",
        "",
    ],
)
def test_other_urls_do_not(url: str) -> None:
    assert not is_same_origin(url, "http://sandbox:8001/v1")
    assert not is_same_origin(url, url[:0])
