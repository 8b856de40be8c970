"""The sandbox's implementation of Kombo's endpoints."""

import re

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from tests.sandbox.conftest import API_KEY, BASE_URL, END_USER, Mint

CREATE_LINK = "/v1/connect/create-link"


def code_of(response: httpx.Response) -> object:
    body = response.json()
    assert body["status"] == "error"
    assert body["error"].keys() == {"code", "title", "message", "log_url"}
    return body["error"]["code"]


async def test_a_link_opens_the_sandboxs_own_connect_page(api: httpx.AsyncClient) -> None:
    response = await api.post(CREATE_LINK, json=END_USER)
    assert response.status_code == 200
    assert response.json().keys() == {"status", "data"}
    assert response.json()["data"].keys() == {"link"}
    assert re.fullmatch(
        r"http://localhost:8001/connect\?token=[\w-]+\.[\w-]+\.[\w-]+", response.json()["data"]["link"]
    )


async def test_links_can_be_opaque(api: httpx.AsyncClient, mint: Mint) -> None:
    await api.post("/_sandbox/settings", json={"link_shape": "opaque"})
    assert re.fullmatch(r"http://localhost:8001/connect\?token=[A-Za-z0-9]{48}", await mint())


async def test_each_request_mints_a_new_link(mint: Mint) -> None:
    assert await mint() != await mint()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("end_user_email", "ada"),
        ("end_user_email", None),
        ("end_user_organization_name", ""),
        ("end_user_origin_id", ""),
        ("end_user_origin_id", 7),
        ("integration_category", None),
        ("integration_category", "hris"),
        ("integration_tool", ""),
        ("language", "nl"),
        ("enable_filtering", None),
        ("enable_filtering", "true"),
        ("enable_field_mapping", 1),
        ("enable_static_ips", None),
        ("link_type", None),
        ("link_type", "EMBED"),
        ("remote_environment", "staging"),
        ("redirect_url", "https://app.example"),
    ],
)
async def test_an_invalid_field_is_rejected_by_name(
    api: httpx.AsyncClient, field: str, value: object
) -> None:
    response = await api.post(CREATE_LINK, json=END_USER | {field: value})
    assert (response.status_code, code_of(response)) == (400, "PLATFORM.INPUT_INVALID")
    assert field in response.json()["error"]["message"]


@pytest.mark.parametrize("missing", list(END_USER))
async def test_a_missing_field_is_rejected_by_name(api: httpx.AsyncClient, missing: str) -> None:
    fields = {name: value for name, value in END_USER.items() if name != missing}
    response = await api.post(CREATE_LINK, json=fields)
    assert (response.status_code, code_of(response)) == (400, "PLATFORM.INPUT_INVALID")


async def test_null_is_accepted_in_nullable_fields(api: httpx.AsyncClient) -> None:
    nullable = ("end_user_origin_id", "remote_environment", "integration_tool", "language", "scope_config_id")
    response = await api.post(CREATE_LINK, json=END_USER | dict.fromkeys(nullable))
    assert response.status_code == 200


async def test_static_ips_are_returned_with_the_link_if_enabled(api: httpx.AsyncClient) -> None:
    response = await api.post(CREATE_LINK, json=END_USER | {"enable_static_ips": True})
    assert response.json()["data"].keys() == {"link", "static_ips"}


async def test_a_tool_of_another_category_is_accepted(mint: Mint) -> None:
    await mint(integration_category="LMS", integration_tool="personio")


async def test_an_unknown_tool_is_accepted_unless_unknown_tools_are_refused(
    api: httpx.AsyncClient, mint: Mint
) -> None:
    await mint(integration_tool="brandnewtool")
    await api.post("/_sandbox/settings", json={"unknown_tools": "refuse"})
    response = await api.post(CREATE_LINK, json=END_USER | {"integration_tool": "brandnewtool"})
    assert (response.status_code, code_of(response)) == (400, "PLATFORM.INPUT_INVALID")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"{}", "text/plain"),
    ],
)
async def test_a_body_that_is_no_json_object_is_rejected(
    api: httpx.AsyncClient, content: bytes, content_type: str
) -> None:
    response = await api.post(CREATE_LINK, content=content, headers={"Content-Type": content_type})
    assert (response.status_code, code_of(response)) == (400, "PLATFORM.INPUT_INVALID")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic abc", "Bearer ü"])
