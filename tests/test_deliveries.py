from __future__ import annotations

from typing import assert_type

import pytest

from kombo_embed import (
    Event,
    FlowAbandoned,
    FlowFailed,
    Integration,
    IntegrationConnected,
    IntegrationDeleted,
    IntegrationDuplicate,
    IntegrationUpdated,
    KomboEmbed,
    KomboEvent,
)
from kombo_embed.deliveries import NAME_MAX_LENGTH, EventHandlers

TYPE = "integration.connected"


async def first(_event: Event) -> None:
    """Do nothing."""


async def second(_event: Event) -> None:
    """Do nothing."""


def test_a_handler_has_its_module_and_qualified_name_or_the_given_one() -> None:
    handlers = EventHandlers()
    handlers.add(TYPE, first)
    handlers.add(TYPE, second, name="sync")
    handlers.add("kombo.event", second, name="sync")
    assert handlers.types_by_name() == {f"{__name__}.first": (TYPE,), "sync": (TYPE, "kombo.event")}
    assert handlers.find("sync", TYPE) is second
    assert handlers.find("sync", "flow.failed") is None


def test_handlers_of_one_default_name_are_numbered_in_their_order() -> None:
    async def nested(_event: Event) -> None:
        """Do nothing."""

    nested.__qualname__ = "x" * 400
    handlers = EventHandlers()
    for _ in range(3):
        handlers.add(TYPE, first)
        handlers.add(TYPE, nested)
    names = handlers.types_by_name()
    assert len(names) == 6
    assert {f"{__name__}.first", f"{__name__}.first#2", f"{__name__}.first#3"} <= names.keys()
    assert all(len(name) <= NAME_MAX_LENGTH for name in names)


def test_two_handlers_of_a_type_cannot_be_given_the_same_name() -> None:
    embed = KomboEmbed()
    embed.on(TYPE, name="sync")(first)
    embed.on("kombo.event", name="sync")(second)
    with pytest.raises(ValueError, match=r"another handler of integration\.connected is named 'sync'"):
        embed.on(TYPE, name="sync")(second)


@pytest.mark.parametrize("name", ["", " ", "sync ", "a\nb", "x" * 256])
def test_a_name_is_short_and_printable(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        KomboEmbed().on(TYPE, name=name)(first)


def test_each_type_has_a_class_that_type_checkers_know() -> None:
    """mypy verifies this module: an ignored error that is none, and a type that is not asserted, fail."""
    embed = KomboEmbed()

    @embed.on("integration.connected")
    async def connected(event: IntegrationConnected) -> None:
        assert_type(event.integration, Integration)

    @embed.on("integration.updated", name="updated")
    def updated(event: IntegrationUpdated) -> None:
        assert_type(event.data["changes"]["status"]["to"], str | None)
        assert_type(event.integration, Integration)

    @embed.on("integration.deleted")
    @embed.on("integration.duplicate")
    async def several(event: IntegrationDeleted | IntegrationDuplicate) -> int:
        return len(event.integration.tool)

    @embed.on("flow.failed")
    @embed.on("flow.abandoned")
    async def flows(event: FlowFailed | FlowAbandoned) -> None:
        assert_type(event.integration, None)
        assert_type(event.data["tool"], str | None)

    @embed.on("kombo.event")
    def other(event: KomboEvent) -> None:
        assert_type(event.integration, Integration | None)
        assert_type(event.data["data"], dict[str, object])

    @embed.on("integration.connected")  # type: ignore[type-var]
    async def wrong(event: FlowFailed) -> None:
        """Handle events of another class."""

    @embed.on("integration.connected")
    async def unsafe(event: Event) -> None:
        event.integration.tool  # type: ignore[union-attr]  # noqa: B018 - it may be None

    for event_type in ("integration.connected", "flow.failed"):
        embed.on(event_type, name="any")(first)
    assert_type(several.__name__, str)
