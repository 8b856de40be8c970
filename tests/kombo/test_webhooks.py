from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kombo_embed.errors import WebhookRejected, WebhooksNotConfigured
from kombo_embed.kombo.webhooks import sign, verify_signature

BODY = b'{"id":"5gjAtURLPbnTiwgkaBfiA3WJ","type":"integration-created"}'


def test_the_signature_is_base64url_of_hmac_sha256_without_padding() -> None:
    # Computed independently from the rule in docs.kombo.dev/webhooks.
    assert sign(BODY, "whsec_test") == "y3V5mTzLB-5kYrrx96kor7KMLdgbf6y0iGLSRb3Mwmc"


SECRETS = st.text(min_size=1).filter(str.strip)


@given(body=st.binary(max_size=300), secret=SECRETS, other=SECRETS)
def test_only_the_secret_that_signed_verifies(body: bytes, secret: str, other: str) -> None:
    secret, other = (text.encode("utf-8", "replace").decode() for text in (secret, other))
    signature = sign(body, secret)
    verify_signature(body, signature, ["unused", secret])
    if other != secret:
        with pytest.raises(WebhookRejected):
            verify_signature(body, signature, [other])


@given(mutated=st.text(max_size=60))
def test_no_other_text_is_a_signature(mutated: str) -> None:
    good = sign(BODY, "whsec_test")
    if mutated == good:
        return
    with pytest.raises(WebhookRejected):
        verify_signature(BODY, mutated, ["whsec_test"])


@given(position=st.integers(0, len(BODY) * 8 - 1))
def test_one_changed_bit_invalidates_the_signature(position: int) -> None:
    changed = bytearray(BODY)
    changed[position // 8] ^= 1 << position % 8
    with pytest.raises(WebhookRejected):
        verify_signature(bytes(changed), sign(BODY, "whsec_test"), ["whsec_test"])


def test_without_a_secret_nothing_is_verified() -> None:
    with pytest.raises(WebhooksNotConfigured):
        verify_signature(BODY, sign(BODY, ""), [])


@pytest.mark.parametrize("secrets", [[""], ["  ", ""], ["a", ""]])
def test_nothing_is_accepted_with_an_empty_secret(secrets: list[str]) -> None:
    for secret in ("", "  "):
        with pytest.raises((WebhooksNotConfigured, WebhookRejected)):
            verify_signature(b"body", sign(b"body", secret), secrets)
