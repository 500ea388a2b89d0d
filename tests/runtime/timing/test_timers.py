"""Timers fire on time, once, whatever is cleared, replaced, overdue, far away or too many."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace
from tests.runtime.world import World

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Signal, TimerFired
from pelton.runtime.timing.timers import Expiry, Timers
from pelton.store.group import Group
from pelton.store.rows import HeldRow, TimerRow
from pelton.testing.clock import settle


@pytest.fixture
def world() -> World:
    world = World()

    def fired(run: int, signal: Signal, group: Group) -> None:
        assert isinstance(signal, TimerFired)
        group.clear_timers.append((run, signal.n, signal.arm))

    world.committer.on_signal = fired
    return world


def set_timer(world: World, timers: Timers | None, run: int, due: int, n: int = 1, arm: str = "0", epoch: int = 0) -> None:
    row = TimerRow(run, n, arm, epoch, due)
    world.store.timer_rows[run, n, arm] = row
    if timers is not None:
        timers.set(row)


def fired(world: World) -> list[tuple[int, int]]:
    return [(run, at) for run, _, at in world.committer.signals]


async def test_each_fires_in_its_millisecond_near_or_far(world: World, rng: random.Random) -> None:
    timers = Timers(world.store, world.committer, world.clock, horizon=1_000)
    await timers.start()
    start = world.clock.now()
    dues = {run: start + rng.choice([rng.randint(0, 900), rng.randint(0, 20_000)]) for run in range(1, 200)}
    for run, due in dues.items():
        set_timer(world, timers, run, due)
    await world.clock.advance(25_000)
    assert sorted(fired(world)) == sorted(dues.items())
    assert not world.store.timer_rows
    await timers.stop()


async def test_what_was_cleared_does_not_fire_and_what_was_replaced_fires_once_at_its_new_time(world: World) -> None:
    timers = Timers(world.store, world.committer, world.clock)
    await timers.start()
    now = world.clock.now()
    for arm in ("0", "1"):
        set_timer(world, timers, 1, now + 100, arm=arm)
    set_timer(world, timers, 2, now + 100, n=0, arm="run")
    set_timer(world, timers, 3, now + 100, epoch=1)
    set_timer(world, timers, 3, now + 300, epoch=2)
    set_timer(world, timers, 4, now + 300)
    set_timer(world, timers, 4, now + 50)
    world.store.timer_rows.pop((1, 1, "0"))
    world.store.timer_rows.pop((1, 1, "1"))
    timers.clear(1, 1, "")
    timers.clear(2, 0, "other")
    await world.clock.advance(1_000)
    assert fired(world) == [(4, now + 50), (2, now + 100), (3, now + 300)]
    assert [signal.epoch for run, signal, _ in world.committer.signals if isinstance(signal, TimerFired) and run == 3] == [2]


async def test_what_is_overdue_at_the_start_fires_at_once_and_a_bounded_number_at_a_time(world: World) -> None:
    for run in range(1, 301):
        set_timer(world, None, run, world.clock.now() - run)
    timers = Timers(world.store, world.committer, world.clock, flight=16)
    most = 0

    def count(group: Group) -> None:
        nonlocal most
        most = max(most, timers.stats()["firing"])

    world.committer.before.append(count)
    await timers.start()
    for _ in range(30):
        await world.clock.advance(0)
    assert sorted(run for run, _ in fired(world)) == list(range(1, 301))
    assert fired(world)[0][0] == 300, "the one that is due for the longest comes first"
    assert most <= 16
    await timers.stop()


async def test_more_than_memory_holds_all_fire(world: World, rng: random.Random) -> None:
    timers = Timers(world.store, world.committer, world.clock, most=50, flight=8, horizon=2_000)
    await timers.start()
    now = world.clock.now()
    dues = {run: now + rng.randint(1, 1_900) for run in range(1, 400)}
    for run, due in dues.items():
        set_timer(world, timers, run, due)
        assert timers.stats()["kept"] <= 50
    await world.clock.advance(10_000)
    assert sorted(run for run, _ in fired(world)) == sorted(dues)
    assert max(at - dues[run] for run, at in fired(world)) <= 100
    assert not world.store.timer_rows


async def test_a_timer_set_or_cleared_while_the_store_is_read_counts(world: World) -> None:
    timers = Timers(world.store, world.committer, world.clock, horizon=1_000)
    await timers.start()
    world.store.read_turns = 300
    now = world.clock.now()
    set_timer(world, None, 1, now + 1_200)
    set_timer(world, None, 2, now + 1_200)
    await world.clock.advance(500)  # a scan begins
    assert world.store.reads >= 2
    world.store.timer_rows.pop((1, 1, "0"))
    timers.clear(1, 1, "0")
    set_timer(world, timers, 3, now + 700)
    await settle(400)
    await world.clock.advance(3_000)
    assert sorted(fired(world)) == [(2, now + 1_200), (3, now + 700)]


async def test_a_failure_is_tried_again_and_a_refusal_is_not(world: World) -> None:
    timers = Timers(world.store, world.committer, world.clock)
    await timers.start()
    tried: list[int] = []

    def refuse(run: int, signal: Signal) -> Exception | None:
        tried.append(run)
        if run == 1 and tried.count(1) < 3:
            return PeltonError(Code.UNAVAILABLE, "not now")
        return PeltonError(Code.UNKNOWN_RUN, "gone") if run == 2 else None

    world.committer.refuse = refuse
    set_timer(world, timers, 1, world.clock.now() + 10)
    set_timer(world, timers, 2, world.clock.now() + 10)
    await world.clock.advance(20_000)
    assert tried.count(1) == 3
    assert tried.count(2) == 1
    assert [run for run, _ in fired(world)] == [1]


async def test_a_store_that_cannot_be_read_for_a_while_loses_nothing(world: World) -> None:
    world.store.broken = True
    timers = Timers(world.store, world.committer, world.clock)
    await timers.start()
    set_timer(world, timers, 1, world.clock.now() + 100)
    await world.clock.advance(5_000)
    world.store.broken = False
    await world.clock.advance(2_000)
    assert [run for run, _ in fired(world)] == [1]


async def test_cleared_timers_do_not_pile_up(world: World) -> None:
    timers = Timers(world.store, world.committer, world.clock)
    await timers.start()
    for run in range(5_000):
        set_timer(world, timers, run, world.clock.now() + 1_000)
        timers.clear(run, 1, "0")
    assert timers.stats()["kept"] == 0
    assert len(timers._due._heap) < 200


async def test_what_is_held_for_too_long_goes_unless_it_is_claimed(world: World) -> None:
    now = world.clock.now()
    row = HeldRow(1, "default", 0, "name", "key", None, -1, -1, now, now + 500, None, "event")
    fields: list[dict[str, Any]] = [{}, {"id": 2, "expires": now + 5_000}, {"id": 3, "expires": 0}, {"id": 4}]
    world.store.held_rows = {changed.get("id", 1): replace(row, **changed) for changed in fields}
    noted: list[int] = []

    def claim(group: Group) -> None:
        world.store.held_rows.pop(4, None)

    expiry = Expiry(world.store, world.committer, world.clock, lambda group, held: noted.append(held.id))
    await expiry.start()
    await world.clock.advance(900)
    assert set(world.store.held_rows) == {1, 2, 3, 4}
    world.store.read_turns = 30
    world.committer.before.append(claim)
    await world.clock.advance(1_200)
    assert set(world.store.held_rows) == {2, 3}
    assert noted == [1, 4]
    assert expiry.expired == 1
    await expiry.stop()
