"""Two engines on one store: what each of them believes is checked where both meet, in the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from tests.kernel.graphs import Graph, after, card, look, on_event, on_trigger, outside
from tests.patience import happens
from tests.runtime.harness import Shapes, code_of, handles
from tests.runtime.living import Living
from tests.runtime.nodes import STORES, Pair, node, seat, two
from tests.runtime.wire import Wire

from pelton.connectors.port import Outgoing
from pelton.connectors.registry import Connectors
from pelton.errors import Code, PeltonError
from pelton.kernel.model.process import Limit, Limits, Process
from pelton.kernel.model.signals import EventArrived, Pause, Report, Rewind, RunNow, TimerFired, Trigger
from pelton.kernel.model.state import OpenStep, RunStatus, Step
from pelton.runtime.api import ActionContext, ClaimRequest, Command, EventIn, MatchCommand, StartCommand, WorkItem
from pelton.runtime.caller import SERVER
from pelton.runtime.commit.durable import durable
from pelton.runtime.events.fan_out import FanOut, durable_job
from pelton.store.rows import PendingSignalRow
from pelton.testing.clock import settle


class Busy(Wire):
    """A sink that takes nothing until it is free."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()

    async def send(self, address: str, messages: Sequence[Outgoing]) -> Sequence[Exception | None]:
        await self.free.wait()
        return await super().send(address, messages)


case = pytest.mark.parametrize("kind", STORES)


def step(slot: str = "a", **more: Any) -> Callable[[], Process]:
    return lambda: Graph(f"one {slot}").work(slot, queue="q", **more).build()


def counting() -> Process:
    """Every `more` is counted, so that one taken twice shows."""
    graph = Graph("counting", output=look(lambda scene: scene.var("hits") or 0))
    graph.body("", hits=0)
    more = on_event("more", stays=True, hits=look(lambda scene: scene.var("hits") + 1))
    return graph.wait("w", more, on_event("stop", "")).build()


def messages(count: int) -> Callable[[], Process]:
    def build() -> Process:
        graph = Graph("messages")
        for number in range(count):
            graph.emit(f"m{number}", "wire:out", number, f"m{number + 1}" if number < count - 1 else "")
        return graph.build()

    return build


async def begin(at: Living, process: str, value: Any = None, **more: Any) -> int:
    return (await at.engine.start(SERVER, StartCommand(process=process, input=value, **more))).key


async def hits(pair: Pair, run: int) -> int:
    view = await pair.a.engine.view(SERVER, run)
    assert view is not None
    return int(view.variables.get("hits", 0))


async def row_of(pair: Pair, run: int, n: int = 1) -> OpenStep | Step:
    found = await pair.a.engine.step(SERVER, run, n)
    assert found is not None
    return found


def claim(at: Living, worker: str, count: int = 1, wait: int = 0) -> asyncio.Future[list[WorkItem]]:
    return asyncio.ensure_future(at.engine.claim(SERVER, ClaimRequest(queues=["q"], count=count, wait=wait, worker=worker)))


# ---- deliveries


@case
async def test_a_message_is_sent_by_one_engine(kind: str, tmp_path: Path) -> None:
    wire = Busy()

    def options() -> dict[str, Any]:
        return {"connectors": Connectors([wire])}

    async with two(kind, tmp_path, messages(3), options=options) as pair:
        for at in (*pair.both, *pair.both):
            await begin(at, "messages")
        late = node(pair.store, pair.shapes, node=3, instance="c", **options())
        await late.engine.open()  # it finds what the others have not sent yet
        wire.free.set()
        await happens(lambda: len(set(wire.got["out"])) == 12)
        for at in (*pair.both, late):
            await at.quiet()
        await late.engine.close(1.0)
        assert max(wire.tries.values()) == 1


