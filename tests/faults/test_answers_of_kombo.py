"""Damaged answers and signatures of Kombo's, generated: none becomes a link or an event."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest

from kombo_embed.errors import WebhookRejected
from kombo_embed.kombo.webhooks import sign, verify_signature
from tests.faults.sizes import size
from tests.support import WEBHOOK_SECRET, make_host, person, running, webhook_request

BODIES = size(small=500, full=10_000)
SIGNATURES = size(small=5_000, full=100_000)
GOOD_LINK = "https://connect.kombo.dev/v1?token=abc"
GOOD = json.dumps({"status": "success", "data": {"link": GOOD_LINK}}).encode()
LINKS: list[object] = [
    *("", " ", "http://evil.example/", "javascript:alert(1)", "//evil.example", "https://", "ftp://a/b"),
    *("https://a.example/\r\nSet-Cookie: a=b", "https://a.example/\n", "https://a b.example/", "data:,x"),
    *(
        "https://a.example/" + "x" * 100_000,
        "HTTPS:/a.example",
        "https:\\\\a.example",
        "\x00https://a.example",
    ),
    *(None, 7, True, [], {}, ["https://a.example"], {"href": "https://a.example"}),
]
Record = Callable[[str, object], None]


def damaged(chance: random.Random) -> bytes:
    """Return an answer that is damaged in one of many ways, or in none that counts."""
    kind = chance.randrange(6)
    if kind == 0:
        return GOOD[: chance.randrange(len(GOOD))]
    if kind == 1:
        changed = bytearray(GOOD)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)
    if kind == 2:
        return json.dumps({"data": {"link": chance.choice(LINKS)}}).encode()
    if kind == 3:
        return chance.choice(
            [b"<html>https://a.example</html>", b"", b"null", b"[]", b'{"data": null}', b"7"]
        )
    if kind == 4:
        at = chance.randrange(len(GOOD))
        return GOOD[:at] + chance.randbytes(chance.randrange(1, 9)) + GOOD[at:]
    return json.dumps({"data": {"link": GOOD_LINK + chr(chance.randrange(0x300))}}).encode()


def is_link(url: str) -> bool:
    """Return whether a browser may get this: the rule, written once more."""
    parts = urlsplit(url)
    is_printable = url.isascii() and not any(ord(letter) <= 32 or ord(letter) == 127 for letter in url)
    return is_printable and "\\" not in url and parts.scheme == "https" and bool(parts.hostname)


async def test_no_damaged_answer_becomes_a_link(record_property: Record) -> None:
    chance = random.Random(7)  # noqa: S311 - the same answers each time
    answer = GOOD
    app, _ = make_host(httpx.MockTransport(lambda _: httpx.Response(200, content=answer)))
    statuses = {200: 0, 502: 0}
    async with running(app) as client:
        for number in range(BODIES):
            answer = damaged(chance)
            who = person(f"p@acme-{number}")
            response = await client.post("/kombo/links", headers=who, json={})
            statuses[response.status_code] += 1
            if response.status_code == 200:
                assert is_link(response.json()["link"])
                continue
            assert response.json()["code"] == "kombo_invalid_response"
            assert "example" not in response.text
            if number % 50 == 0:
                answer = GOOD  # nothing was cached
                assert (await client.post("/kombo/links", headers=who, json={})).json()["link"] == GOOD_LINK
    assert min(statuses.values()) > 0
    record_property("figure", f"0 bad links of {BODIES:,} answers, {statuses[502]:,} of them refused")


async def test_no_mutated_signature_or_body_is_accepted(
    kombo: httpx.AsyncBaseTransport, record_property: Record
) -> None:
    chance = random.Random(25)  # noqa: S311 - the same ones each time
    request = webhook_request("event-1", "sync-finished", {"n": 1})
    body, good = request["content"], request["headers"]["X-Kombo-Signature"]
    for number in range(SIGNATURES):
        changed_body, signature = mutated(chance, body, good)
        if (changed_body, signature) != (body, good):
            with pytest.raises(WebhookRejected):
                verify_signature(changed_body, signature, [WEBHOOK_SECRET, f"another-{number}"])
    app, _ = make_host(kombo)
    async with running(app) as client:
        for _ in range(200):
            changed_body, signature = mutated(chance, body, good)
            headers = {"X-Kombo-Signature": signature}
            response = await client.post("/kombo/webhooks", content=changed_body, headers=headers)
            assert response.status_code == (204 if (changed_body, signature) == (body, good) else 401)
    record_property("figure", f"0 accepted of {SIGNATURES:,}")


def mutated(chance: random.Random, body: bytes, good: str) -> tuple[bytes, str]:
    """Return a body and a signature, one of them changed."""
    bit = chance.randrange(len(body) * 8)
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8
    at = chance.randrange(len(good))
    letter = chance.choice("ABCXYZabcxyz0189-_=+/ ,")
    return chance.choice(
        [
            (bytes(flipped), good),
            (body, good[:at] + letter + good[at + 1 :]),
            (body, good[:at] + letter + good[at:]),
            (body, good[:at]),
            (body, good + "="),
            (body, good.swapcase()),
            (body, good * 2),
            (body, f"{good},{good}"),
            (body, bytes(good, "ascii").hex()),
            (body, sign(body, WEBHOOK_SECRET + letter)),
            (json.dumps(json.loads(body), indent=chance.randrange(1, 4)).encode(), good),
            (body + b" " * chance.randrange(1, 3), good),
        ]
    )
