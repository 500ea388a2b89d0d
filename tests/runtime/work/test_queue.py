"""Work goes to one worker each, in order, at once; and comes back from those who went away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace
from tests.exploring import examples
from tests.runtime.world import World, work

from pelton.errors import PeltonError
from pelton.kernel.model.signals import Report, Signal, TimerFired
from pelton.kernel.model.state import OpenStep, Run
from pelton.runtime.api import ClaimRequest
from pelton.runtime.services import NEVER
from pelton.runtime.work.queue import BUILT_IN_LEASE, WorkQueue
from pelton.store.group import Group, RunWrite
from pelton.testing.clock import settle


class Place(World):
    """A world with a work queue whose hooks are called as the committer calls them."""

    def __init__(self, window: int = 1_000, page: int = 100, rows: int = 1_000, pollers: int = 100) -> None:
        super().__init__()
        self.work = WorkQueue(
            self.store, self.committer, self.clock, instance="me", window=window, page=page, rows=rows, pollers=pollers
        )
        self.committer.before.append(self._born)

    def _born(self, group: Group) -> None:
        for write in group.runs:
            write.opened = [self.work.born(row) for row in write.opened]

    def offer(self, *rows: OpenStep, ok: bool = True, hooks: bool = True) -> None:
        """Commits new rows, or rows that changed when they are there already."""
        opened = [row for row in rows if (row.run, row.n) not in self.store.open]
        changed = [(row, True, True) for row in rows if (row.run, row.n) in self.store.open]
        write = RunWrite(Run(rows[0].run, "default", 1), -1, opened=opened, changed=changed)

        def done(result: object) -> None:
            for row in [*write.opened, *(row for row, *_ in write.changed)]:
                if not hooks:
                    continue
                if getattr(result, "ok", False):
                    self.work.offered(row)
                elif row.lease:
                    self.work.unborn(row)

        group = Group(0 if ok else -1, runs=[write])
        self.store.lose = lambda group: group.number == -1
        self.committer.commit(group, done)

    def end(self, run: int, n: int = 1) -> None:
        write = RunWrite(Run(run, "default", 1), 0, closed=[n])
        self.committer.commit(Group(0, runs=[write]), lambda result: self.work.gone(run, n))

    def ask(self, *queues: str, count: int = 1, wait: int = 0, worker: str = "w") -> asyncio.Task[list[OpenStep]]:
        request = ClaimRequest(queues=queues or ("q",), count=count, wait=wait, worker=worker)
        return asyncio.get_running_loop().create_task(self.work.claim(request))


def keys(rows: Sequence[OpenStep]) -> list[int]:
    return [row.run for row in rows]


@pytest.fixture
async def place() -> Place:
    place = Place()
    await place.work.start()
    return place


async def test_what_is_ready_is_handed_out_in_order_after_its_lease_is_committed(place: Place) -> None:
    now = place.clock.now()
    rows = [work(1), work(2, priority=5), work(3, due=now - 5), work(4, priority=5, idle=1_000), work(5, n=2), work(5, n=1)]
    place.offer(*rows)
    await settle()
    found = await place.ask(count=10)
    assert [(row.run, row.n) for row in found] == [(2, 1), (4, 1), (1, 1), (5, 1), (5, 2), (3, 1)]
    for row in found:
        kept = place.store.open[row.run, row.n]
        assert (kept.lease, kept.worker, kept.polls, kept.started) == (row.lease, "w", 1, now)
        assert row.lease == (now + 1_000 if row.run == 4 else NEVER)
    assert await place.ask() == []


async def test_a_waiting_worker_gets_what_is_born_without_another_commit(place: Place) -> None:
    asked = place.ask(wait=5_000)
    await settle()
    commits = place.committer.commits
    place.offer(work(1))
    assert keys(await asked) == [1]
    assert place.committer.commits == commits + 1
    assert place.store.open[1, 1].worker == "w"
    assert place.work.stats()["born_leased"] == 1


async def test_the_one_who_has_waited_longest_comes_first_and_each_row_goes_to_one(place: Place) -> None:
    first, second, third = (place.ask(wait=5_000, worker=name) for name in ("a", "b", "c"))
    await settle()
    place.offer(work(1))
    place.offer(work(2))
    await settle()
    assert [(row.run, row.worker) for row in [*first.result(), *second.result()]] == [(1, "a"), (2, "b")]
    assert not third.done()
    await place.clock.advance(5_000)
    assert third.result() == []


async def test_a_lost_group_leaves_the_worker_waiting_at_the_front(place: Place) -> None:
    first, second = place.ask(wait=5_000, worker="a"), place.ask(wait=5_000, worker="b")
    await settle()
    place.offer(work(1), ok=False)
    await settle()
    assert not first.done()
    assert not second.done()
    place.offer(work(1))
    await settle()
    assert [row.worker for row in first.result()] == ["a"]
    assert not second.done()


async def test_a_worker_that_goes_away_loses_nothing(place: Place) -> None:
    asked = place.ask(wait=5_000)
    await settle()
    place.offer(work(1))
    place.committer.turns = 20
    await settle(10)  # born leased, not committed
    asked.cancel()
    await settle(200)
    assert asked.cancelled()
    row = place.store.open[1, 1]
    assert (row.lease, row.worker, row.started, row.polls) == (0, "", 0, 1)
    again = await place.ask()
    assert [(row.run, row.polls) for row in again] == [(1, 2)]


async def test_a_worker_that_goes_away_while_its_lease_is_written_loses_nothing(place: Place) -> None:
    place.offer(work(1), work(2))
    await settle()
    await place.ask("other")  # nothing there
    assert await place.ask(count=1) != []
    place.committer.turns = 20
    asked = place.ask()
    await settle(10)
    asked.cancel()
    await settle(200)
    assert keys(await place.ask()) == [2]


async def test_rows_given_back_are_handed_out_again(place: Place) -> None:
    place.offer(work(1, limit=1_000))
    await settle()
    found = await place.ask()
    await place.clock.advance(600)
    place.work.release(found)
    await place.clock.advance(600)
    assert not place.committer.signals, "an attempt that was given back does not run out"
    again = await place.ask()
    assert again[0].started == place.clock.now()
    await place.clock.advance(1_000)
    assert [signal.arm for _, signal, _ in place.committer.signals if isinstance(signal, TimerFired)] == ["limit"]


async def test_what_is_due_later_wakes_the_waiting_worker_in_its_millisecond(place: Place) -> None:
    now = place.clock.now()
    place.offer(work(1, due=now + 1_234))
    await settle()
    asked = place.ask(wait=10_000)
    await place.clock.advance(1_233)
    assert not asked.done()
    await place.clock.advance(1)
    assert keys(asked.result()) == [1]


async def test_what_was_put_off_and_is_due_now_after_all_comes_now(place: Place) -> None:
    place.offer(work(1, due=place.clock.now() + 60_000))
    await settle()
    asked = place.ask(wait=10_000)
    await settle()
    place.offer(work(1))
    await settle()
    assert keys(asked.result()) == [1]


async def test_a_request_for_several_queues_starves_none(place: Place) -> None:
    await place.ask("busy")
    await place.ask("quiet")
    for run in range(1, 21):
        place.offer(work(run, queue="busy"))
    place.offer(work(100, queue="quiet"))
    await settle()
    assert 100 in keys(await place.ask("busy", "quiet", count=2))
    firsts = set()
    for run in (201, 202, 203):
        place.offer(work(run, queue="quiet"))
        await settle()
        firsts.add((await place.ask("busy", "quiet"))[0].queue)
    assert firsts == {"busy", "quiet"}


async def test_a_lost_lease_and_an_attempt_that_is_over_are_said_to_the_run(place: Place) -> None:
    place.offer(work(1, idle=1_000), work(2, idle=1_000, limit=500), work(3))
    await settle()
    await place.ask(count=3)
    await place.clock.advance(10_000)
    fired = [(run, signal.arm, signal.epoch) for run, signal, _ in place.committer.signals if isinstance(signal, TimerFired)]
    assert fired[:2] == [(2, "limit", 1), (1, "idle", 1)]
    assert not [run for run, _, _ in fired if run == 3]


async def test_a_sign_of_life_moves_the_lease(place: Place) -> None:
    place.offer(work(1, idle=1_000), work(2))
    await settle()
    await place.ask(count=2)
    for _ in range(5):
        await place.clock.advance(900)
        assert await place.work.extend(1, 1)
    assert not place.committer.signals
    assert not await place.work.extend(2, 1)
    await place.clock.advance(1_000)
    assert [run for run, _, _ in place.committer.signals] == [1]
    with pytest.raises(PeltonError, match="step 7 of the run has ended"):
        await place.work.extend(1, 7)


async def test_leases_of_an_earlier_life_run_out(place: Place) -> None:
    now = place.clock.now()
    place.store.open[9, 1] = work(9, idle=100, lease=now + 100, worker="w", polls=3, started=now - 50)
    place.store.open[8, 1] = work(8, queue="@http", lease=now + BUILT_IN_LEASE, worker="crashed", polls=1, started=now)
    again = WorkQueue(place.store, place.committer, place.clock, instance="me")
    await again.start()
    await place.clock.advance(0)
    assert keys(await again.claim(ClaimRequest(queues=["@http"]))) == [8]
    await place.clock.advance(200)
    assert [(run, signal.epoch) for run, signal, _ in place.committer.signals if isinstance(signal, TimerFired)] == [(9, 3)]


async def test_built_in_work_without_a_limit_comes_back_when_nobody_renews_it(place: Place) -> None:
    place.offer(work(1, queue="@http"))
    await settle()
    rows = await place.ask("@http")
    await place.clock.advance(BUILT_IN_LEASE - 10)
    await place.work.extend_all(rows)
    await place.clock.advance(BUILT_IN_LEASE - 10)
    assert await place.ask("@http") == []
    await place.clock.advance(20)
    assert keys(await place.ask("@http")) == [1]
    assert not place.committer.signals


async def test_what_ends_while_its_lease_is_written_is_not_handed_out(place: Place) -> None:
    await place.ask()
    place.offer(work(1), work(2))
    await settle()
    place.committer.turns = 20
    asked = place.ask(count=2, wait=1_000)
    await settle(10)
    place.end(1)
    place.work.gone(1, 1)
    await settle(200)
    assert keys(asked.result()) == [2]


async def test_what_ends_while_its_lease_is_extended_has_no_lease_to_lose(place: Place) -> None:
    place.offer(work(1, idle=1_000))
    await settle()
    rows = await place.ask()
    place.committer.turns = 20
    extending = asyncio.get_running_loop().create_task(place.work.extend_all(rows))
    await settle(10)
    place.work.gone(1, 1)
    await extending
    await place.clock.advance(5_000)
    assert not place.committer.signals


async def test_a_row_that_was_taken_while_its_queue_is_read_does_not_come_back() -> None:
    place = Place(window=100, page=3)
    await place.work.start()
    for run in (1, 2, 3, 10, 11):
        place.store.open[run, 1] = work(run)
    place.store.read_turns = 100
    first = place.ask()
    await settle(20)  # the first page is being read
    place.offer(work(4), work(5))
    await settle(100)
    assert keys(first.result()) == [4]
    second = place.ask(count=10)  # and now the second one, in which 5 is still free
    await settle(20)
    assert keys(second.result()) == [1, 2, 3, 5]
    await settle(400)
    assert keys(await place.ask(count=10)) == [10, 11]


async def test_reports_and_the_next_claim_meet_in_one_commit(place: Place) -> None:
    place.offer(work(1))
    await settle()
    await place.ask()
    commits = place.committer.commits
    poller = place.work.poll(ClaimRequest(queues=["q"], worker="w"))

    def next_step(run: int, signal: Signal, group: Group) -> Callable[[], None]:
        write = RunWrite(Run(run, "default", 1), 0, opened=[work(run, n=2)], closed=[1])
        group.runs.append(write)

        def committed() -> None:
            place.work.gone(run, 1)
            place.work.offered(write.opened[0])

        return committed

    place.committer.on_signal = next_step
    await place.committer.submit(1, Report(n=1))
    assert [(row.run, row.n) for row in await poller.result()] == [(1, 2)]
    assert place.committer.commits == commits + 1


async def test_a_write_that_fails_hands_out_nothing_and_loses_nothing(place: Place) -> None:
    place.offer(work(1))
    await settle()
    assert await place.ask("empty") == []
    place.committer.down = True
    with pytest.raises(PeltonError, match="disk full") as caught:
        await place.ask(wait=1_000)
    assert caught.value.code == "unavailable"
    place.committer.down = False
    assert keys(await place.ask()) == [1]


async def test_a_store_that_cannot_be_read_is_said_and_asked_again(place: Place) -> None:
    place.offer(work(1))
    await settle()
    place.store.broken = True
    with pytest.raises(PeltonError, match="could not be read"):
        await place.ask(wait=1_000)
    place.store.broken = False
    assert keys(await place.ask()) == [1]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ClaimRequest(queues=[]), "queues"),
        (ClaimRequest(queues=[str(n) for n in range(201)]), "queues"),
        (ClaimRequest(queues=["q"], count=0), "count"),
        (ClaimRequest(queues=["q"], count=1_001), "count"),
        (ClaimRequest(queues=["q"], wait=60_001), "wait"),
        (ClaimRequest(queues=["q"], wait=-1), "wait"),
    ],
)
async def test_a_request_out_of_bounds_is_refused(place: Place, request_: ClaimRequest, field: str) -> None:
    with pytest.raises(PeltonError, match="must be between") as caught:
        await place.work.claim(request_)
    assert (caught.value.code, caught.value.field) == ("invalid", field)


async def test_there_are_at_most_so_many_pollers() -> None:
    place = Place(pollers=2)
    asked = [place.ask(wait=1_000) for _ in range(3)]
    await settle()
    with pytest.raises(PeltonError, match="2 pollers are already waiting"):
        asked[2].result()
    await place.work.stop()
    assert await asyncio.gather(*asked[:2]) == [[], []]
    assert await place.ask() == []


async def test_poll_data_is_kept_and_bounded(place: Place) -> None:
    now = place.clock.now()
    assert place.work.last_polled("a:q") == 0
    await place.ask("a:q", worker="w1")
    await place.clock.advance(10)
    assert place.work.last_polled("a:q") == now
    assert place.work.polled() == [("a:q", "w1", now)]
    waiting = place.ask("b:q", wait=500, worker="w2")
    await place.clock.advance(100)
    assert place.work.last_polled("b:q") == place.clock.now()
    waiting.cancel()
    place.offer(work(1, queue="b:q"), work(2, queue="b:q"))
    await settle()
    assert await place.work.sizes() == {"b:q": 2}


async def test_a_queue_longer_than_memory_is_worked_off_in_order() -> None:
    place = Place(window=20, page=7)
    await place.work.start()
    rows = [work(run, priority=run % 5) for run in range(1, 301)]
    for row in rows:
        place.store.open[row.run, 1] = row
    found: list[int] = []
    while batch := await place.ask(count=9):
        found += keys(batch)
        assert place.work.stats()["mirrored"] <= 60
    assert found == keys(sorted(rows, key=lambda row: (-row.priority, row.run)))


async def test_delayed_rows_ahead_of_ready_ones_do_not_hide_them() -> None:
    place = Place(window=20, page=7)
    await place.work.start()
    now = place.clock.now()
    for run in range(1, 201):
        place.store.open[run, 1] = work(run, priority=9, due=now + 1_000 + run)
    place.store.open[500, 1] = work(500)
    assert keys(await place.ask(wait=10)) == [500]
    assert place.work.stats()["mirrored"] <= 60
    await place.clock.advance(900)
    found: list[int] = []
    for _ in range(400):
        asked = place.ask(count=5, wait=100)
        await place.clock.advance(100)
        found += keys(asked.result())
    assert sorted(found) == list(range(1, 201))


async def test_queues_that_nobody_polls_cost_no_memory() -> None:
    place = Place(rows=50)
    await place.work.start()
    for number in range(30):
        name = f"q{number}"
        for n in range(1, 6):
            place.offer(work(1_000 + number, n=n, queue=name))
        await settle()
        await place.ask(name)
    assert place.work.stats()["mirrored"] <= 55
    left = 0
    for number in range(30):
        left += len(await place.ask(f"q{number}", count=10))
    assert left == 30 * 4


class Handing(RuleBasedStateMachine):
    """No row is with two workers, none is lost, whatever commits are lost, whoever goes away, however small the memory."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.place = self.loop.run_until_complete(self.begin())
        self.next = 0
        self.asked: list[asyncio.Task[list[OpenStep]]] = []
        self.held: dict[tuple[int, int], OpenStep] = {}
        self.ended: set[tuple[int, int]] = set()
        self.handed: Counter[tuple[int, int, int]] = Counter()

    async def begin(self) -> Place:
        place = Place(window=4, page=3)
        await place.work.start()
        return place

    def run(self, turns: int) -> None:
        self.loop.run_until_complete(settle(turns))
        for task in [task for task in self.asked if task.done()]:
            self.asked.remove(task)
            if task.cancelled() or task.exception() is not None:
                continue
            for row in task.result():
                key = (row.run, row.n)
                self.handed[row.run, row.n, row.polls] += 1
                if key not in self.ended:
                    assert key not in self.held, "handed out while somebody has it"
                    self.held[key] = row

    turns = st.sampled_from([0, 1, 2, 5, 30])

    @rule(
        count=st.integers(1, 6),
        queue=st.sampled_from("ab"),
        priority=st.integers(0, 2),
        later=st.integers(0, 40),
        ok=st.booleans(),
        turns=turns,
    )
    def offer(self, count: int, queue: str, priority: int, later: int, ok: bool, turns: int) -> None:
        due = self.place.clock.now() + later - 20
        rows = []
        for _ in range(count):
            self.next += 1
            rows.append(work(self.next, queue=queue, priority=priority, due=due))

        async def offer() -> None:
            self.place.offer(*rows, ok=ok)

        self.loop.run_until_complete(offer())
        if not ok:
            self.run(30)
        self.run(turns)

    @rule(
        queues=st.sampled_from([("a",), ("b",), ("a", "b")]),
        count=st.integers(1, 5),
        wait=st.sampled_from([0, 0, 30]),
        turns=turns,
    )
    def ask(self, queues: tuple[str, ...], count: int, wait: int, turns: int) -> None:
        async def ask() -> None:
            self.asked.append(self.place.ask(*queues, count=count, wait=wait))

        self.loop.run_until_complete(ask())
        self.run(turns)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 20), turns=turns)
    def go_away(self, which: int, turns: int) -> None:
        self.asked[which % len(self.asked)].cancel()
        self.run(turns)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 20), turns=turns)
    def give_back(self, which: int, turns: int) -> None:
        key = sorted(self.held)[which % len(self.held)]
        row = self.held.pop(key)

        async def release() -> None:
            self.place.work.release([row])

        self.loop.run_until_complete(release())
        self.run(turns)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 20), later=st.integers(0, 30), turns=turns)
    def still_at_it(self, which: int, later: int, turns: int) -> None:
        """The run takes the row back and offers it again, later."""
        key = sorted(self.held)[which % len(self.held)]
        row = replace(self.held.pop(key), lease=0, worker="", due=self.place.clock.now() + later)

        async def change() -> None:
            self.place.offer(row)

        self.loop.run_until_complete(change())
        self.run(turns)

    @precondition(lambda self: self.place.store.open)
    @rule(which=st.integers(0, 50), turns=turns)
    def end(self, which: int, turns: int) -> None:
        """By its worker or by anybody else."""
        self.run(30)
        if not self.place.store.open:
            return
        key = sorted(self.place.store.open)[which % len(self.place.store.open)]
        self.ended.add(key)
        self.held.pop(key, None)

        async def end() -> None:
            self.place.end(*key)

        self.loop.run_until_complete(end())
        self.run(turns)

    @rule(turns=st.sampled_from([1, 10, 40]))
    def reading(self, turns: int) -> None:
        """How long the store takes to read, beside commits."""
        self.place.store.read_turns = turns

    @rule(milliseconds=st.integers(1, 40))
    def time(self, milliseconds: int) -> None:
        self.loop.run_until_complete(self.place.clock.advance(milliseconds))
        self.run(0)

    @rule()
    def fail(self) -> None:
        """Commits and reads fail for a while."""
        self.run(60)
        self.place.committer.down = self.place.store.broken = True
        self.ask(("a", "b"), 3, 0, 60)
        self.place.committer.down = self.place.store.broken = False

    @invariant()
    def no_lease_is_handed_out_twice(self) -> None:
        assert all(count == 1 for count in self.handed.values())

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.loop.run_until_complete(self.place.work.stop())
            self.loop.close()

    def finish(self) -> None:
        """Everything that nobody has can still be had, and what is had is leased in the store."""
        self.loop.run_until_complete(self.place.clock.advance(200))
        self.run(200)
        open_rows = set(self.place.store.open)
        free = open_rows - set(self.held)
        for queue in "ab":
            for _ in range(200):
                before = len(self.held)
                self.ask((queue,), 3, 0, 200)
                if len(self.held) == before:
                    break
        assert free <= set(self.held), "lost"
        for key, row in self.held.items():
            kept = copy(self.place.store.open[key])
            assert kept.lease == row.lease
            assert kept.polls == row.polls
        stats = self.place.work.stats()
        assert stats["flights"] == stats["pollers"] == 0


TestHanding = Handing.TestCase
TestHanding.settings = examples(60, stateful_step_count=40)
