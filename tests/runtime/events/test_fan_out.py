"""Each run gets a job's signal once, wherever the server stops; and what cannot be done is put aside."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.runtime.world import World

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import EventArrived, Resume
from pelton.kernel.model.state import Run
from pelton.runtime.api import EventIn
from pelton.runtime.commit.durable import DurableAnnouncement, decode_signal
from pelton.runtime.events.fan_out import SLICE, DurableJobs, FanOut, durable_job
from pelton.runtime.services import Backoff
from pelton.store.group import Committed, Group
from pelton.store.rows import PendingSignalRow
from pelton.testing.clock import settle


class Post(World):
    """`applied` counts what the committer would apply: durable signals that are committed, once each by their number."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 100
        self.taken_up: list[PendingSignalRow] = []
        self.posted: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.fanout = self.new()

    def new(self, most: int = 1_000) -> DurableJobs:
        return DurableJobs(
            self.store, self.committer, self.clock, self.key, self.taken_up.append, self.post, backoff=Backoff(10, 100), most=most
        )

    def key(self) -> int:
        self.number += 1
        return self.number

    async def post(self, events: Sequence[EventIn]) -> Sequence[Exception | None]:
        outcomes = []
        for event in events:
            error = self.fail.get(event.id)
            outcomes.append(error)
            if error is None:
                self.posted.append(event.id)
        return outcomes

    def applied(self) -> Counter[int]:
        return Counter(row.run for row in self.store.pending_rows.values() if not row.job)

    def write(self, row: PendingSignalRow) -> None:
        self.committer.commit(Group(0, pending_signals=[row]), lambda result: self.fanout.added(row))

    def fact(self, name: str) -> PendingSignalRow:
        event = EventIn(source="pelton", type="run.ended", id=name)
        return PendingSignalRow(self.key(), 1, msgspec.msgpack.encode(DurableAnnouncement(event)), 0, job=True)


@pytest.fixture
async def post() -> Post:
    post = Post()
    await post.fanout.start()
    return post


async def test_a_job_for_many_runs_goes_in_slices_and_each_run_gets_the_signal_once(post: Post) -> None:
    sizes: list[int] = []
    post.committer.before.append(lambda group: sizes.append(sum(1 for row in group.pending_signals if not row.job)))
    runs = list(range(1, 301))
    post.write(durable_job(1, FanOut("default", EventArrived(id=5, name="e", body={"x": 10**20}), runs)))
    await settle(300)
    assert post.applied() == Counter(runs)
    assert max(sizes) == SLICE
    assert 1 not in post.store.pending_rows
    assert [row.run for row in post.taken_up] == runs
    kept = decode_signal(post.taken_up[0].signal)
    assert (kept.signal.body, kept.ns) == ({"x": 10**20}, "default")


async def test_a_job_for_a_process_reaches_its_live_runs_newest_first(post: Post) -> None:
    post.store.run_rows = {key: Run(key, "default" if key % 2 else "other", 1) for key in range(1, 401)}
    post.write(durable_job(1, FanOut("default", Resume(), process="p", cursor=10_000)))
    await settle(300)
    assert [row.run for row in post.taken_up] == list(range(399, 0, -2))


async def test_a_job_that_never_works_is_parked_and_the_others_go_on(post: Post) -> None:
    post.store.lose = lambda group: any(row.run == 13 for row in group.pending_signals)
    post.write(durable_job(1, FanOut("default", Resume(), [12, 13])))
    post.write(durable_job(2, FanOut("default", Resume(), [14])))
    post.write(PendingSignalRow(3, 0, b"\xc1 not msgpack", 0, job=True))
    await post.clock.advance(5_000)
    assert post.applied() == Counter([14])
    parked = [row.parked for row in post.store.pending_rows.values() if row.parked]
    assert len(parked) == 2
    assert any("not committed" in reason for reason in parked)
    assert any("unreadable" in reason for reason in parked)
    assert set(post.fanout.health()["parked"]) == {1, 3}
    again = post.new()
    await again.start()
    await post.clock.advance(1_000)
    assert again.stats()["kept"] == 0


async def test_facts_are_posted_in_order_and_a_bad_one_is_parked(post: Post) -> None:
    post.fail["bad"] = ValueError("cannot be")
    post.fail["refused"] = PeltonError(Code.INVALID, "no")
    for name in ("a", "bad", "b", "refused", "c"):
        post.write(post.fact(name))
    await post.clock.advance(5_000)
    assert post.posted == ["a", "b", "c"]
    assert sorted(row.parked for row in post.store.pending_rows.values()) == ["cannot be", "no"]


