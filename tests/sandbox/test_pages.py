"""The pages as documents, without a browser, and the catalogue of tools."""

import json
import re
from importlib.resources import files

import httpx
import pytest

from kombo_embed.sandbox import Sandbox
from kombo_embed.sandbox.catalogue import Tool, catalogue
from tests.sandbox.conftest import Mint

LANGUAGES = ["en", "de", "fr", "it", "es"]
TEXTS = json.loads(files("kombo_embed.sandbox").joinpath("static/texts.json").read_text(encoding="utf-8"))


def flow_of(page: httpx.Response) -> dict[str, object]:
    block = re.search(r'<script type="application/json" id="flow">(.*?)</script>', page.text)
    assert block
    flow: dict[str, object] = json.loads(block[1])
    return flow


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_page_is_in_the_language_of_its_link(
    api: httpx.AsyncClient, mint: Mint, language: str
) -> None:
    page = await api.get(await mint(language=language))
    assert f'<html lang="{language}">' in page.text
    assert f"<title>{TEXTS[language]['page_title']}</title>" in page.text
    assert flow_of(page)["texts"] == TEXTS[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_with_the_same_placeholders(language: str) -> None:
    def placeholders(text: str) -> list[str]:
        return sorted(re.findall(r"\{\w+\}", text))

    english = TEXTS["en"]
    assert TEXTS[language].keys() == english.keys()
    assert all(placeholders(TEXTS[language][key]) == placeholders(english[key]) for key in english)


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--<script>", "A & B's \u2028 “C”", "$data"]
)
async def test_no_organization_name_breaks_out_of_its_script_block(
    api: httpx.AsyncClient, mint: Mint, name: str
) -> None:
    page = await api.get(await mint(end_user_organization_name=name))
    assert flow_of(page)["organization"] == name
    assert page.text.count("<script") == 2


async def test_any_page_may_frame_the_connect_page_which_loads_only_its_own_files(
    api: httpx.AsyncClient, mint: Mint
) -> None:
    headers = (await api.get(await mint())).headers
    assert "X-Frame-Options" not in headers
    assert "frame-ancestors" not in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


async def test_a_preset_tool_is_the_only_one_offered(api: httpx.AsyncClient, mint: Mint) -> None:
    flow = flow_of(await api.get(await mint(integration_tool="hibob")))
    assert flow["preset"] is True
    assert [tool["id"] for tool in flow["tools"]] == ["hibob"]  # type: ignore[attr-defined]  # JSON


@pytest.mark.parametrize("path", ["/connect", "/connect?token=", "/connect?token=nope"])
async def test_an_unknown_link_opens_an_explanation(api: httpx.AsyncClient, path: str) -> None:
    page = await api.get(path)
    assert (page.status_code, flow_of(page)["step"]) == (200, "unknown")


async def test_a_reconnection_of_a_deleted_integration_opens_an_explanation(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint
) -> None:
    path = f"/v1/integrations/{(await sandbox.complete(await mint())).integration_id}"
    link = (await api.post(f"{path}/relink", json={})).json()["data"]["link"]
    await api.request("DELETE", path, json={})
    assert flow_of(await api.get(link))["step"] == "unknown"


async def test_every_file_that_the_pages_load_exists(api: httpx.AsyncClient, mint: Mint) -> None:
    pending = {await mint(), "/", "/favicon.ico"}
    loaded: dict[str, int] = {}
    while pending:
        path = pending.pop()
        response = await api.get(path)
        loaded[path] = response.status_code
        found = re.findall(r'(?:src|href|src:) ?= ?"(/[^"]*)"|from "\./(\w+\.js)"', response.text)
        pending |= {absolute or f"/assets/{name}" for absolute, name in found} - loaded.keys()
    assert len(loaded) >= 10
    assert set(loaded.values()) == {200}


async def test_the_browser_gets_the_activation_token_alone(api: httpx.AsyncClient, mint: Mint) -> None:
    token = httpx.URL(await mint()).params["token"]
    response = await api.post("/connect/finish", json={"token": token, "tool": "lever"})
    assert response.json().keys() == {"activation_token"}


@pytest.mark.parametrize("act", ["finish", "fail"])
async def test_an_ended_flow_is_reported_to_the_page_by_its_status(
    api: httpx.AsyncClient, sandbox: Sandbox, mint: Mint, act: str
) -> None:
    token = httpx.URL(await mint()).params["token"]
    sandbox.clock.advance(3600)
    expired = await api.post(f"/connect/{act}", json={"token": token, "tool": "lever"})
    unknown = await api.post(f"/connect/{act}", json={"token": "nope", "tool": "lever"})
    assert (expired.status_code, unknown.status_code) == (410, 404)


@pytest.mark.parametrize("tool", ["personio", "360learning", "brandnewtool"])
async def test_every_tool_has_a_tile(api: httpx.AsyncClient, tool: str) -> None:
    coloured = await api.get(f"/assets/tools/{tool}.svg")
    black = await api.get(f"/assets/tools/{tool}.svg?black")
    assert coloured.headers["Content-Type"] == "image/svg+xml"
    assert coloured.text.startswith("<svg ")
    assert black.text != coloured.text


@pytest.mark.parametrize("name", ["/assets/tools/a%22b.svg", "/assets/connect.html", "/assets/..%2Fapi.py"])
async def test_no_other_file_is_served(api: httpx.AsyncClient, name: str) -> None:
    assert (await api.get(name)).status_code == 404


@pytest.mark.parametrize(
    ("label", "letters"),
    [
        ("Personio", "Pe"),
        ("BambooHR", "BH"),
        ("ADP Workforce Now", "AW"),
        ("iCIMS", "IC"),
        ("AFAS", "AF"),
        ("X", "X"),
        ("PayFit (customer)", "PC"),
        ("(beta) Tool", "BT"),
        ("a3innuva Nómina", "AN"),
        ("Éclair", "Éc"),
    ],
)
def test_initials_are_taken_from_the_label(label: str, letters: str) -> None:
    assert Tool("x", label, ()).initials == letters


def test_the_catalogue_is_sorted_by_category_and_labelled() -> None:
    order = ["HRIS", "ATS", "ASSESSMENT", "LMS"]

    def rank(tool: Tool) -> int:
        return min(order.index(category) for category in tool.categories)

    ranks = [rank(tool) for tool in catalogue().values()]
    assert ranks == sorted(ranks)
    assert all(tool.label and tool.categories for tool in catalogue().values())