@case
async def test_messages_of_one_run_keep_their_order_across_engines(kind: str, tmp_path: Path) -> None:
    wire = Wire()

    def build() -> Process:
        graph = Graph("talk")
        graph.wait("w", on_event("say", "m")).emit("m", "wire:out", None, "x").wait("x", on_event("say", "n"))
        return graph.emit("n", "wire:out").build()

    async with two(kind, tmp_path, build, options=lambda: {"connectors": Connectors([wire])}) as pair:
        runs = [await begin(pair.a, "talk") for _ in range(3)]
        for at in pair.both:
            await asyncio.gather(*(at.engine.signal(SERVER, run, EventArrived(id=1, name="say")) for run in runs))
        await happens(lambda: len(set(wire.got["out"])) == 6)
        for run in runs:
            sent = list(dict.fromkeys(name for name in wire.got["out"] if name.startswith(pair.a.engine.codec.run_id(run))))
            assert sent == [pair.a.engine.codec.message_id(run, n, 0) for n in (2, 4)]


# ---- durable signals


@case
async def test_a_durable_signal_has_its_effect_once(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        runs = [await begin(pair.a, "counting") for _ in range(10)]
        more = durable(EventArrived(id=1, name="more", strict=False))
        rows = [PendingSignalRow(pair.a.engine.keys(), run, more, 0) for run in runs]
        await pair.a.engine.write(lambda group: group.pending_signals.extend(rows))
        for at in pair.both:
            for row in rows:
                at.engine.committer.pending_signals.take_up(row)
        await pair.a.quiet()
        await pair.b.quiet()
        assert [await hits(pair, run) for run in runs] == [1] * 10


@case
async def test_a_job_for_many_runs_reaches_each_of_them_once(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        runs = [await begin(pair.a, "counting") for _ in range(100)]
        job = FanOut("default", EventArrived(id=1, name="more", strict=False), runs)
        row = durable_job(pair.a.engine.keys(), job)
        await pair.a.engine.write(lambda group: group.pending_signals.append(row))
        for at in pair.both:
            at.engine.durable_jobs.added(copy(row))
        await happens(lambda: all(at.engine.durable_jobs.stats()["kept"] == 0 for at in pair.both))
        await pair.a.quiet()
        assert [await hits(pair, run) for run in runs] == [1] * 100


@case
async def test_what_an_engine_left_behind_is_taken_up_by_the_next(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        run = await begin(pair.a, "counting")
        row = PendingSignalRow(pair.a.engine.keys(), run, durable(EventArrived(id=1, name="more", strict=False)), 0)
        await pair.a.engine.write(lambda group: group.pending_signals.append(row))  # and nobody takes it up
        await pair.a.engine.close(1.0)
        late = node(pair.store, pair.shapes, node=3, instance="c")
        await late.engine.open()
        await happens(lambda: hits_are(pair, run, 1))
        await late.engine.close(1.0)


@case
async def test_what_an_engine_left_behind_is_taken_up_by_one_that_lives(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        runs = [await begin(pair.a, "counting") for _ in range(3)]
        more = EventArrived(id=1, name="more", strict=False)
        left = [
            PendingSignalRow(pair.a.engine.keys(), runs[0], durable(more), 0),
            durable_job(pair.a.engine.keys(), FanOut("default", more, runs[1:])),
        ]
        await pair.a.engine.write(lambda group: group.pending_signals.extend(left))  # and nobody takes it up
        await pair.b.engine.committer.pending_signals.recover()
        await pair.b.engine.durable_jobs.look()
        assert len(await pair.store.pending_signals(9)) == 2, "the other one lives: it is for that one to do"
        await pair.a.engine.close(1.0)
        await happens(lambda: hits_are(pair, runs[0], 1))
        await happens(lambda: hits_are(pair, runs[2], 1))
        await pair.b.quiet()
        assert [await hits(pair, run) for run in runs] == [1, 1, 1]


async def hits_are(pair: Pair, run: int, count: int) -> bool:
    return await hits(pair, run) == count


# ---- work


@case
async def test_an_item_is_handed_out_once(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        for _ in range(6):
            await begin(pair.a, "one a")
        for at in pair.both:
            await at.engine.work.loaded(at.engine.work.poll(ClaimRequest(queues=["q"], count=1, wait=0, worker="looks")))
        await pair.a.quiet()
        taken = await asyncio.gather(*(claim(at, worker, 3) for at, worker in zip(pair.both, "vw", strict=True)))
        names = [(item.step.run, item.step.n) for items in taken for item in items]
        assert names
        assert len(names) == len(set(names))
        for items, worker in zip(taken, "vw", strict=True):
            for item in items:
                row = await row_of(pair, item.step.run, item.step.n)
                assert (row.worker, row.polls) == (worker, item.step.polls)


@case
async def test_a_starting_engine_leaves_the_built_in_work_of_the_living(kind: str, tmp_path: Path) -> None:
    began: list[str] = []
    go = asyncio.Event()

    def prepare(engine: Any) -> None:
        async def slow(item: WorkItem) -> Report:
            began.append(item.step.worker)
            await go.wait()
            return Report(n=item.step.n, output="done")

        engine.add_operation("slow", slow)

    build = lambda: Graph("slow").work("s", queue="@slow").build()  # noqa: E731
    async with two(kind, tmp_path, build, prepare=prepare) as pair:
        run = await begin(pair.a, "slow")
        await happens(lambda: began)
        late = node(pair.store, pair.shapes, node=3, instance="c", prepare=prepare)
        await late.engine.open()
        await late.quiet()
        await settle()
        go.set()
        assert await pair.a.ended(run) == "done"
        await late.engine.close(1.0)
        assert len(began) == 1


@case
async def test_an_ended_step_says_who_had_it_whichever_engine_was_told(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        run = await begin(pair.a, "one a")
        (item,) = await claim(pair.b, "w")
        assert (item.step.polls, item.step.worker) == (1, "w")
        await pair.a.engine.signal(SERVER, run, Report(n=item.step.n, output=1))
        row = await row_of(pair, run)
        assert isinstance(row, Step)
        assert (row.polls, row.worker, row.started) == (1, "w", item.step.started)


@case
async def test_a_change_of_a_row_leaves_the_lease_that_the_other_engine_gave(kind: str, tmp_path: Path) -> None:
    build = lambda: Graph("loop").scope("l", "a", keep=3).work("a", queue="q").build()  # noqa: E731
    async with two(kind, tmp_path, build) as pair:
        run = await begin(pair.a, "loop")
        (item,) = await claim(pair.b, "w")
        row = await row_of(pair, run, item.step.n)
        assert isinstance(row, OpenStep)
        # what a transition changes beside the lease: here by hand, as a report of the output so far does
        await pair.a.engine.signal(SERVER, run, Report(n=item.step.n, output="half", again_after=0, status=None, worker="w"))
        row = await row_of(pair, run, item.step.n)
        assert isinstance(row, OpenStep)
        assert (row.output, row.polls, row.lease, row.started) == ("half", 1, 0, item.step.started)


@case
async def test_work_that_the_other_engine_handed_out_is_not_late_for_its_queue(kind: str, tmp_path: Path) -> None:
    build = step(limits=Limits(queue=Limit(after=3_600_000, action="fail")))
    async with two(kind, tmp_path, build) as pair:
        run = await begin(pair.a, "one a")
        (item,) = await claim(pair.b, "w")
        await code_of(pair.a.engine.committer.submit(run, TimerFired(n=1, arm="queue", epoch=0)))
        (result,) = await pair.b.engine.report(SERVER, [(run, Report(n=item.step.n, output=1))])
        assert result.error is None
        head = await pair.a.engine.head(SERVER, run)
        assert head is not None
        assert head.status == RunStatus.COMPLETED


@case
async def test_work_that_is_born_at_one_engine_reaches_a_worker_at_the_other(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        assert await claim(pair.b, "w") == []  # from now on it believes that it knows the queue
        waiting = claim(pair.b, "w", wait=4_000)
        run = await begin(pair.a, "one a")
        (item,) = await waiting
        assert item.step.run == run


# ---- what is not so


@case
async def test_a_refusal_is_what_the_store_says(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        run = await begin(pair.a, "one a")
        await pair.a.engine.signal(SERVER, run, Report(n=1, output=1))
        with pytest.raises(PeltonError):  # it has ended, and A knows it
            await pair.a.engine.signal(SERVER, run, Pause())
        await pair.b.engine.signal(SERVER, run, Rewind(to="start"))
        await pair.a.engine.signal(SERVER, run, Pause())


@case
async def test_nothing_to_do_is_what_the_store_says(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        run = await begin(pair.a, "one a")
        await pair.b.engine.signal(SERVER, run, Report(n=1, status=None, again_after=3_600_000))
        await pair.a.engine.signal(SERVER, run, RunNow())  # A knows of nothing that is due later
        (item,) = await claim(pair.a, "w", wait=4_000)
        assert item.step.run == run


@case
async def test_a_run_that_the_other_engine_removed_is_unknown(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        run = await begin(pair.a, "one a")
        await pair.b.engine.remove(SERVER, run)
        assert await code_of(asyncio.ensure_future(pair.a.engine.signal(SERVER, run, RunNow()))) == Code.UNKNOWN_RUN


# ---- definitions


@case
async def test_a_run_begins_with_the_version_that_the_other_engine_has_defined(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        old = await pair.b.engine.head(SERVER, await begin(pair.b, "one a"))
        pair.shapes.processes["another"] = lambda: Graph("one a").work("z", queue="q").build()
        await pair.a.engine.define(SERVER, "process", "shapes", "one a", 1, json.encode("another"))
        new = await pair.b.engine.head(SERVER, await begin(pair.b, "one a"))
        assert old is not None
        assert new is not None
        assert old.definition != new.definition


@case
async def test_a_fact_reaches_a_handler_that_the_other_engine_has_defined(kind: str, tmp_path: Path) -> None:
    shapes = Shapes()
    shapes.handlers["h"] = handles("run.ended", lambda context: [])
    async with two(kind, tmp_path, step(), shapes=shapes) as pair:
        run = await begin(pair.b, "one a")
        await pair.a.engine.define(SERVER, "handler", "shapes", "h", 1, json.encode("h"))
        await pair.b.engine.signal(SERVER, run, Report(n=1, output=1))
        (found,) = [await pair.a.until_found(lambda: pair.store.events("default", type="run.ended"))]
        assert found.subject == pair.a.engine.codec.run_id(run)


@case
async def test_two_engines_that_bind_the_same_content_at_once_both_have_it(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        pair.shapes.processes["n"] = lambda: Graph("n").work("a", queue="q").build()
        bodies = [at.engine.bind_inline(SERVER, "shapes", "n", 1, json.encode("n")) for at in pair.both]
        one, other = await asyncio.gather(*bodies)
        assert one.name == other.name
        heads = [await begin(at, "", definition=each.definition) for at, each in zip(pair.both, (one, other), strict=True)]
        assert len(set(heads)) == 2


# ---- nodes


@case
async def test_the_outcome_of_a_commit_that_was_not_answered_is_found_out(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        run = await begin(pair.a, "counting")
        seat(pair.a).unsure = 1
        await pair.a.engine.signal(SERVER, run, EventArrived(id=1, name="more"))
        assert await hits(pair, run) == 1
        await pair.a.engine.signal(SERVER, run, EventArrived(id=2, name="more"))
        assert await hits(pair, run) == 2


@case
async def test_an_engine_that_was_declared_dead_writes_nothing_more(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        run = await begin(pair.a, "counting")
        frozen = seat(pair.a).frozen = asyncio.Event()
        late = asyncio.ensure_future(pair.a.engine.signal(SERVER, run, EventArrived(id=1, name="more")))
        await happens(lambda: pair.a.engine.committer._flight)
        other: Any = pair.b.engine
        assert await other.nodes.declare_dead(1)
        frozen.set()
        assert await code_of(late) == Code.UNAVAILABLE
        assert await hits(pair, run) == 0
        assert not pair.a.engine.committer.workspace.cache.peek(run)
        assert await code_of(asyncio.ensure_future(begin(pair.a, "counting"))) == Code.UNAVAILABLE


@case
async def test_engines_that_are_given_no_number_make_different_keys(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        late = [node(pair.store, pair.shapes) for _ in range(3)]
        for at in late:
            await at.engine.open()
        keys = [at.engine.keys() >> 13 & 0xFF for at in (*pair.both, *late)]
        for at in late:
            await at.engine.close(1.0)
        assert len(set(keys)) == len(keys)


@case
async def test_what_was_so_at_a_settled_instant_stays_so(kind: str, tmp_path: Path) -> None:
    """The other engine's clock is behind, and it has something to write that it has decided."""

    def ticket() -> Process:
        return Graph("ticket", records=card()).wait("w", on_trigger("note", stays=True)).build()

    async with two(kind, tmp_path, ticket, offset=-5_000) as pair:
        run = await begin(pair.b, "ticket", {"x": 0})
        await happens(lambda: pair.a.engine.instant() > 1)
        frozen = seat(pair.b).frozen = asyncio.Event()
        late = asyncio.ensure_future(pair.b.engine.signal(SERVER, run, Trigger(name="note", changes={"x": 1})))
        await happens(lambda: pair.b.engine.committer._flight)
        instant = pair.a.engine.instant()
        before = await pair.a.engine.record(SERVER, run, instant)
        frozen.set()
        await late
        assert await pair.a.engine.record(SERVER, run, instant) == before


@case
async def test_a_watch_sees_what_the_other_engine_does(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, step()) as pair:
        run = await begin(pair.a, "one a")
        with pair.b.engine.watch(SERVER, run) as watch:
            await pair.a.engine.signal(SERVER, run, Report(n=1, output=1))
            assert await watch.changed(4.0)


# ---- what was found


def mutual() -> Process:
    """It may close while another one is open."""

    def another(scene: Any) -> bool:
        return any(record.run != scene.run.key for record in scene.found("state", "open"))

    def closed(scene: Any) -> Any:
        return {**scene.record, "state": "closed"}

    graph = Graph("mutual", records=card()).wait("open", on_trigger("close", "closing", guard=look(another)))
    return graph.assign("closing", record=look(closed)).build()


@case
async def test_of_two_that_may_close_while_the_other_is_open_one_closes(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, mutual) as pair:
        for _ in range(5):
            runs = [await begin(at, "mutual", {"state": "open"}) for at in pair.both]
            for at in pair.both:
                at.forget()
            close = [at.engine.signal(SERVER, run, Trigger(name="close")) for at, run in zip(pair.both, runs, strict=True)]
            outcomes = await asyncio.gather(*close, return_exceptions=True)
            assert sum(isinstance(outcome, PeltonError) for outcome in outcomes) == 1, outcomes
            (left,) = await pair.a.engine.linked(SERVER, "state", "open")
            await pair.a.engine.remove(SERVER, left.run)


@case
async def test_an_event_moves_only_what_matches_still(kind: str, tmp_path: Path) -> None:
    """The other engine takes the run out of what the event is for, between the search and the commit."""

    def ticket() -> Process:
        return Graph("ticket", records=card()).wait("w", on_trigger("note", stays=True)).build()

    def plan(context: ActionContext) -> Sequence[Command]:
        note = Trigger(name="note", changes={"hit": True}, strict=False)
        where = lambda record: record.body.get("state") == "open"  # noqa: E731
        return [MatchCommand(process="ticket", where=where, conjuncts=[[("state", "open", False)]], signal=note)]

    shapes = Shapes()
    shapes.handlers["h"] = handles("look", plan)
    async with two(kind, tmp_path, ticket, shapes=shapes) as pair:
        await pair.a.engine.define(SERVER, "handler", "shapes", "h", 1, json.encode("h"))
        await pair.b.engine.ingest(SERVER, [EventIn(source="s", type="else", id="0", body={})])
        run = await begin(pair.a, "ticket", {"state": "open"})

        async def leave() -> None:
            await pair.a.engine.signal(SERVER, run, Trigger(name="note", changes={"state": "done"}))

        seat(pair.b).before = leave
        await pair.b.engine.ingest(SERVER, [EventIn(source="s", type="look", id="1", body={})])
        record = await pair.a.engine.record(SERVER, run)
        assert record is not None
        assert record.body.get("hit") is None


# ---- times


@case
async def test_a_timer_fires_once(kind: str, tmp_path: Path) -> None:
    def build() -> Process:
        graph = Graph("later", output=look(lambda scene: scene.var("hits")))
        graph.body("", hits=0)
        return graph.wait("w", after(30, "x")).assign("x", hits=look(lambda scene: scene.var("hits") + 1)).build()

    async with two(kind, tmp_path, build) as pair:
        runs = [await begin(at, "later") for at in (*pair.both, *pair.both)]
        assert [await pair.a.ended(run) for run in runs] == [1] * 4


@case
async def test_a_timer_of_an_engine_that_is_gone_is_fired_by_another(kind: str, tmp_path: Path) -> None:
    build = lambda: Graph("later").wait("w", after(50)).build()  # noqa: E731
    async with two(kind, tmp_path, build) as pair:
        run = await begin(pair.a, "later")
        await pair.a.engine.timers.stop()
        await pair.b.ended(run)


@case
async def test_a_reminder_is_given_once_for_each_time(kind: str, tmp_path: Path) -> None:
    def build() -> Process:
        graph = Graph("reminded")
        graph.body("", hits=0)
        remind = after(1, stays=True, hits=look(lambda scene: scene.var("hits") + 1))
        return graph.wait("w", remind, outside()).build()

    async with two(kind, tmp_path, build) as pair:
        run = await begin(pair.a, "reminded")
        await happens(lambda: hits_are(pair, run, 1))
        for at in pair.both:
            await code_of(at.engine.committer.submit(run, TimerFired(n=1, arm="0", epoch=0)))
        assert await hits(pair, run) == 1


# ---- one run that all want


@case
async def test_signals_to_one_run_from_both_engines_are_all_applied(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, counting) as pair:
        run = await begin(pair.a, "counting")

        async def send(at: Any, first: int) -> None:
            for number in range(first, first + 20):
                await at.engine.signal(SERVER, run, EventArrived(id=number, name="more"))

        await asyncio.gather(*(send(at, 1000 * line + 20 * side) for side, at in enumerate(pair.both) for line in range(8)))
        assert await hits(pair, run) == 320


# ---- sources


@case
async def test_an_address_is_listened_to_by_one_engine(kind: str, tmp_path: Path) -> None:
    wire, shapes = Wire(), Shapes()
    shapes.handlers["h"] = handles("wire:in", lambda context: [])
    async with two(kind, tmp_path, shapes=shapes, options=lambda: {"connectors": Connectors([wire])}) as pair:
        await pair.a.engine.define(SERVER, "handler", "shapes", "h", 1, json.encode("h"))
        for at in pair.both:
            await at.engine.ingest(SERVER, [EventIn(source="s", type="else", id=at.engine.work.instance, body={})])
            at.engine.listening.update()
        await happens(lambda: any(line.address == "in" for line in wire.lines))
        await settle()
        assert len([line for line in wire.lines if not line.closed]) == 1
        await pair.a.engine.close(1.0)
        await happens(lambda: any(not line.closed for line in wire.lines))
