"""The settings in the guides of identity providers accept tokens of the shapes that the providers document.

Shapes, read in November 2026:

- Auth0: auth0.com/docs/manage-users/organizations/using-tokens,
  auth0.com/docs/tokens/create-namespaced-custom-claims
- Clerk: clerk.com/docs/guides/sessions/session-tokens (version 2)
- WorkOS: workos.com/docs/reference/authkit/session-tokens, workos.com/docs/authkit/jwt-templates;
  ``aud`` from a template: docs.convex.dev/auth/authkit
- Cognito: docs.aws.amazon.com/cognito/latest/developerguide/, the pages
  amazon-cognito-user-pools-using-the-id-token.html and amazon-cognito-user-pools-using-the-access-token.html
- Entra ID: learn.microsoft.com/entra/identity-platform/, the pages access-token-claims-reference,
  id-token-claims-reference and optional-claims-reference
- Keycloak: keycloak.org/docs/latest/server_admin, "Mapping organization claims"
- Supabase: supabase.com/docs/guides/auth/jwt-fields
- Firebase: firebase.google.com/docs/auth/admin/verify-id-tokens,
  firebase.google.com/docs/reference/js/v8/firebase.FirebaseIdToken
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.auth.issuer import FakeIssuer, World, world_of
from tests.auth.logged import logged_reason
from tests.auth.tokens import NOW, TestKey, ec_key, header, make_token, rsa_key

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
PROVIDERS = ("auth0", "clerk", "workos", "cognito", "entra-id", "keycloak", "supabase", "firebase")
PAGE = "\n".join((GUIDES / f"{name}.md").read_text(encoding="utf-8") for name in PROVIDERS)
BLOCKS = dict(re.findall(r"^##? ([^\n]+)\n(?:(?!^##? ).)*?```ini\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
TIMES = {"iat": NOW, "exp": NOW + 300}
ORGANIZATION = "42c3e46f-2477-44d7-a85b-d3b43f6b31fa"
RSA = rsa_key("abcdefghijklmnopqrsexample=")

AUTH0 = {
    "https://app.example.com/email": "ada@acme.example",
    "iss": "https://example.eu.auth0.com/",
    "sub": "auth0|602c0dcab993d10073daf680",
    "aud": ["https://api.example.com", "https://example.eu.auth0.com/userinfo"],
    "azp": "ENDmmAJsbwI1hOG1KPJddQ8LHjV6kLkV",
    "scope": "openid profile email",
    "org_id": "org_9ybsU1dN2dKfDkBi",
    "org_name": "acme",
    "permissions": [],
}
CLERK = {
    "azp": "https://app.example.com",
    "fva": [7, -1],
    "iss": "https://clerk.example.com",
    "jti": "f1a3b2c4",
    "nbf": NOW,
    "sid": "sess_123",
    "sub": "user_123",
    "v": 2,
    "sts": "active",
    "pla": "o:pro",
    "fea": "o:dashboard,o:teams",
    "o": {"id": "org_123", "rol": "admin", "slg": "acme", "per": "manage", "fpm": "3,2"},
    "email": "ada@acme.example",
    "org_name": "Acme",
}
WORKOS = {
    "iss": "https://api.workos.com",
    "sub": "user_01HBEQKA6K4QJAS93VPE39W1JT",
    "act": {"sub": "admin@foocorp.example"},
    "org_id": "org_01HRDMC6CM357W30QMHMQ96Q0S",
    "role": "member",
    "roles": ["member"],
    "permissions": ["posts:read", "posts:write"],
    "entitlements": ["audit-logs"],
    "sid": "session_01HQSXZGF8FHF7A9ZZFCW4387R",
    "jti": "01HQSXZXPPFPKMDD32RKTFY6PV",
    "aud": "client_123",
    "email": "ada@acme.example",
    "org_name": "Acme",
}
COGNITO = {
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "cognito:groups": ["test-group-a"],
    "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_example",
    "origin_jti": "5b9f50a3-05da-454a-8b99-b79c2349de77",
    "event_id": "64f513be-32db-42b0-b78e-b02127b4f463",
    "auth_time": NOW,
    "jti": "7e3a8f1b-05da-454a-8b99-b79c2349de77",
}
COGNITO_ID = COGNITO | {
    "email": "ada@acme.example",
    "email_verified": True,
    "cognito:username": "ada",
    "custom:organization_id": "acme-7",
    "custom:organization_name": "Acme",
    "aud": "xxxxxxxxxxxxexample",
    "token_use": "id",
    "identities": [{"userId": "ada", "providerName": "Acme", "providerType": "SAML", "primary": "true"}],
}
COGNITO_ACCESS = COGNITO | {
    "client_id": "xxxxxxxxxxxxexample",
    "token_use": "access",
    "scope": "phone openid profile email",
    "username": "ada",
    "version": 2,
}
ADDED_BY_TRIGGER = {"email": "ada@acme.example", "organization_name": "Acme", "organization_id": "acme-7"}
ENTRA = {
    "aud": "00001111-aaaa-2222-bbbb-3333cccc4444",
    "iss": "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0",
    "nbf": NOW,
    "aio": "AXQAi/8IAAAAtAAA",
    "azp": "11112222-bbbb-3333-cccc-4444dddd5555",
    "azpacr": "0",
    "name": "Ada Lovelace",
    "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb",
    "preferred_username": "ada@acme.onmicrosoft.example",
    "rh": "0.AAAAaaaa",
    "scp": "access_as_user",
    "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
    "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
    "uti": "aaaaaaaaaaaa",
    "ver": "2.0",
    "email": "ada@acme.example",
    "companyname": "Acme",
}
KEYCLOAK = {
    "jti": "trrtcc:6b92fbc3-3005-4d7f-960d-e08c6e4bb45d",
    "iss": "https://login.example.com/realms/example",
    "aud": ["https://api.example.com", "account"],
    "sub": "d019f228-2469-4cdd-b086-4c3cd5fe3aef",
    "typ": "Bearer",
    "azp": "web",
    "sid": "e9c9254c-5b59-4a8e-b90a-7766ef1b25d1",
    "acr": "1",
    "allowed-origins": ["https://app.example.com"],
    "realm_access": {"roles": ["offline_access", "uma_authorization"]},
    "scope": "openid organization email profile",
    "email_verified": True,
    "organization": {"acme": {"id": ORGANIZATION}},
    "preferred_username": "ada",
    "email": "ada@acme.example",
}
SUPABASE = {
    "iss": "https://abcdefghijklmnopqrst.supabase.co/auth/v1",
    "aud": "authenticated",
    "sub": "123e4567-e89b-12d3-a456-426614174000",
    "role": "authenticated",
    "aal": "aal1",
    "session_id": "6a2e1a2b-e89b-12d3-a456-426614174000",
    "email": "ada@acme.example",
    "phone": "",
    "is_anonymous": False,
    "amr": [{"method": "password", "timestamp": NOW}],
    "app_metadata": {
        "provider": "email",
        "providers": ["email"],
        "organization_id": "acme-7",
        "organization_name": "Acme",
    },
    "user_metadata": {"organization_id": "someone-else", "organization_name": "Someone Else"},
}
FIREBASE = {
    "iss": "https://securetoken.google.com/example-project",
    "aud": "example-project",
    "auth_time": NOW,
    "user_id": "BpLvJ1RgbvXm4oXGMGVZqdKgTTv1",
    "sub": "BpLvJ1RgbvXm4oXGMGVZqdKgTTv1",
    "name": "Ada Lovelace",
    "email": "ada@acme.example",
    "email_verified": True,
    "organization_id": "acme-7",
    "organization_name": "Acme",
    "firebase": {"identities": {"email": ["ada@acme.example"]}, "sign_in_provider": "password"},
}

ACME, ACME_7 = "Acme", "acme-7"
# Heading of the page, the token's claims, the organization that Kombo has to be told.
DOCUMENTED: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
    ("Auth0", AUTH0, ("acme", "org_9ybsU1dN2dKfDkBi")),
    ("Clerk", CLERK, (ACME, "org_123")),
    ("WorkOS", WORKOS, (ACME, "org_01HRDMC6CM357W30QMHMQ96Q0S")),
    ("Amazon Cognito, ID tokens", COGNITO_ID, (ACME, ACME_7)),
    ("Amazon Cognito, access tokens", COGNITO_ACCESS | ADDED_BY_TRIGGER, (ACME, ACME_7)),
    ("Microsoft Entra ID", ENTRA, (ACME, "aaaabbbb-0000-cccc-1111-dddd2222eeee")),
    ("Keycloak", KEYCLOAK, ("acme", ORGANIZATION)),
    ("Keycloak, organizations as a list", KEYCLOAK | {"organization": ["acme"]}, ("acme", "acme")),
    ("Supabase", SUPABASE, (ACME, ACME_7)),
    ("Firebase", FIREBASE, (ACME, ACME_7)),
]
CLAIMS = {heading: claims for heading, claims, _ in DOCUMENTED}


@asynccontextmanager
async def provider(
    heading: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, *keys: TestKey
) -> AsyncIterator[World]:
    """A host with exactly the settings below a heading of the page, and the provider at its own addresses."""
    variables = dict(line.split("=", 1) for line in BLOCKS[heading].strip().splitlines())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    issuer = FakeIssuer(
        *(keys or (RSA,)),
        others=httpx.ASGITransport(sandbox.app),
        issuer=variables["KOMBO_OIDC_ISSUER"],
        keys_url=variables.get("KOMBO_JWKS_URL"),
    )
    async with world_of(sandbox, issuer) as world:
        yield world


def token(claims: dict[str, Any], key: TestKey = RSA, **head: Any) -> str:
    return make_token(key, head=header(key, **head), body={**claims, **TIMES})


def test_every_block_of_the_page_is_tried() -> None:
    assert list(BLOCKS) == [heading for heading, _, _ in DOCUMENTED]
    assert PAGE.count("```ini") == len(BLOCKS)


@pytest.mark.parametrize(
    ("heading", "claims", "organization"), DOCUMENTED, ids=[row[0] for row in DOCUMENTED]
)
async def test_a_documented_token_is_the_end_user_with_the_documented_settings(
    heading: str,
    claims: dict[str, Any],
    organization: tuple[str, str],
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with provider(heading, sandbox, monkeypatch) as world:
        answer = await world.ask(token(claims))
        assert answer.status_code == 200
        flow = await sandbox.complete(answer.json()["link"])
        integrations: Any = sandbox.report()["integrations"]
    [integration] = integrations
    assert integration["id"] == flow.integration_id
    end_user = integration["end_user"]
    assert end_user["creator_email"] == "ada@acme.example"
    assert (end_user["organization_name"], end_user["origin_id"]) == organization


@pytest.mark.parametrize("heading", BLOCKS)
async def test_a_token_of_another_application_of_the_provider_is_refused(
    heading: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = CLAIMS[heading]
    recipient = next(name for name in ("aud", "azp", "client_id") if name in claims)
    async with provider(heading, sandbox, monkeypatch) as world:
        for wrong in ("other", ["other"], "", None, {claims[recipient][0]: 1}):
            assert (await world.ask(token({**claims, recipient: wrong}))).status_code == 401
        without = {name: value for name, value in claims.items() if name != recipient}
        assert (await world.ask(token(without))).status_code == 401
        assert world.minted == 0


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", None])
async def test_auth0_tokens_of_both_profiles_are_accepted(
    kind: str | None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider("Auth0", sandbox, monkeypatch) as world:
        assert (await world.ask(token(AUTH0, typ=kind))).status_code == 200


async def test_a_clerk_session_without_an_organization_is_refused(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider("Clerk", sandbox, monkeypatch) as world:
        personal = {name: value for name, value in CLERK.items() if name != "o"}
        assert (await world.ask(token(personal, cat="cl_B7d4PD111AAA"))).status_code == 401


async def test_a_workos_token_without_a_template_is_refused(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="kombo_embed.auth")
    added = {"aud", "email", "org_name"}
    async with provider("WorkOS", sandbox, monkeypatch) as world:
        plain = {name: value for name, value in WORKOS.items() if name not in added}
        assert (await world.ask(token(plain))).status_code == 401
    [record] = [record for record in caplog.records if record.message == "bearer.rejected"]
    assert vars(record)["reason"] == "wrong_audience"


async def test_a_cognito_access_token_without_an_email_is_refused_with_the_reason_in_the_log(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="kombo_embed.auth")
    organization = {"organization_name": "Acme", "organization_id": "acme-7"}
    async with provider("Amazon Cognito, access tokens", sandbox, monkeypatch) as world:
        assert (await world.ask(token(COGNITO_ACCESS | organization))).status_code == 401
    [record] = [record for record in caplog.records if record.message == "bearer.rejected"]
    assert vars(record)["error"] == "there is no 'email', where KOMBO_CLAIM_EMAIL says to look"


@pytest.mark.parametrize(
    ("heading", "claims"),
    [
        ("Amazon Cognito, ID tokens", COGNITO_ACCESS | ADDED_BY_TRIGGER),
        ("Amazon Cognito, access tokens", COGNITO_ID | ADDED_BY_TRIGGER),
    ],
)
async def test_cognito_tokens_of_the_other_kind_are_refused(
    heading: str, claims: dict[str, Any], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider(heading, sandbox, monkeypatch) as world:
        assert (await world.ask(token(claims))).status_code == 401


async def test_an_entra_token_of_another_tenant_or_version_is_refused(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider("Microsoft Entra ID", sandbox, monkeypatch) as world:
        other = "https://login.microsoftonline.com/99999999-0000-cccc-1111-dddd2222eeee/v2.0"
        first = "https://sts.windows.net/aaaabbbb-0000-cccc-1111-dddd2222eeee/"
        for issuer in (other, first):
            assert (await world.ask(token(ENTRA | {"iss": issuer}))).status_code == 401
        without_email = {name: value for name, value in ENTRA.items() if name != "email"}
        assert (await world.ask(token(without_email))).status_code == 401


@pytest.mark.parametrize(
    ("heading", "organizations"),
    [
        ("Keycloak", {"acme": {"id": "1"}, "other": {"id": "2"}}),
        ("Keycloak", {"acme": {"id": "1"}, "*": {"id": "2"}}),
        ("Keycloak", {"acme": {"id": "1"}, "*.id": "2"}),
        ("Keycloak, organizations as a list", ["acme", "other"]),
    ],
)
async def test_a_person_of_two_keycloak_organizations_is_an_identity_error(
    heading: str,
    organizations: Any,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with provider(heading, sandbox, monkeypatch) as world:
        answer = await world.ask(token(KEYCLOAK | {"organization": organizations}))
        assert (answer.status_code, answer.json()["code"]) == (500, "identity_error")
        assert world.minted == 0
    assert "several values at a *" in logged_reason(caplog)
    assert "acme" not in answer.text + logged_reason(caplog)


async def test_a_person_of_no_keycloak_organization_is_refused(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider("Keycloak", sandbox, monkeypatch) as world:
        values: list[Any] = [{}, [], None, "acme", {"acme": {}}, {"acme": None}, {"": {"id": ""}}]
        for organizations in values:
            answer = await world.ask(token(KEYCLOAK | {"organization": organizations}))
            assert answer.status_code == 401


async def test_supabase_signs_with_es256_too_and_its_older_shared_secret_is_refused(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec_key()
    async with provider("Supabase", sandbox, monkeypatch, key, RSA) as world:
        for one in (key, RSA):
            assert (await world.ask(token(SUPABASE, one))).status_code == 200
        assert (await world.ask(token(SUPABASE, key, alg="HS256"))).status_code == 401


async def test_firebase_publishes_certificates_elsewhere_which_are_no_key_set(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider("Firebase", sandbox, monkeypatch) as world:
        world.issuer.key_set = {"8f2a": "-----BEGIN CERTIFICATE-----\nMIIDHDCC\n-----END CERTIFICATE-----\n"}
        assert (await world.ask(token(FIREBASE))).json()["code"] == "identity_unavailable"
