"""Limits of queues: kept by one engine and by two on a store, across a restart, at a constant cost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from tests.kernel.graphs import Graph
from tests.patience import happens
from tests.runtime.harness import Shapes
from tests.runtime.living import Living
from tests.runtime.nodes import STORES, two

from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Report
from pelton.runtime.api import ClaimRequest, StartCommand, WorkItem
from pelton.runtime.caller import SERVER
from pelton.runtime.rows import DefinitionRow, QueueLimit
from pelton.runtime.work.limits import QueueLimiter

case = pytest.mark.parametrize("kind", STORES)


class Limiting(Shapes):
    """Whose policies are limits, as lists of numbers."""

    def limit(self, row: DefinitionRow) -> QueueLimit | None:
        return QueueLimit(*json.decode(row.body))


def process() -> Process:
    return Graph("one").work("a", queue="q").build()


async def limit(at: Living, *numbers: int) -> None:
    await at.engine.define(SERVER, "policy", "shapes", "q", 1, json.encode(numbers))


async def claim(at: Living, count: int = 10, wait: int = 0) -> list[WorkItem]:
    return await at.engine.claim(SERVER, ClaimRequest(queues=["q"], count=count, wait=wait, worker="w"))


async def start(at: Living, count: int) -> None:
    for _ in range(count):
        await at.engine.start(SERVER, StartCommand(process="one"))


async def finish(at: Living, item: WorkItem) -> None:
    [done] = await at.engine.report(SERVER, [(item.step.run, Report(n=item.step.n, status=1))])
    assert done.error is None


@case
async def test_two_engines_keep_to_one_limit(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, process, shapes=Limiting()) as pair:
        await limit(pair.a, 3)
        await start(pair.a, 8)
        taken = await asyncio.gather(*(claim(at) for at in pair.both))
        held = [item for items in taken for item in items]
        assert len({item.step.run for item in held}) == len(held) == 3
        assert await claim(pair.a) == await claim(pair.b) == []
        done = 0
        while held:
            await finish(pair.b, held.pop())
            done += 1
            if done <= 5:  # there is always another, at whichever engine
                both = [asyncio.create_task(claim(at, 10, 30_000)) for at in pair.both]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                more = [item for task in both if task.done() for item in task.result()]
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
                held += more
            sizes = await pair.a.store.leased(2**62, 100)
            assert len([row for row in sizes if row.queue == "q"]) <= 3
        assert done == 8


@case
async def test_two_engines_keep_to_one_rate(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, process, shapes=Limiting()) as pair:
        await limit(pair.a, 0, 3, 3_600_000)
        await start(pair.a, 6)
        taken = [item for items in await asyncio.gather(*(claim(at) for at in pair.both)) for item in items]
        assert len(taken) == 3
        for item in taken:
            await finish(pair.a, item)
        assert await claim(pair.a) == await claim(pair.b) == []


@case
async def test_what_was_handed_out_before_a_restart_counts(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, process, shapes=Limiting()) as pair:
        await limit(pair.a, 1)
        await start(pair.a, 2)
        [item] = await claim(pair.a)
        assert await claim(pair.b) == []  # which knows nothing of it, as after a restart
        waiting = asyncio.create_task(claim(pair.b, 1, 30_000))
        await finish(pair.a, item)
        [other] = await waiting
        assert other.step.run != item.step.run


@case
async def test_a_limit_costs_nothing_by_the_length_of_its_queue(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, process, shapes=Limiting()) as pair:
        await limit(pair.a, 1)
        written: list[int] = []
        for length in (20, 200):
            await start(pair.a, length)
            [item] = await claim(pair.a)
            await pair.a.quiet()
            before = pair.store.counts.rows_written
            await finish(pair.a, item)
            [item] = await claim(pair.a)
            written.append(pair.store.counts.rows_written - before)
            await finish(pair.a, item)
        assert written[1] <= written[0] + 2


def test_what_a_limiter_knows() -> None:
    limiter = QueueLimiter("q", QueueLimit(2, 3, 100))
    for number in range(2):
        assert limiter.admits(1_000 + number)
        limiter.take((number, 1), 1_000 + number)
    assert not limiter.admits(1_002)
    assert limiter.give_back((0, 1))
    assert not limiter.give_back((0, 1))
    limiter.take((5, 1), 1_010)
    limiter.give_back((5, 1))
    assert not limiter.admits(1_050), "three have begun"
    assert limiter.next_at(1_050) == 1_100
    assert limiter.admits(1_100)
    limiter.refuse(1_100)
    assert not limiter.admits(1_101)
    assert limiter.next_at(1_101) == 2_100


async def test_nothing_is_kept_for_what_has_no_limit(tmp_path: Path) -> None:
    async with two("memory", tmp_path, process, shapes=Limiting()) as pair:
        await start(pair.a, 3)
        assert len(await claim(pair.a)) == 3
        work: Any = pair.a.engine.work
        assert not vars(work)["_limited"]
        await happens(lambda: pair.a.engine.committer.idle)
