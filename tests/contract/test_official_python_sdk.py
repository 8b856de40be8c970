"""Kombo's official Python SDK works with the sandbox as with Kombo."""

import typing
from collections.abc import Iterator

import httpx
import kombo
import pytest
from kombo import errors, models
from kombo.models.postconnectcreatelinkrequestbody import IntegrationTool

from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.catalogue import catalogue
from tests.sandbox.running_server import running

API_KEY = "ks_dev_official"


@pytest.fixture
def address() -> Iterator[str]:
    with running(Sandbox(api_key=API_KEY).app) as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[kombo.Kombo]:
    with kombo.Kombo(api_key=API_KEY, server_url=f"{address}/v1") as client:
        yield client


@pytest.fixture
def control(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{address}/_sandbox") as control:
        yield control


def create_link(client: kombo.Kombo, **fields: typing.Any) -> str:
    answer = client.connect.create_connection_link(
        end_user_email="ada@acme.example", end_user_organization_name="Acme", **fields
    )
    return answer.data.link


def complete(control: httpx.Client, link: str, tool: str = "personio") -> tuple[str, str]:
    answer = control.post("/complete", json={"link": link, "tool": tool}).json()
    return answer["activation_token"], answer["integration_id"]


@pytest.fixture
def integration_id(client: kombo.Kombo, control: httpx.Client) -> str:
    return complete(control, create_link(client, enable_filtering=True))[1]


def test_a_flow_from_link_to_integration(client: kombo.Kombo, control: httpx.Client, address: str) -> None:
    link = create_link(client, end_user_origin_id="acme-1", integration_tool="personio", language=None)
    token, integration_id = complete(control, link)
    data = client.connect.get_integration_by_token(token=token).data
    assert link.startswith(f"{address}/connect?token=")
    assert (data.id, data.tool, data.setup_status) == (integration_id, "personio", "COMPLETED")
    assert (data.end_user_origin_id, data.end_user_email) == ("acme-1", "ada@acme.example")


def test_static_ips_reach_the_sdk(client: kombo.Kombo) -> None:
    answer = client.connect.create_connection_link(
        end_user_email="ada@acme.example", end_user_organization_name="Acme", enable_static_ips=True
    )
    assert answer.data.static_ips


def test_details_have_every_field_of_the_schema(client: kombo.Kombo, integration_id: str) -> None:
    data = client.general.get_integration_details(integration_id=integration_id).data
    assert (data.id, data.status, data.category) == (integration_id, "ACTIVE", "HRIS")
    assert data.end_user.organization_name == "Acme"
    assert data.read_models
    assert data.write_actions


def test_a_reconnection_keeps_the_integration(
    client: kombo.Kombo, control: httpx.Client, integration_id: str
) -> None:
    control.post("/state-change", json={"integration_id": integration_id, "state": "INVALID"})
    before = client.general.get_integration_details(integration_id=integration_id).data.status
    relink = client.general.create_reconnection_link(integration_id=integration_id)
    _, same = complete(control, relink.data.link)
    after = client.general.get_integration_details(integration_id=integration_id).data.status
    assert (same, before, after) == (integration_id, "INVALID", "ACTIVE")


def test_a_setup_flow_completes_the_setup(
    client: kombo.Kombo, control: httpx.Client, integration_id: str
) -> None:
    before = client.general.get_integration_details(integration_id=integration_id).data.setup_status
    setup = client.general.create_setup_link(integration_id=integration_id, link_type="EMBEDDED")
    complete(control, setup.data.link)
    after = client.general.get_integration_details(integration_id=integration_id).data.setup_status
    assert (before, after) == ("INCOMPLETE", "COMPLETED")


def test_an_integration_is_switched_off_on_and_deleted(client: kombo.Kombo, integration_id: str) -> None:
    statuses = []
    for value in (False, True):
        client.general.set_integration_enabled(integration_id=integration_id, value=value)
        statuses.append(client.general.get_integration_details(integration_id=integration_id).data.status)
    client.general.delete_integration(integration_id=integration_id, body={})
    with pytest.raises(errors.KomboGeneralError) as gone:
        client.general.get_integration_details(integration_id=integration_id)
    assert statuses == ["INACTIVE", "ACTIVE"]
    assert gone.value.data.error.code == "PLATFORM.INTEGRATION_NOT_FOUND"


def test_the_key_is_checked(client: kombo.Kombo, address: str) -> None:
    assert client.general.check_api_key().data.environment_id
    with (
        kombo.Kombo(api_key="ks_dev_other", server_url=f"{address}/v1") as stranger,
        pytest.raises(errors.KomboGeneralError) as refused,
    ):
        stranger.general.check_api_key()
    assert (refused.value.status_code, refused.value.data.error.code) == (
        401,
        "PLATFORM.AUTHENTICATION_INVALID",
    )


@pytest.mark.parametrize("category", ["hris", "ats", "assessment", "lms"])
def test_tools_are_listed(client: kombo.Kombo, category: models.GetToolsCategoryParameterCategory) -> None:
    assert client.general.get_tools(category=category).data.tools


def test_every_tool_that_the_sdk_knows_is_in_the_catalogue() -> None:
    assert set(typing.get_args(IntegrationTool)) == catalogue().keys()


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"end_user_origin_id": ""}, "end_user_origin_id"), ({"remote_environment": "x"}, "remote_environment")],
)
def test_a_refused_input_is_a_typed_error(client: kombo.Kombo, fields: dict[str, str], field: str) -> None:
    with pytest.raises(errors.KomboGeneralError) as refused:
        create_link(client, **fields)
    assert refused.value.data.error.code == "PLATFORM.INPUT_INVALID"
    assert field in refused.value.data.error.message


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("rate_limited", errors.KomboGeneralError),
        ("null_code", errors.KomboGeneralError),
        ("unknown_code", errors.ResponseValidationError),
        ("foreign_json", errors.ResponseValidationError),
        ("html_503", errors.SDKDefaultError),
        ("text_502", errors.SDKDefaultError),
        ("empty_500", errors.SDKDefaultError),
        ("drop", httpx.RemoteProtocolError),
    ],
)
def test_injected_faults_raise_the_sdks_errors(
    client: kombo.Kombo, control: httpx.Client, mode: str, error: type[Exception]
) -> None:
    control.post("/faults", json={"path": "/check-api-key", "mode": mode})
    with pytest.raises(error):
        client.general.check_api_key()
    assert client.general.check_api_key().data.environment_id


def test_webhook_bodies_are_those_of_the_sdk(client: kombo.Kombo, control: httpx.Client) -> None:
    token_link = create_link(client, enable_field_mapping=True)
    control.post("/fail", json={"link": token_link})
    _, integration_id = complete(control, token_link)
    control.post("/state-change", json={"integration_id": integration_id, "state": "INVALID"})
    client.general.delete_integration(integration_id=integration_id, body={})
    schemas = {
        "connection-flow-failed": models.ConnectionFlowFailedWebhookPayload,
        "integration-created": models.IntegrationCreatedWebhookPayload,
        "integration-state-changed": models.IntegrationStateChangedWebhookPayload,
        "integration-deleted": models.IntegrationDeletedWebhookPayload,
    }
    bodies = [delivery["body"] for delivery in control.get("/state").json()["deliveries"]]
    assert [body["type"] for body in bodies] == list(schemas)
    for body in bodies:
        schemas[body["type"]].model_validate(body, strict=False, extra="forbid")