async def test_a_request_without_the_configured_key_is_rejected(
    api: httpx.AsyncClient, authorization: str
) -> None:
    headers = {"Authorization": authorization.encode()}
    response = await api.get("/v1/check-api-key", headers=headers)  # type: ignore[arg-type]  # raw bytes are fine
    assert (response.status_code, code_of(response)) == (401, "PLATFORM.AUTHENTICATION_INVALID")


async def test_without_a_configured_key_any_key_is_accepted_but_one_is_required() -> None:
    transport = httpx.ASGITransport(Sandbox().app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        with_key = await client.get("/v1/check-api-key", headers={"Authorization": "bearer whatever"})
        without = await client.get("/v1/check-api-key")
    assert with_key.json()["data"]["environment_id"] == with_key.json()["data"]["customer_id"]
    assert without.status_code == 401


async def test_a_rotated_key_replaces_the_old_one_at_once(api: httpx.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.api_key = "ks_dev_rotated"
    assert (await api.get("/v1/check-api-key")).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/integrations", 404), ("GET", CREATE_LINK, 405), ("POST", "/v1/check-api-key", 405)],
)
async def test_unknown_paths_and_methods_have_the_error_envelope(
    api: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await api.request(method, path)
    assert (response.status_code, code_of(response)) == (status, None)


async def test_an_activation_token_returns_its_integration(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    completion = await sandbox.complete(await mint(end_user_origin_id="acme-1"), "bamboohr")
    response = await api.get(f"/v1/connect/integration-by-token/{completion.activation_token}")
    assert response.json()["data"] == {
        "id": completion.integration_id,
        "tool": "bamboohr",
        "end_user_origin_id": "acme-1",
        "end_user_organization_name": "Acme",
        "end_user_email": "ada@acme.example",
        "setup_status": "COMPLETED",
    }
    assert re.fullmatch(r"bamboohr:[1-9A-HJ-NP-Za-km-z]{24}", completion.integration_id)


async def test_the_deprecated_exchange_still_works(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    completion = await sandbox.complete(await mint())
    body = {"token": completion.activation_token}
    response = await api.post("/v1/connect/activate-integration", json=body)
    assert response.json()["data"]["id"] == completion.integration_id


async def test_integration_details_use_the_nested_names(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    completion = await sandbox.complete(await mint(end_user_origin_id="acme-1", scope_config_id="scope-1"))
    data = (await api.get(f"/v1/integrations/{completion.integration_id}")).json()["data"]
    assert data["end_user"] == {
        "origin_id": "acme-1",
        "creator_email": "ada@acme.example",
        "organization_name": "Acme",
    }
    assert (data["status"], data["category"], data["scope_config"]["id"]) == ("ACTIVE", "HRIS", "scope-1")
    assert data["tool"]["icon_url"] == f"{BASE_URL}/assets/tools/personio.svg"
    assert (await api.get(data["tool"]["icon_url"])).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("POST", "/relink"), ("PUT", "/enabled"), ("POST", "/setup-link")],
)
async def test_an_unknown_integration_is_not_found(api: httpx.AsyncClient, method: str, path: str) -> None:
    body = {"/enabled": {"value": True}, "/setup-link": {"link_type": "EMBEDDED"}}.get(path, {})
    content = None if method == "GET" else body
    response = await api.request(method, f"/v1/integrations/personio:nope{path}", json=content)
    assert (response.status_code, code_of(response)) == (404, "PLATFORM.INTEGRATION_NOT_FOUND")


async def test_a_relink_keeps_the_integration_and_makes_it_active_again(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    first = await sandbox.complete(await mint())
    change = {"integration_id": first.integration_id, "state": "INVALID"}
    await api.post("/_sandbox/state-change", json=change)
    relink = await api.post(
        f"/v1/integrations/{first.integration_id}/relink", json={"scope_config_id": "scope-2"}
    )
    second = await sandbox.complete(relink.json()["data"]["link"])
    data = (await api.get(f"/v1/integrations/{first.integration_id}")).json()["data"]
    assert second.integration_id == first.integration_id
    assert second.activation_token != first.activation_token
    assert (data["status"], data["scope_config"]["id"]) == ("ACTIVE", "scope-2")


async def test_a_setup_flow_completes_the_setup(api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint) -> None:
    completion = await sandbox.complete(await mint(enable_filtering=True))
    path = f"/v1/integrations/{completion.integration_id}"
    before = (await api.get(path)).json()["data"]["setup_status"]
    setup = await api.post(f"{path}/setup-link", json={"link_type": "EMBEDDED", "language": None})
    await sandbox.complete(setup.json()["data"]["link"])
    after = (await api.get(path)).json()["data"]["setup_status"]
    assert (before, after) == ("INCOMPLETE", "COMPLETED")


@pytest.mark.parametrize(
    "fields",
    [{}, {"enable_filtering": True, "integration_category": "ATS"}],
    ids=["none", "filtering in ATS"],
)
async def test_an_integration_without_a_setup_step_has_no_setup_link(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, fields: dict[str, object]
) -> None:
    completion = await sandbox.complete(await mint(**fields))
    path = f"/v1/integrations/{completion.integration_id}/setup-link"
    response = await api.post(path, json={"link_type": "EMBEDDED"})
    assert (response.status_code, code_of(response)) == (400, "PLATFORM.INPUT_INVALID")


async def test_a_setup_link_requires_its_link_type(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    completion = await sandbox.complete(await mint(enable_field_mapping=True))
    response = await api.post(f"/v1/integrations/{completion.integration_id}/setup-link", json={})
    assert "link_type" in response.json()["error"]["message"]


async def test_an_integration_is_switched_off_and_on(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    path = f"/v1/integrations/{(await sandbox.complete(await mint())).integration_id}"
    seen = []
    for value in (False, True):
        response = await api.put(f"{path}/enabled", json={"value": value})
        assert response.json() == {"status": "success", "data": {}}
        seen.append((await api.get(path)).json()["data"]["status"])
    assert seen == ["INACTIVE", "ACTIVE"]


async def test_deleting_an_integration_ends_its_activation_token(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    completion = await sandbox.complete(await mint())
    path = f"/v1/integrations/{completion.integration_id}"
    without_body = await api.delete(path)
    deleted = await api.request("DELETE", path, json={})
    gone = [
        await api.get(path),
        await api.get(f"/v1/connect/integration-by-token/{completion.activation_token}"),
    ]
    assert (without_body.status_code, deleted.status_code) == (400, 200)
    assert [response.status_code for response in gone] == [404, 404]


@pytest.mark.parametrize(("category", "tool"), [("hris", "personio"), ("ats", "lever"), ("lms", "moodle")])
async def test_tools_are_listed_by_category(api: httpx.AsyncClient, category: str, tool: str) -> None:
    tools = (await api.get(f"/v1/tools/{category}")).json()["data"]["tools"]
    labels = [entry["label"].casefold() for entry in tools]
    assert tool in {entry["id"] for entry in tools}
    assert labels == sorted(labels)


async def test_an_unknown_category_has_no_tools(api: httpx.AsyncClient) -> None:
    response = await api.get("/v1/tools/HRIS")
    assert (response.status_code, code_of(response)) == (400, "PLATFORM.INPUT_INVALID")


async def test_no_response_contains_the_api_key(api: httpx.AsyncClient) -> None:
    responses = [await api.get("/v1/check-api-key"), await api.get("/_sandbox/state")]
    assert all(API_KEY not in response.text for response in responses)
