"""A valid token gets a link. Every other one gets the same response and causes no call to Kombo."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import World, bearer_world
from tests.auth.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    TestKey,
    b64,
    claims,
    ec_key,
    ed_key,
    header,
    make_token,
    rsa_key,
)
from tests.support import API_KEY, WEBHOOK_SECRET, LogRecorder

INVALID_TOKEN = 'Bearer error="invalid_token"'
RSA, EC, ED = rsa_key(), ec_key(), ed_key()
# Eve's keys are as good as the issuer's, but hers.
EVE_RSA, EVE_EC = rsa_key("eve"), ec_key("eve")
# Published, but not usable for this.
ENCRYPTING, SIGN_ONLY, OTHER_ALG = ec_key("encrypting"), ec_key("sign-only"), rsa_key("other-alg")
PRIVATE, WEAK = ec_key("private"), rsa_key("weak", bits=1024)
WRONG_CURVE = TestKey("wrong-curve", "ES256", ec.generate_private_key(ec.SECP384R1()))
NOT_FOR_THIS = [
    ENCRYPTING.jwk(use="enc"),
    SIGN_ONLY.jwk(use=None, key_ops=["sign"]),
    OTHER_ALG.jwk(alg="RS512"),
    PRIVATE.jwk(d=b64(PRIVATE.private.private_numbers().private_value.to_bytes(32, "big"))),  # type: ignore[union-attr]
    WEAK.jwk(),
    WRONG_CURVE.jwk(),
    {"kty": "oct", "k": b64(b"shared"), "kid": "shared"},
    {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
    {"kty": ["RSA"]},
    "no key at all",
]


def hmac_with(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def public_bytes(encoding: Encoding, form: PublicFormat) -> bytes:
    return RSA.private.public_key().public_bytes(encoding, form)


def confused(secret: bytes, **changes: Any) -> str:
    return make_token(RSA, head=header(RSA, alg="HS256", **changes), sign=hmac_with(secret))


def head(key: TestKey = RSA, **changes: Any) -> str:
    """A token that the issuer signed, with another header."""
    return make_token(key, head=header(key, **changes))


def raw_head(text: str) -> str:
    return make_token(RSA, head=text)


def body(**changes: Any) -> str:
    """A token that the issuer signed, with other claims."""
    return make_token(RSA, body=claims(**changes))


def raw_body(text: str | bytes) -> str:
    return make_token(RSA, body=text)


def with_claim(name: str, value: str) -> str:
    """A token that the issuer signed, with a claim in raw JSON."""
    others = claims(**{name: None})
    return raw_body(json.dumps(others)[:-1] + f', "{name}": {value}}}')


GOOD = make_token(RSA)
H, P, S = GOOD.split(".")
NEXT = {"A": "B", "Q": "R", "g": "h", "w": "x"}  # the same bits, and one more that no byte needs

WITHOUT_A_KEY: dict[str, str] = {
    "alg none, no signature": make_token(RSA, head=header(RSA, alg="none"), sign=lambda _: b""),
    "alg none, the genuine signature": f"{b64(json.dumps(header(RSA, alg='none')).encode())}.{P}.{S}",
    **{f"alg {name}": head(alg=name) for name in ("None", "NONE", "nOnE", "rs256", "RS256 ", "")},
    "HS256 with the public key, SPKI in PEM": confused(
        public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "HS256 with the public key, PKCS 1 in PEM": confused(public_bytes(Encoding.PEM, PublicFormat.PKCS1)),
    "HS256 with the public key, DER": confused(public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    "HS256 with the public key, as JSON": confused(json.dumps(RSA.jwk()).encode()),
    "HS256 with an empty key": confused(b""),
    "HS256 with a key of the set": confused(b"shared", kid="shared"),
    "an algorithm that is not in the settings": make_token(rsa_key("rsa-1", "RS512")),
    "another padding": make_token(TestKey("rsa-1", "PS256", RSA.private)),
    "alg missing": head(alg=None),
    "alg a list": head(alg=["RS256"]),
    "alg a number": head(alg=256),
    "alg null": raw_head('{"alg": null}'),
    "kid a number": head(kid=1),
    "kid a list": head(kid=["rsa-1"]),
    "kid null": raw_head('{"alg": "RS256", "kid": null}'),
    "jwk, an embedded key": make_token(EVE_RSA, head=header(EVE_RSA, jwk=EVE_RSA.jwk())),
    "jwk, under a genuine key id": make_token(EVE_RSA, head=header(RSA, jwk=EVE_RSA.jwk())),
    "jwk, the genuine key": head(jwk=RSA.jwk()),
    "jku": make_token(EVE_RSA, head=header(EVE_RSA, jku="https://evil.example/keys")),
    "x5u": make_token(EVE_RSA, head=header(EVE_RSA, x5u="https://evil.example/chain.pem")),
    "crit with something unknown": head(crit=["exotic"], exotic=1),
    "crit with something known": head(crit=["exp"], exp=NOW),
    "crit, empty": head(crit=[]),
    "b64 false": head(b64=False, crit=["b64"]),
    "b64 false without crit": head(b64=False),
    "b64 true": head(b64=True),
    **{f"typ {kind}": head(typ=kind) for kind in ("JWE", "dpop+jwt", "secevent+jwt", "logout+jwt", "", 1)},
    "typ a list": head(typ=["JWT"]),
    "typ null": raw_head('{"alg": "RS256", "kid": "rsa-1", "typ": null}'),
    "alg twice": raw_head('{"alg": "none", "kid": "rsa-1", "alg": "RS256"}'),
    "kid twice": raw_head('{"alg": "RS256", "kid": "eve", "kid": "rsa-1"}'),
    "header a list": raw_head("[]"),
    "header a text": raw_head('"RS256"'),
    "header null": raw_head("null"),
    "header no JSON": raw_head("{alg: RS256}"),
    "header with NaN": raw_head('{"alg": "RS256", "kid": "rsa-1", "x": NaN}'),
    "header nested deeply": raw_head('{"alg": "RS256", "x": ' + "[" * 3000 + "]" * 3000 + "}"),
    "header with an endless number": raw_head('{"alg": "RS256", "x": 1' + "0" * 5000 + "}"),
    "header no UTF-8": f"{b64(bytes([0xFF]))}.{P}.{S}",
    "header with a byte order mark": raw_head("\ufeff" + json.dumps(header(RSA))),
    "no dots": "token",
    "two parts": f"{H}.{P}",
    "four parts": f"{GOOD}.{S}",
    "five parts, as if encrypted": f"{GOOD}.{S}.{S}",
    "five dots": f"{GOOD}...",
    "only dots": "..",
    "header empty": f".{P}.{S}",
    "padded": f"{H}.{P}.{S}==",
    "another alphabet": f"{H}.{P}.+/{S[2:]}",
    "bits left over": f"{H}.{P}.{S[:-1]}{NEXT[S[-1]]}",
    "a part of impossible length": f"{H}.{P}.{S}AAA",
    "a character of no alphabet": f"{H}.{P[:9]}!{P[10:]}.{S}",
    "a space inside": f"{H}.{P} .{S}",
    "a comma and another token": f"{GOOD}, Bearer {GOOD}",
    "not ASCII": f"{H}.{P}.{S}\u00e9",
    "JSON serialization": json.dumps({"protected": H, "payload": P, "signature": S}),
    "nothing after the scheme": "",
    "longer than 8 kB, and good": body(padding="x" * 8000),
    "1 MB": f"{H}.{'A' * 1_000_000}.{S}",
}
WITH_A_KEY: dict[str, str] = {
    "payload empty": f"{H}..{S}",
    "signature empty": f"{H}.{P}.",
    "signature of another token": f"{H}.{P}.{body(sub='eve').split('.')[2]}",
    "payload of another token": f"{H}.{body(sub='eve').split('.')[1]}.{S}",
    "signature too short": make_token(RSA, sign=lambda data: RSA.sign(data)[:-1]),
    "signature too long": f"{H}.{P}.{S}{S}",
    "signed by Eve under a genuine key id": make_token(EVE_RSA, head=header(RSA)),
    "signed by Eve under no key id": make_token(EVE_RSA, head=header(EVE_RSA, kid=None)),
    "signed by Eve under her own key id": make_token(EVE_RSA),
    "x5c, an embedded certificate": make_token(EVE_RSA, head=header(RSA, x5c=["MIIB"])),
    **{f"key id {kid}": head(kid=kid) for kid in ("../../dev/null", "' OR 1=1 --", "", "x" * 2000, "RSA-1")},
    "RS256 under an EC key's id": make_token(EVE_RSA, head=header(RSA, kid=EC.kid)),
    "ES256 under an RSA key's id": make_token(EVE_EC, head=header(EC, kid=RSA.kid)),
    "ES256, all zeros": make_token(EC, sign=lambda _: bytes(64)),
    "ES256 in DER": make_token(EC, sign=lambda data: EC.private.sign(data, ec.ECDSA(hashes.SHA256()))),  # type: ignore[call-arg,arg-type]
    "EdDSA, all zeros": make_token(ED, sign=lambda _: bytes(64)),
    "a key for encryption": make_token(ENCRYPTING),
    "a key for signing only": make_token(SIGN_ONLY),
    "a key for another algorithm": make_token(OTHER_ALG),
    "a key whose private half is public": make_token(PRIVATE),
    "a key of 1024 bits": make_token(WEAK),
    "a key on another curve": make_token(WRONG_CURVE),
    "payload no JSON": raw_body("{"),
    "payload a list": raw_body("[]"),
    "payload null": raw_body("null"),
    "payload no UTF-8": raw_body(b"\xff"),
    "payload in UTF-16": raw_body(json.dumps(claims()).encode("utf-16-le")),
    "payload with a byte order mark": raw_body("\ufeff" + json.dumps(claims())),
    "payload nested deeply": raw_body("[" * 3000),
    "a claim twice": raw_body(json.dumps(claims(exp=NOW - 600))[:-1] + f', "exp": {NOW + 600}}}'),
    "a nested name twice": with_claim("more", '{"a": 1, "a": 2}'),
    **{f"iss {value}": body(iss=value) for value in (None, "", "https://evil.example", ISSUER + "/")},
    **{f"iss {value}": body(iss=value) for value in (ISSUER.upper(), [ISSUER], 1, f"{ISSUER}.evil.example")},
    **{f"aud {value}": body(aud=value) for value in (None, "", "other", AUDIENCE + "/", AUDIENCE[:-1], 1)},
    "aud empty": body(aud=[]),
    "aud others": body(aud=["other", "another"]),
    "aud nested": body(aud=[[AUDIENCE]]),
    "aud not only texts": body(aud=[AUDIENCE, 1]),
    "aud an object": body(aud={AUDIENCE: 1}),
    **{f"exp {value}": body(exp=value) for value in (None, NOW - 60, NOW - 61, 0, -1, True, [NOW + 600])},
    **{f"exp {value}": with_claim("exp", value) for value in ("null", f'"{NOW + 600}"', "NaN", "Infinity")},
    "exp 10^400": with_claim("exp", "1" + "0" * 400),
    "exp 1e999": with_claim("exp", "1e999"),
    **{f"nbf {value}": body(nbf=value) for value in (NOW + 61, NOW + 600, True, str(NOW), [NOW])},
    **{f"nbf {value}": with_claim("nbf", value) for value in ("null", "-1e999", "-1" + "0" * 400)},
    **{f"iat {value}": body(iat=value) for value in (NOW + 61, NOW + 600, True, str(NOW), [NOW])},
    "sub a number": body(sub=1),
    **{f"email {value}": body(email=value) for value in (None, "", "ada", 1, ["ada@acme.example"])},
    **{f"organization_name {value}": body(organization_name=value) for value in (None, "", " ", 1)},
    **{f"organization_id {value}": body(organization_id=value) for value in (None, "", " ", True, 1.5)},
    "organization_id a list": body(organization_id=["acme"]),
    "organization_id null": with_claim("organization_id", "null"),
    "organization_id a lone surrogate": with_claim("organization_id", r'"\ud800"'),
}
SEVERAL: dict[str, Sequence[str]] = {
    "two headers": [GOOD, GOOD],
    "a good and a bad one": [GOOD, "token"],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One host for the whole table."""
    database = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('bearer')}/kombo_embed.db"
    sandbox = Sandbox(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    async with bearer_world(sandbox, database_url=database) as world:
        world.issuer.key_set["keys"] += [*NOT_FOR_THIS, ED.jwk(kid="ed-2", alg="Ed25519")]
        yield world
    await sandbox.aclose()


async def refuse(world: World, tokens: Sequence[str], caplog: pytest.LogCaptureFixture) -> None:
    """Send the tokens, and expect the one refusal that exists."""
    caplog.set_level("DEBUG", logger="kombo_embed")
    without_token = await world.client.post("/kombo/links", json={})
    minted = world.minted
    caplog.clear()
    answer = await world.ask(*tokens)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == INVALID_TOKEN
    assert answer.content == without_token.content
    assert world.minted == minted
    assert [line for line in caplog.messages if line.startswith("bearer.")] == ["bearer.rejected"]
    logged = str([vars(record) for record in caplog.records])
    assert not any(len(part) > 9 and part in logged for token in tokens for part in token.split("."))
    assert "ada@" not in logged


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "tokens",
    [
        *(pytest.param([token], id=name) for name, token in WITHOUT_A_KEY.items()),
        *(pytest.param(tokens, id=name) for name, tokens in SEVERAL.items()),
    ],
)
async def test_a_token_that_can_be_refused_without_a_key_causes_no_call_to_the_issuer(
    tokens: Sequence[str], shared: World, caplog: pytest.LogCaptureFixture
) -> None:
    calls = shared.issuer.calls.total()
    await refuse(shared, tokens, caplog)
    assert shared.issuer.calls.total() == calls


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("token", [pytest.param(token, id=name) for name, token in WITH_A_KEY.items()])
async def test_an_invalid_token_gets_the_one_refusal_and_causes_no_call_to_kombo(
    token: str, shared: World, caplog: pytest.LogCaptureFixture
) -> None:
    await refuse(shared, [token], caplog)
    # The clock stands still: the keys are fetched once, and once more for all unknown key ids together.
    assert shared.issuer.fetched <= 2


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "token",
    [
        pytest.param(GOOD, id="RS256"),
        pytest.param(make_token(EC), id="ES256"),
        pytest.param(make_token(ED), id="EdDSA"),
        pytest.param(
            make_token(ED, head=header(ED, alg="Ed25519", kid="ed-2")), id="EdDSA by its newer name"
        ),
        pytest.param(head(kid=None), id="without a key id"),
        *(
            pytest.param(head(typ=kind), id=f"typ {kind}")
            for kind in (None, "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt")
        ),
        pytest.param(head(x5t="abc", nonce="n", cty="JWT"), id="header parameters without meaning"),
        pytest.param(head(x5c=["MIIB" * 500]), id="a certificate in the header"),
        pytest.param(body(aud=["other", AUDIENCE]), id="several audiences"),
        pytest.param(body(exp=NOW - 59), id="expired within the leeway"),
        pytest.param(body(exp=NOW + 600.5), id="a fraction of a second"),
        pytest.param(body(nbf=NOW + 60), id="not yet valid within the leeway"),
        pytest.param(body(iat=NOW + 60), id="issued in the future within the leeway"),
        pytest.param(body(iat=None), id="without iat"),
        pytest.param(body(organization_id=7), id="a number as the origin id"),
        pytest.param(body(padding="x" * 5500), id="almost 8 kB"),
    ],
)
async def test_a_valid_token_gets_a_link(token: str, shared: World) -> None:
    assert (await shared.ask(token)).status_code == 200


