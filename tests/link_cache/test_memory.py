from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kombo_embed import EndUser, LinkOptions
from kombo_embed.clock import ManualClock
from kombo_embed.link_cache.memory import SHARD_SIZE, MemoryLinkCache
from kombo_embed.models import CacheKey, ConnectionLink, LinkRequest
from kombo_embed.ports import Invalidation

KEY = CacheKey(
    "default", EndUser(email="a@b.example", organization_name="B", origin_id="b"), LinkRequest("HRIS", "en")
)


def make_clock() -> ManualClock:
    return ManualClock(time=lambda: 1_790_000_000.0, monotonic=lambda: 1000.0)


def make_cache(clock: ManualClock, size: int = 100) -> MemoryLinkCache:
    return MemoryLinkCache(size=size, lifetime_seconds=3600, clock=clock)


def make_link(clock: ManualClock, name: str = "x") -> ConnectionLink:
    return ConnectionLink.minted(
        f"https://k.example/{name}",
        expires_at=datetime(2026, 1, 1, tzinfo=UTC),
        deadline=clock.monotonic() + 3600,
    )


async def put(cache: MemoryLinkCache, key: CacheKey, link: ConnectionLink) -> bool:
    async with cache.lease(key, fresh=False) as lease:
        return await lease.put(link)


def invalidation(origin_id: str) -> Invalidation:
    return Invalidation(1, "an-id", origin_id)


def key_of(number: int) -> CacheKey:
    return CacheKey("default", replace(KEY.end_user, email=f"p{number}@b.example"), KEY.request)


async def test_a_link_is_a_hit_until_its_deadline_and_a_miss_from_then_on() -> None:
    clock = make_clock()
    cache = make_cache(clock)
    await put(cache, KEY, make_link(clock))
    clock.advance(3599)
    assert await cache.get(KEY) is not None
    clock.advance(1)
    assert await cache.get(KEY) is None
    assert len(cache) == 0


async def test_setting_the_wall_clock_back_does_not_revive_an_expired_link() -> None:
    wall_time = 1_790_000_000.0
    clock = ManualClock(time=lambda: wall_time, monotonic=lambda: 1000.0)
    cache = make_cache(clock)
    await put(cache, KEY, make_link(clock))
    clock.advance(3600)
    wall_time -= 7200
    assert await cache.get(KEY) is None


async def test_an_invalidation_covers_links_cached_before_and_minted_meanwhile_but_not_later_ones() -> None:
    clock = make_clock()
    cache = make_cache(clock)
    await put(cache, KEY, make_link(clock))
    async with cache.lease(KEY, fresh=False) as lease:
        await cache.invalidate("default", invalidation("b"))
        assert await cache.get(KEY) is None
        assert await lease.put(make_link(clock)) is False
        assert await cache.get(KEY) is None
        assert await lease.put(make_link(clock, "later")) is True
    assert await cache.get(KEY) is not None


async def test_an_invalidation_leaves_other_origin_ids_and_environments_alone() -> None:
    clock = make_clock()
    cache = make_cache(clock)
    other_origin = CacheKey("default", replace(KEY.end_user, origin_id="c"), KEY.request)
    other_environment = CacheKey("us", KEY.end_user, KEY.request)
    for key in (KEY, other_origin, other_environment):
        await put(cache, key, make_link(clock))
    await cache.invalidate("default", invalidation("b"))
    assert await cache.get(KEY) is None
    assert await cache.get(other_origin) is not None
    assert await cache.get(other_environment) is not None


async def test_a_full_cache_evicts_the_oldest_links() -> None:
    clock = make_clock()
    cache = make_cache(clock, size=10)
    for number in range(25):
        await put(cache, key_of(number), make_link(clock))
    assert len(cache) == 10
    assert await cache.get(key_of(14)) is None
    assert await cache.get(key_of(15)) is not None


async def test_a_cache_of_several_shards_stays_within_its_size() -> None:
    clock, size = make_clock(), SHARD_SIZE + 1
    cache, link = make_cache(clock, size=size), make_link(clock)
    for number in range(2 * size):
        await put(cache, key_of(number), link)
    assert size // 2 <= len(cache) <= size


async def test_expired_links_and_old_invalidations_are_removed_a_few_per_write() -> None:
    clock = make_clock()
    cache = make_cache(clock, size=1000)
    for number in range(100):
        await put(cache, key_of(number), make_link(clock))
        await cache.invalidate("default", invalidation(f"gone-{number}"))
    clock.advance(3601)
    for number in range(50):
        await put(cache, key_of(1000 + number), make_link(clock))
    assert len(cache) == 50
    assert len(cache._invalidations) == 0  # noqa: SLF001 - its bound has no effect that can be observed


async def test_invalidations_beyond_the_size_are_remembered_less_exactly_but_never_forgotten() -> None:
    clock = make_clock()
    cache = make_cache(clock, size=10)
    async with cache.lease(KEY, fresh=False) as lease:
        for number in range(50):
            await cache.invalidate("default", invalidation("b" if number == 0 else f"other-{number}"))
        assert len(cache._invalidations) == 10  # noqa: SLF001 - as above
        assert await lease.put(make_link(clock)) is False
        assert await lease.put(make_link(clock)) is True


async def test_putting_again_replaces_the_link_and_makes_it_the_newest() -> None:
    clock = make_clock()
    cache = make_cache(clock, size=2)
    await put(cache, KEY, make_link(clock, "old"))
    await put(cache, key_of(1), make_link(clock))
    await put(cache, KEY, make_link(clock, "new"))
    await put(cache, key_of(2), make_link(clock))
    found = await cache.get(KEY)
    assert found is not None
    assert found.link.endswith("new")
    assert await cache.get(key_of(1)) is None
    assert len(cache) == 2


identities = st.tuples(
    *[st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4)] * 2
)


@given(one=identities, other=identities, tools=st.tuples(*[st.sampled_from([None, "personio", "hibob"])] * 2))
def test_two_cache_keys_are_equal_only_if_all_their_parts_are(
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
