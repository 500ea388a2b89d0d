"""A caller that registers, looks and waits misses nothing."""

from __future__ import annotations

import asyncio

import pytest

from pelton.errors import PeltonError, Stopping
from pelton.runtime.watches import Watches
from pelton.testing.clock import VirtualClock, settle


async def test_a_commit_after_the_look_is_seen_and_seen_once() -> None:
    watches = Watches(VirtualClock())
    with watches.watch(1) as watch:
        watches.touched(1)
        watches.touched(2)
        assert await watch.changed(10)
        assert not await watch.changed(0)
    assert watches.stats()["roots"] == 0


async def test_a_waiter_wakes_at_once_or_when_its_time_is_over() -> None:
    clock = VirtualClock()
    watches = Watches(clock)
    with watches.watch(1) as first, watches.watch(1) as second, watches.watch(2) as third:
        waiting = [asyncio.get_running_loop().create_task(watch.changed(5)) for watch in (first, second, third)]
        await settle()
        watches.touched(1)
        await settle()
        assert [task.done() for task in waiting] == [True, True, False]
        await clock.advance(4_999)
        assert not waiting[2].done()
        await clock.advance(1)
        assert [task.result() for task in waiting] == [True, True, False]


async def test_the_server_stops() -> None:
    watches = Watches(VirtualClock())
    with watches.watch(1) as watch:
        waiting = asyncio.get_running_loop().create_task(watch.changed(5))
        await settle()
        await watches.stop()
        with pytest.raises(Stopping):
            await waiting
        with pytest.raises(Stopping):
            await watch.changed(5)
    with pytest.raises(Stopping), watches.watch(1):
        pass


async def test_watches_are_bounded_and_freed_when_their_caller_goes_away() -> None:
    watches = Watches(VirtualClock(), most=1)

    async def wait() -> None:
        with watches.watch(1) as watch:
            await watch.changed(60)

    waiting = asyncio.get_running_loop().create_task(wait())
    await settle()
    with pytest.raises(PeltonError, match="1 callers are already waiting"), watches.watch(2):
        pass
    waiting.cancel()
    await settle()
    with watches.watch(2):
        assert watches.stats()["watches"] == 1


async def test_one_caller_at_a_time() -> None:
    watches = Watches(VirtualClock())
    watch = watches.watch(1)
    with pytest.raises(RuntimeError, match="is entered first"):
        await watch.changed(0)
    with watch:
        waiting = asyncio.get_running_loop().create_task(watch.changed(5))
        await settle()
        with pytest.raises(RuntimeError, match="one caller at a time"):
            await watch.changed(0)
        waiting.cancel()
