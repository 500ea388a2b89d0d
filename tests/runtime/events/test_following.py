"""Following the log of events: whoever reads from a key upwards and goes on from the last one that they saw, sees every event
once, though events are committed in another order than that of their keys."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.patience import happens
from tests.runtime.events.test_arrival import STORES, Asked, Op, Scripts, Slow, event, operation, turns, world
from tests.runtime.harness import Rig

from pelton.errors import Code, PeltonError
from pelton.runtime.caller import Caller
from pelton.runtime.engine_reads import EngineReads
from pelton.runtime.events.ingest import EventIngester
from pelton.testing.losing_store import losing


class Follower:
    """Reads the log page by page, woken by its feed, and keeps what it sees."""

    def __init__(self, at: Rig, page: int = 3) -> None:
        self.seen: list[str] = []
        self.after = 1
        self._feed = at.committer.event_feed
        self._reads = EngineReads()
        self._reads.store, self._reads.event_feed = at.store, self._feed
        self._page = page
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while not self._feed.stopped:
            mark = self._feed.seen
            rows = await self._reads.events(Caller(), after=self.after, limit=self._page)
            for row in rows:
                self.seen.append(row.event_id)
                self.after = row.key
            if not rows:
                await self._feed.moved(mark, 30)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("ends", ["committed", "failed"])
async def test_an_event_that_takes_long_is_seen_before_those_that_came_after_it(kind: str, ends: str, tmp_path: Path) -> None:
    asked = Asked()
    async with world(kind, tmp_path, scripts=asked) as (at, router):
        follower = Follower(at)
        await router.ingest([event(0, Op("make", "x", line="else"))])
        slow = asyncio.ensure_future(router.ingest([event(1, Op("make", "x", slow=True))]))
        await turns()
        await router.ingest([event(2, Op("make", "z", line="else"))])
        await turns()
        assert follower.seen == ["0"]
        assert at.committer.event_feed.settled_to("another") > at.committer.event_feed.settled_to("default")
        if ends == "failed":
            asked.error = PeltonError(Code.BUSY, "the pool is gone")
        asked.may.set()
        await slow
        await happens(lambda: "2" in follower.seen)
        assert follower.seen == (["0", "1", "2"] if ends == "committed" else ["0", "2"])
        at.committer.event_feed.stop()
        await follower.task


@examples(40)
@given(
    bursts=st.lists(st.lists(operation, min_size=1, max_size=14), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    rate=st.sampled_from([0.0, 0.2]),
    page=st.integers(1, 5),
)
def test_followers_see_every_event_once_and_in_order(bursts: list[list[Op]], seed: int, rate: float, page: int) -> None:
    async def run(path: Path) -> None:
        dice = random.Random(seed)
        options: dict[str, Any] = {"scripts": Scripts(dice), "tries": 1_000}
        async with world("memory", path, lambda inner: Slow(losing(inner, seed, rate), dice), **options) as (at, router):
            follower = Follower(at, page)
            await send(router, bursts, dice)
            count = sum(map(len, bursts))
            await happens(lambda: len(follower.seen) >= count)
            at.committer.event_feed.stop()
            await follower.task
            assert sorted(map(int, follower.seen)) == list(range(count))
            stored = await at.store.events("default", after=1, limit=1_000)
            assert follower.seen == [row.event_id for row in stored]

    with tempfile.TemporaryDirectory() as place:
        asyncio.run(run(Path(place)))


async def send(router: EventIngester, bursts: list[list[Op]], dice: random.Random) -> None:
    numbered = iter(enumerate(op for burst in bursts for op in burst))
    posts = []
    for burst in bursts:
        posts += [asyncio.ensure_future(router.ingest([event(*next(numbered))])) for _ in burst]
        for _ in range(dice.randrange(30)):
            await asyncio.sleep(0)
    await asyncio.gather(*posts)
