"""Kombo's official SDK, one client for the life of the app, called on every request."""

from __future__ import annotations

import os

import httpx
from kombo import Kombo
from starlette.applications import Starlette

from benchmarks.apps.every_request import create_app_that_asks


def create_app() -> Starlette:
    """The app."""
    client = httpx.AsyncClient(trust_env=False, follow_redirects=True)
    kombo = Kombo(
        api_key=os.environ["KOMBO_API_KEY"], server_url=os.environ["KOMBO_API_URL"], async_client=client
    )

    async def ask(user: dict[str, str]) -> str:
        answer = await kombo.connect.create_connection_link_async(
            end_user_email=user["email"],
            end_user_organization_name=user["organization_name"],
            end_user_origin_id=user["organization_id"],
            integration_category="HRIS",
            language="en",
            link_type="EMBEDDED",
        )
        return answer.data.link

    return create_app_that_asks(ask, client.aclose)