async def test_the_scheme_may_have_any_case_and_any_number_of_spaces(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        for scheme in ("bearer ", "BEARER ", "Bearer   "):
            assert (await world.ask(GOOD, scheme=scheme)).status_code == 200


@pytest.mark.parametrize("scheme", [None, "Basic ", "DPoP ", ""])
async def test_without_a_token_the_challenge_names_no_error(scheme: str | None, sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        answer = await (world.ask() if scheme is None else world.ask(GOOD, scheme=scheme))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthenticated"
        assert (world.minted, world.issuer.fetched) == (0, 0)


async def test_every_route_for_end_users_requires_the_token(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        for method, path in [
            ("POST", "/links"),
            ("POST", "/completions"),
            ("GET", "/integrations"),
            ("GET", "/integrations/x"),
            ("POST", "/integrations/x/relink"),
            ("POST", "/integrations/x/setup-link"),
            ("DELETE", "/integrations/x"),
            ("GET", "/tools"),
        ]:
            answer = await world.client.request(method, f"/kombo{path}")
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_the_claims_are_the_end_user_at_kombo(sandbox: Sandbox) -> None:
    paths = {"claim_organization_name": "org.name", "claim_origin_id": "https://acme.example/claims.id"}
    async with bearer_world(sandbox, **paths) as world:
        named = claims(org={"name": "Acme & Sons"}, **{"https://acme.example/claims": {"id": "acme-7"}})
        answer = await world.ask(make_token(RSA, body=named))
        flow = await sandbox.complete(answer.json()["link"], "personio")
        headers = {"Authorization": f"Bearer {make_token(RSA, body=named)}"}
        done = await world.client.post(
            "/kombo/completions", json={"activation_token": flow.activation_token}, headers=headers
        )
    assert done.status_code == 201
    assert done.json()["integration"]["organization_name"] == "Acme & Sons"


async def test_each_token_is_verified_whatever_was_accepted_before(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        assert (await world.ask(GOOD)).status_code == 200
        forged = body(organization_id="other").rpartition(".")[0]
        for token in (GOOD[:-1], GOOD + "A", GOOD[:-2] + "AA", f"{forged}.{S}"):
            assert (await world.ask(token)).status_code == 401
        assert (await world.ask(GOOD, GOOD)).status_code == 401
        assert (await world.ask(GOOD)).status_code == 200


async def test_only_the_algorithms_of_the_settings_are_accepted(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox, jwt_algorithms=("ES256",)) as world:
        assert (await world.ask(make_token(EC))).status_code == 200
        for other in (GOOD, make_token(ED)):
            assert (await world.ask(other)).status_code == 401


async def test_a_token_is_refused_as_soon_as_it_has_expired(sandbox: Sandbox) -> None:
    async with bearer_world(sandbox) as world:
        token = body(exp=NOW + 10)
        world.clock.advance(69)
        assert (await world.ask(token)).status_code == 200
        world.clock.advance(1)
        assert (await world.ask(token)).status_code == 401


async def test_only_the_log_has_the_reason(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="kombo_embed.auth")
    reasons = {
        "several_headers": [GOOD, GOOD],
        "too_long": [body(padding="x" * 8000)],
        "malformed": ["token"],
        "forbidden_header": [head(crit=["exp"])],
        "wrong_algorithm": [head(alg="none")],
        "wrong_type": [head(typ="JWE")],
        "unknown_key": [head(kid="unknown")],
        "wrong_signature": [make_token(EVE_RSA, head=header(RSA))],
        "wrong_time": [body(exp="soon")],
        "expired": [body(exp=NOW - 600)],
        "not_yet": [body(nbf=NOW + 600)],
        "wrong_issuer": [body(iss="https://evil.example")],
        "wrong_audience": [body(aud="other")],
        "wrong_claims": [body(exp=None)],
        "wrong_identity": [body(email=None)],
    }
    async with bearer_world(sandbox) as world:
        for reason, tokens in reasons.items():
            caplog.clear()
            assert (await world.ask(*tokens)).status_code == 401
            assert {record.levelname for record in caplog.records} <= {"INFO"}
            [record] = [record for record in caplog.records if record.message == "bearer.rejected"]
            assert vars(record)["reason"] == reason
        assert vars(record)["error"] == "there is no 'email', where KOMBO_CLAIM_EMAIL says to look"


async def test_no_token_reaches_any_log(sandbox: Sandbox, log: LogRecorder) -> None:
    async with bearer_world(sandbox) as world:
        for token in (GOOD, make_token(EVE_RSA), body(exp=0), head(alg="none"), body(email="ada")):
            await world.ask(token)
    text = log.text()
    assert "expired" in text
    for secret in (P, S, H, "ada@acme.example"):
        assert secret not in text
