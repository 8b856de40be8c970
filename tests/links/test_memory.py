from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kombo_embed import EndUser, LinkOptions
from kombo_embed.link_cache.memory import MemoryLinkCache
from kombo_embed.models import CacheKey, ConnectionLink, LinkRequest
from kombo_embed.ports import Invalidation
from tests.support import ManualClock

KEY = CacheKey(
    "default", EndUser(email="a@b.example", organization_name="B", origin_id="b"), LinkRequest("HRIS", "en")
)


def cache(clock: ManualClock, size: int = 100) -> MemoryLinkCache:
    return MemoryLinkCache(size=size, lifetime=3600, clock=clock)


def link(clock: ManualClock, name: str = "x") -> ConnectionLink:
    return ConnectionLink.minted(
        f"https://k.example/{name}",
        expires_at=datetime(2026, 1, 1, tzinfo=UTC),
        deadline=clock.monotonic() + 3600,
    )


async def keep(links: MemoryLinkCache, key: CacheKey, minted: ConnectionLink) -> bool:
    async with links.lease(key, fresh=False) as lease:
        return await lease.put(minted)


def ended(origin_id: str) -> Invalidation:
    return Invalidation(1, "a-drop", origin_id)


def someone(number: int) -> CacheKey:
    return CacheKey("default", replace(KEY.end_user, email=f"p{number}@b.example"), KEY.request)


async def test_a_link_is_given_until_its_deadline_and_not_after() -> None:
    clock = ManualClock()
    links = cache(clock)
    await keep(links, KEY, link(clock))
    clock.advance(3599)
    assert await links.get(KEY) is not None
    clock.advance(1)
    assert await links.get(KEY) is None
    assert len(links) == 0


async def test_a_wall_clock_that_is_set_back_brings_no_link_back() -> None:
    clock = ManualClock()
    links = cache(clock)
    await keep(links, KEY, link(clock))
    clock.advance(3600)
    clock.now -= 7200
    assert await links.get(KEY) is None


async def test_a_drop_reaches_links_kept_before_and_minted_meanwhile_but_not_later_ones() -> None:
    clock = ManualClock()
    links = cache(clock)
    await keep(links, KEY, link(clock))
    async with links.lease(KEY, fresh=False) as lease:
        await links.invalidate("default", ended("b"))
        assert await links.get(KEY) is None
        assert await lease.put(link(clock)) is False
        assert await links.get(KEY) is None
        assert await lease.put(link(clock, "later")) is True
    assert await links.get(KEY) is not None


async def test_a_drop_leaves_other_organisations_and_environments_alone() -> None:
    clock = ManualClock()
    links = cache(clock)
    other_origin = CacheKey("default", replace(KEY.end_user, origin_id="c"), KEY.request)
    other_environment = CacheKey("us", KEY.end_user, KEY.request)
    for key in (KEY, other_origin, other_environment):
        await keep(links, key, link(clock))
    await links.invalidate("default", ended("b"))
    assert await links.get(KEY) is None
    assert await links.get(other_origin) is not None
    assert await links.get(other_environment) is not None


async def test_the_oldest_go_when_it_is_full() -> None:
    clock = ManualClock()
    links = cache(clock, size=10)
    for number in range(25):
        await keep(links, someone(number), link(clock))
    assert len(links) == 10
    assert await links.get(someone(14)) is None
    assert await links.get(someone(15)) is not None


async def test_ended_links_and_old_drops_are_swept_little_by_little() -> None:
    clock = ManualClock()
    links = cache(clock, size=1000)
    for number in range(100):
        await keep(links, someone(number), link(clock))
        await links.invalidate("default", ended(f"gone-{number}"))
    clock.advance(3601)
    for number in range(50):
        await keep(links, someone(1000 + number), link(clock))
    assert len(links) == 50
    assert len(links._drops) == 0  # noqa: SLF001 - that it stays bounded cannot be seen from outside


async def test_keeping_again_replaces() -> None:
    clock = ManualClock()
    links = cache(clock)
    await keep(links, KEY, link(clock, "old"))
    await keep(links, KEY, link(clock, "new"))
    found = await links.get(KEY)
    assert found is not None
    assert found.link.endswith("new")
    assert len(links) == 1


identities = st.tuples(
    *[st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4)] * 2
)


@given(one=identities, other=identities, tools=st.tuples(*[st.sampled_from([None, "personio", "hibob"])] * 2))
def test_two_keys_are_equal_only_if_everything_in_them_is(
    one: tuple[str, str], other: tuple[str, str], tools: tuple[str | None, str | None]
) -> None:
    def key(name: str, origin: str, tool: str | None) -> CacheKey | None:
        if not name.strip() or not origin.strip():
            return None
        end_user = EndUser(email="a@b.example", organization_name=name, origin_id=origin)
        return CacheKey("default", end_user, LinkRequest("HRIS", "en", tool, LinkOptions()))

    first, second = key(*one, tools[0]), key(*other, tools[1])
    if first is not None and second is not None:
        assert (first == second) == ((one, tools[0]) == (other, tools[1]))