async def test_facts_wait_while_the_server_is_busy(post: Post) -> None:
    post.fail["a"] = PeltonError(Code.BUSY, "later")
    post.write(post.fact("a"))
    await settle(100)
    assert post.posted == []
    del post.fail["a"]
    await post.clock.advance(200)
    assert post.posted == ["a"]
    assert not post.store.pending_rows


async def test_jobs_and_facts_outlast_a_store_that_cannot_write_for_long(post: Post) -> None:
    write = post.committer.write
    post.fail = {"a": PeltonError(Code.UNAVAILABLE, "disk full"), "b": PeltonError(Code.UNAVAILABLE, "disk full")}
    full = True

    def refuse(fill: Callable[[Group], None]) -> asyncio.Future[Committed]:
        if full:
            raise PeltonError(Code.UNAVAILABLE, "disk full")
        return write(fill)

    post.committer.write = refuse  # type: ignore[method-assign]
    post.write(durable_job(1, FanOut("default", Resume(), list(range(1, 101)))))
    post.write(post.fact("a"))
    post.write(post.fact("b"))
    await post.clock.advance(10_000)
    full = False
    post.fail.clear()
    await post.clock.advance(1_000)
    assert post.applied() == Counter(range(1, 101))
    assert post.posted == ["a", "b"]
    assert not post.fanout.health()["parked"]
    assert not [row for row in post.store.pending_rows.values() if row.job]


async def test_a_job_outlasts_a_store_that_cannot_be_read_for_long(post: Post) -> None:
    post.store.run_rows = {key: Run(key, "default", 1) for key in range(1, 101)}
    post.store.broken = True
    post.write(durable_job(1, FanOut("default", Resume(), process="p", cursor=10_000)))
    await post.clock.advance(10_000)
    post.store.broken = False
    await post.clock.advance(1_000)
    assert post.applied() == Counter(range(1, 101))


async def test_a_fact_that_alone_is_refused_is_parked_though_it_seems_temporary(post: Post) -> None:
    post.fail["bad"] = PeltonError(Code.UNAVAILABLE, "what it needs could not be read")
    post.write(post.fact("bad"))
    for name in range(20):
        post.write(post.fact(str(name)))
        await post.clock.advance(200)
    assert sorted(post.posted, key=int) == [str(n) for n in range(20)]
    assert [row.parked for row in post.store.pending_rows.values()] == ["what it needs could not be read"]


async def test_more_jobs_than_memory_holds_are_all_done(post: Post) -> None:
    post.fanout = post.new(most=4)
    await post.fanout.start()
    for name in range(40):
        post.write(post.fact(str(name)))
    await post.clock.advance(30_000)
    assert sorted(post.posted, key=int) == [str(n) for n in range(40)]
    assert not post.store.pending_rows


async def test_a_job_that_is_done_while_the_store_is_read_is_not_done_again(post: Post) -> None:
    row = post.fact("a")
    post.store.pending_rows[row.id] = row
    post.store.read_turns = 300
    post.fanout = post.new()
    starting = asyncio.get_running_loop().create_task(post.fanout.start())
    await settle(5)
    post.fanout.added(row)
    await starting
    await settle(200)
    assert post.posted == ["a"]


async def test_no_slice_is_made_while_the_committer_is_behind(post: Post) -> None:
    behind = 2_000
    post.fanout._backlog = lambda: behind
    post.write(durable_job(1, FanOut("default", Resume(), [1])))
    await post.clock.advance(1_000)
    assert not post.taken_up
    behind = 0
    await post.clock.advance(100)
    assert [row.run for row in post.taken_up] == [1]


@examples(40)
@given(counts=st.lists(st.integers(0, 200), min_size=1, max_size=4), stops=st.lists(st.integers(0, 40), max_size=6))
def test_a_server_that_stops_at_any_moment_doubles_and_loses_nothing(counts: list[int], stops: list[int]) -> None:
    async def run() -> None:
        post = Post()
        jobs = [list(range(1_000 * n + 1, 1_000 * n + count + 1)) for n, count in enumerate(counts)]
        for number, runs in enumerate(jobs):
            post.store.pending_rows[number + 1] = durable_job(number + 1, FanOut("default", Resume(), runs or [999_999]))
        for turns in stops:
            post.fanout = post.new()
            starting = asyncio.get_running_loop().create_task(post.fanout.start())
            await settle(turns)
            starting.cancel()
            await post.fanout.stop(0)
            await settle()
        post.fanout = post.new()
        await post.fanout.start()
        await settle(1_000)
        expected = Counter(run for runs in jobs for run in (runs or [999_999]))
        assert post.applied() == expected
        assert not any(row.job for row in post.store.pending_rows.values())
        await post.fanout.stop(0)

    asyncio.run(run())
