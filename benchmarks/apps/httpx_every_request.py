"""One bare call over a pooled httpx client on every request, nothing read but the link."""

from __future__ import annotations

import json
import os

import httpx
from starlette.applications import Starlette

from benchmarks.apps.every_request import create_app_that_asks


def create_app() -> Starlette:
    """The app."""
    key = {"Authorization": f"Bearer {os.environ['KOMBO_API_KEY']}"}
    client = httpx.AsyncClient(headers=key, trust_env=False)
    url = f"{os.environ['KOMBO_API_URL']}/connect/create-link"

    async def ask(user: dict[str, str]) -> str:
        body = {
            "end_user_email": user["email"],
            "end_user_organization_name": user["organization_name"],
            "end_user_origin_id": user["organization_id"],
            "integration_category": "HRIS",
            "language": "en",
            "link_type": "EMBEDDED",
        }
        response = await client.post(url, json=body)
        link: str = json.loads(response.content)["data"]["link"]
        return link

    return create_app_that_asks(ask, client.aclose)
