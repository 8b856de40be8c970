"""Which origins may be allowed: those that a browser or an app can send."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from kombo_embed import ConfigurationError, Settings
from tests.support import API_KEY, make_host, person, running

SENT_BY_APPS = [
    "capacitor://localhost",
    "ionic://localhost",
    "tauri://localhost",
    "app://bundle",
    "app://-",
    "com.example.app://localhost",
    "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
    "moz-extension://1b6d54b8-7d2a-4e2c-9f5a-6f2d3c4b5a69",
    "safari-web-extension://E3449EA7-EC31-4D62-8B5C-1DE5F3B1C9C4",
]
SENT_BY_BROWSERS = [
    "https://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com.",
    "https://my_app.example.com",
    "https://xn--bcher-kva.example",
    "https://192.0.2.7",
    "https://[2001:db8::1]:8443",
    "http://localhost:5173",
    "http://tauri.localhost",
    "https://1password.example",
    "http://app.example.com:443",
]
NEVER_SENT = [
    "*",
    "null",
    "https://*",
    "https://*.example.com",
    "https://app*.example.com",
    "capacitor://*",
    "chrome-extension://*",
    "https://b\u00fccher.example",
    "https://app.example\uff0ecom",
    "https://app.example.com/",
    "https://app.example.com/path",
    "https://app.example.com?x",
    "https://app.example.com#x",
    "https://user@app.example.com",
    "https://user:password@app.example.com",
    "https://app.example.com:",
    "https://app.example.com:0",
    "https://app.example.com:0443",
    "https://app.example.com:65536",
    "https://app.example.com:+443",
    "https://app.example.com:\u0664\u0664\u0663",
    "https://app..example.com",
    "https://.example.com",
    "https://app%2eexample.com",
    "https://app example.com",
    "https://127.1",
    "https://0x7f.0.0.1",
    "https://2130706433",
    "https://192.0.2.7.",
    "https://192.000.002.007",
    "https://256.0.0.1",
    "https://[::1",
    "https://[2001:db8:0:0:0:0:0:1]",
    "https://[fe80::1%25eth0]",
    "https://",
    "https:app.example.com",
    "//app.example.com",
    "app.example.com",
    "capacitor://",
    "capacitor:localhost",
    "capacitor://localhost/",
    "file://",
    "file://localhost",
    "data://x",
    "blob://x",
    "about://blank",
    "ws://app.example.com",
    "wss://app.example.com",
    "ftp://app.example.com",
    "htps://app.example.com",
    "htttp://localhost",
    "https ://app.example.com",
    "1app://localhost",
    "https://app.example.com\n",
    "https://app.example.com\u0000",
]


@pytest.mark.parametrize("origin", SENT_BY_APPS + SENT_BY_BROWSERS)
async def test_a_page_of_an_allowed_origin_can_call_and_read(
    origin: str, kombo: httpx.AsyncBaseTransport
) -> None:
    app, _ = make_host(kombo, allowed_origins=f"https://other.example, {origin}")
    headers = person("ada@acme") | {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    async with running(app) as client:
        answer = await client.post("/kombo/links", json={}, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        other = headers | {"Origin": origin + "x"}
        assert (await client.post("/kombo/links", json={}, headers=other)).json()["code"] == "cross_origin"


@pytest.mark.parametrize("origin", NEVER_SENT)
def test_an_origin_that_no_browser_sends_is_refused_with_one_sentence(origin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"KOMBO_ALLOWED_ORIGINS: each must be an origin") as caught:
        Settings(api_key=API_KEY, allowed_origins=("https://app.example.com", origin))
    assert len(str(caught.value).splitlines()) == 2


def test_an_invalid_origin_in_the_env_file_is_refused_too() -> None:
    Path(".env").write_text("KOMBO_ALLOWED_ORIGINS=https://app.example.com,https://*.example.com\n", "utf-8")
    with pytest.raises(ConfigurationError, match="KOMBO_ALLOWED_ORIGINS: each must be an origin"):
        Settings(api_key=API_KEY)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("HTTPS://App.Example.COM:443", "https://app.example.com"),
        ("http://LOCALHOST:80", "http://localhost"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("Capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_an_origin_is_normalized_as_browsers_send_it(given: str, sent: str) -> None:
    assert Settings(api_key=API_KEY, allowed_origins=given).allowed_origins == (sent,)
