"""The lives of customers: people who connect tools, close tabs, retry, switch organizations, and leave."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import httpx

from kombo_embed.sandbox.errors import SandboxError
from tests.simulation.world import World
from tests.support import person

TRIES = 6
TOOLS = ["personio", "bamboohr", "workday"]
PATIENCE_SECONDS = 10.0  # after which everything that a customer began has ended


class Customer:
    """One customer, with some people in different browsers."""

    def __init__(self, number: int, world: World) -> None:
        self.origin_id = f"customer-{number}"
        self._world = world
        self._chance = random.Random(world.chance.random())  # noqa: S311 - repeatable
        self._truth = world.truth
        self._client = httpx.AsyncClient(transport=world.to_app, base_url="http://app.example")

    async def live(self, *, flows: int) -> None:
        """Go through some flows, and leave perhaps."""
        for _ in range(flows):
            await asyncio.sleep(self._chance.expovariate(2))
            await self._go_through_a_flow()
        if self._chance.random() < 0.4:
            await self._change_something()
        if self._chance.random() < 0.06:
            await self._be_erased()

    async def _go_through_a_flow(self) -> None:
        who = person(f"{self._chance.choice(['ada', 'grace'])}@{self.origin_id}")
        link = await self._request_link(who)
        if self._chance.random() < 0.12:
            await asyncio.sleep(self._chance.uniform(11, 16))
            link = await self._request_link(who)  # the page is loaded again
        if link is None or self._chance.random() < 0.1:
            return  # the tab is closed
        await asyncio.sleep(self._chance.expovariate(1))
        try:
            if self._chance.random() < 0.1:
                await self._world.sandbox.fail(link)
            duplicate = self._chance.random() < 0.2
            flow = await self._world.sandbox.complete(link, self._chance.choice(TOOLS), duplicate=duplicate)
        except SandboxError:
            return  # the link has expired, or was used
        self._truth.owners[flow.integration_id] = self.origin_id
        self._truth.completed += 1
        await self._report(who, flow.activation_token, flow.integration_id)

    async def _report(self, who: dict[str, str], token: str, integration_id: str) -> None:
        match self._chance.randrange(6):
            case 0:
                return  # the tab is closed: the webhook alone reports it
            case 1:  # the organization was switched meanwhile
                stranger = person(f"ada@another-than-{self.origin_id}")
                response = await self._try(
                    "POST", "/kombo/completions", stranger, {"activation_token": token}
                )
                assert response is None or not response.is_success
                if self._chance.random() < 0.5:
                    return
            case 2:  # two tabs
                await asyncio.gather(*(self._complete(who, token, integration_id) for _ in range(2)))
        await self._complete(who, token, integration_id)

    async def _complete(self, who: dict[str, str], token: str, integration_id: str) -> None:
        response = await self._repeat("POST", "/kombo/completions", who, {"activation_token": token})
        if response is not None and response.is_success:
            self._truth.acknowledged[integration_id] = self.origin_id
            self._world.invariants.check_records()

    async def _request_link(self, who: dict[str, str]) -> str | None:
        body = {"fresh": True} if self._chance.random() < 0.1 else {}
        response = await self._repeat("POST", "/kombo/links", who, body)
        return str(response.json()["link"]) if response is not None and response.is_success else None

    async def _change_something(self) -> None:
        mine = self._truth.integrations_of(self.origin_id)
        if not mine:
            return
        integration_id = self._chance.choice(mine)
        try:
            match self._chance.randrange(3):
                case 0:
                    self._world.sandbox.change_state(
                        integration_id, self._chance.choice(["INVALID", "INACTIVE"])
                    )
                case 1:
                    self._world.sandbox.delete(integration_id)
                case _:
                    await self._disconnect()
        except SandboxError:
            return  # it is deleted already

    async def _disconnect(self) -> None:
        who = person(f"ada@{self.origin_id}")
        listed = await self._try("GET", "/kombo/integrations", who, None)
        if listed is None or not listed.is_success or not listed.json()["integrations"]:
            return
        public_id = self._chance.choice(listed.json()["integrations"])["id"]
        response = await self._repeat("DELETE", f"/kombo/integrations/{public_id}", who, None)
        if response is not None and response.status_code == 204:
            self._truth.deleted |= set(self._world.ids_of([public_id]))

    async def _be_erased(self) -> None:
        await asyncio.sleep(PATIENCE_SECONDS)
        self._truth.begin_erasure(self.origin_id)
        while True:
            chosen = self._world.some_embed()
            if chosen is not None:
                owner, embed = chosen
                if await self._world.inside(owner, partial(embed.erase, self.origin_id)):
                    break
            await asyncio.sleep(1)
        self._truth.end_erasure(self.origin_id, self._world.loop.now)
        self._world.invariants.check_records()

    async def _repeat(self, method: str, path: str, who: dict[str, str], body: Any) -> httpx.Response | None:
        """Send a request as a browser does, again while it fails; perhaps close the tab meanwhile."""
        for attempt in range(TRIES):
            response = await self._try(method, path, who, body)
            if response is not None and response.status_code < 429:
                return response
            await asyncio.sleep(self._chance.uniform(0, 2**attempt / 4))
        return None

    async def _try(self, method: str, path: str, who: dict[str, str], body: Any) -> httpx.Response | None:
        patience = self._chance.choice([0.05, 5, 20, 20])  # then the tab is closed, or the page loaded again
        sent = {"headers": who} if body is None else {"headers": who, "json": body}
        try:
            async with asyncio.timeout(patience):
                return await self._client.request(method, path, **sent)
        except (httpx.HTTPError, TimeoutError):
            return None
