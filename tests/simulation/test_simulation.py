"""Simulations on virtual time: whatever fails, whenever a process dies, the guarantees hold.

``SIMULATION_SEED=7`` runs that seed alone, step by step the same as when it failed. ``SIMULATION_SEEDS`` is
how many seeds run, ``SIMULATION_CUSTOMERS`` how many customers each has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stamina

from tests.simulation.customers import Customer
from tests.simulation.invariants import Violated
from tests.simulation.virtual_time import VirtualLoop, virtual_time
from tests.simulation.world import HANDLERS, World

SEED = os.environ.get("SIMULATION_SEED")
SEEDS = [int(SEED)] if SEED else range(int(os.environ.get("SIMULATION_SEEDS", "50")))
CUSTOMERS = int(os.environ.get("SIMULATION_CUSTOMERS", "2"))  # in each
WEATHER_SECONDS = 2.0  # that each fault lasts, on average
CHECK_SECONDS = 1.0
CALM_SECONDS = 120.0  # at most, until the last lease has ended, and its work is done
Record = Callable[[str, object], None]


@dataclass
class Result:
    """What a run consisted of."""

    steps: int
    seconds: float
    deaths: int
    completed: int
    acknowledged: int
    links: int
    checks: int


@pytest.fixture(autouse=True)
def retry_as_in_production() -> Iterator[None]:
    stamina.set_testing(testing=False)
    logging.disable(logging.CRITICAL)  # thousands of lines about what fails on purpose
    yield
    logging.disable(logging.NOTSET)


async def keep_changing(world: World) -> None:
    while True:
        await asyncio.sleep(world.chance.expovariate(1 / WEATHER_SECONDS))
        world.change_weather()


async def keep_restarting(world: World, count: int) -> None:
    while True:
        await asyncio.sleep(world.chance.uniform(0.2, 3))
        if len(world.instances) < count:
            await world.start_instance()


async def keep_checking(world: World) -> None:
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        world.invariants.check_records()


async def live(world: World) -> None:
    """Let customers live through bad weather, then check what is left when it is calm."""
    count = world.chance.choice([1, 2, 2, 3])
    await world.start(count)
    background = [
        asyncio.create_task(keep_restarting(world, count)),
        asyncio.create_task(keep_checking(world)),
    ]
    weather = asyncio.create_task(keep_changing(world))
    customers = [Customer(number, world) for number in range(CUSTOMERS)]
    lives = asyncio.gather(*(one.live(flows=world.chance.choice([1, 2])) for one in customers))
    await until_first_failure(lives, *background, weather)
    weather.cancel()
    world.calm()
    await until_first_failure(asyncio.ensure_future(until_handled(world)), *background)
    world.invariants.check_records()
    if world.loop.unhandled:
        raise Violated(f"asyncio reported {world.loop.unhandled[0]}")


async def until_handled(world: World) -> None:
    """Wait until every handler was called; after a while, raise what is missing."""
    gives_up_at = world.loop.now + CALM_SECONDS
    while world.invariants.missing_calls(HANDLERS):
        await asyncio.sleep(1)
        if world.loop.now > gives_up_at:
            raise Violated(f"never handled: {world.invariants.missing_calls(HANDLERS)}")


async def until_first_failure(awaited: asyncio.Future[Any], *background: asyncio.Task[None]) -> None:
    await asyncio.wait([awaited, *background], return_when=asyncio.FIRST_COMPLETED)
    for task in background:
        if task.done():
            task.result()
    await awaited


def run(seed: int) -> Result:
    """Run one simulation; raise what was violated, with the seed."""
    with in_memory_folder() as folder, virtual_time(seed) as loop:
        world = World(random.Random(seed), loop, folder)  # noqa: S311 - repeatable
        try:
            loop.run_until_complete(live(world))
        except BaseException as error:
            error.add_note(
                f"to repeat it: SIMULATION_SEED={seed} PYTHONHASHSEED=0 make test ARGS=tests/simulation"
            )
            raise
        finally:
            result = summary(world, loop)
            loop.run_until_complete(world.aclose())
    return result


@contextmanager
def in_memory_folder() -> Iterator[Path]:
    """Give a folder on a disk in memory if there is one: no fsync takes time there."""
    shared_memory = Path("/dev/shm")  # noqa: S108 - if it exists
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as name:
        yield Path(name)


def summary(world: World, loop: VirtualLoop) -> Result:
    truth = world.truth
    counts = truth.completed, len(truth.acknowledged), truth.links_handed_out
    return Result(loop.steps, loop.now, world.deaths, *counts, world.invariants.checks)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_guarantees_hold_whatever_fails(seed: int) -> None:
    result = run(seed)
    assert result.checks > 0


def test_a_seed_repeats_itself_step_by_step() -> None:
    assert run(3) == run(3)
