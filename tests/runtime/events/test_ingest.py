"""Events on the real store: recorded with what was made of them, acted on once, each handler for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tests.kernel.graphs import Graph
from tests.runtime.harness import Gate, Rig, handles, rig, until

from pelton.errors import PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Report, Signal, Terminate
from pelton.kernel.model.state import RunStatus
from pelton.runtime.api import ActionContext, Command, EventIn, Ingested, PlanProblem, SignalCommand, StartCommand
from pelton.runtime.events.ingest import EventIngester
from pelton.store.port import Store, StoreFailed
from pelton.store.rows import EventRow


def single() -> Process:
    return Graph("single").work("a").build()


def starts(context: ActionContext) -> Sequence[Command]:
    return [StartCommand(process="single", input=context.payload)]


def signals(runs: Sequence[int], signal: Signal) -> Any:
    return lambda context: [SignalCommand(run=run, signal=signal) for run in runs]


def gated(inner: Store) -> Store:
    return cast(Store, Gate(inner))


def event(number: int | str = "", body: Any = None, kind: str = "order") -> EventIn:
    return EventIn(source="test", type=kind, id=f"e{number}" if number != "" else "", body=body)


async def one(router: EventIngester, given: EventIn) -> Ingested:
    (outcome,) = await router.ingest([given])
    assert isinstance(outcome, Ingested)
    return outcome


async def stored(at: Rig, posted: Ingested) -> EventRow:
    row = await at.store.event("default", posted.key)
    assert row is not None
    return row


async def test_an_event_starts_a_run_in_its_own_group(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        router = EventIngester(at.committer)
        await at.define(single)
        await at.handle("h", handles("order", starts))
        gate = cast(Gate, at.store)
        gate.batches.clear()
        posted = await one(router, event(1, {"x": 1}))
        assert [len(batch) for batch in gate.batches] == [1]
        assert posted.state == "matched"
        assert [(effect.handler, effect.outcome) for effect in posted.effects] == [("h", "started")]
        head = await at.store.head(posted.effects[0].run)
        assert head is not None
        assert head.hops == 1
        row = await stored(at, posted)
        assert (row.event_id, row.state, row.body) == ("e1", "matched", {"x": 1})
        assert row.handlers == await at.store.handler_counter("default")


async def test_an_event_that_nobody_handles_is_kept(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        router = EventIngester(at.committer)
        posted = await one(router, event())
        assert (posted.state, posted.decisions, posted.effects) == ("unmatched", [], [])
        assert (await stored(at, posted)).event_id == at.codec.event_id(posted.key)


async def test_repeats_are_answered_with_the_first_outcome(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        await at.define(single)
        await at.handle("h", handles("order", starts))
        router = EventIngester(at.committer)
        together = await router.ingest([event(1, 5), event(1, 5), event(1, 6)])
        firsts = [outcome for outcome in together if isinstance(outcome, Ingested)]
        assert [(outcome.duplicate, outcome.conflict) for outcome in firsts] == [(False, False), (True, False), (True, True)]
        later = await one(router, event(1, 5))
        forgotten = await one(EventIngester(at.committer), event(1, 5))
        conflict = await one(EventIngester(at.committer), event(1, 7))
        for repeat in (*firsts[1:], later, forgotten, conflict):
            assert repeat.duplicate
            assert repeat.key == firsts[0].key
            assert repeat.effects == firsts[0].effects
            assert repeat.decisions == firsts[0].decisions
        assert (later.conflict, forgotten.conflict, conflict.conflict) == (False, False, True)
        assert len(await at.store.runs("default")) == 1


async def test_the_memory_of_recent_events_is_bounded(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        router = EventIngester(at.committer, recent=10)
        await router.ingest([event(number) for number in range(50)])
        assert len(router._recent) == 10
        assert (await one(router, event(0))).duplicate


async def test_a_handler_that_arrives_between_match_and_commit_is_seen(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        await at.define(single)
        router = EventIngester(at.committer)
        await one(router, event(0))
        gate = cast(Gate, at.store)
        definitions = at.committer.workspace.definitions
        known = definitions.handlers.known("default")
        assert known is not None
        before = known.counter
        await at.handle("h", handles("order", starts))
        assert known.counter > before
        # As on another server: the set in memory is an old one.
        known.index.remove(next(iter(known.rows.values())))
        known.rows.clear()
        known.counter = before
        gate.batches.clear()
        posted = await one(router, event(1))
        assert len(gate.batches) == 2
        assert [effect.outcome for effect in posted.effects] == ["started"]
        assert len(await at.store.runs("default")) == 1


async def test_a_failing_handler_takes_back_its_own_and_leaves_the_others(tmp_path: Path) -> None:
    def poison() -> Process:
        def raises(given: Any, output: Any) -> Any:
            raise RuntimeError("boom")

        return Graph("poison").work("a", output=raises).build()

    async with rig(tmp_path) as at:
        await at.define(single)
        bad = await at.begin(await at.define(poison))

        def mixed(context: ActionContext) -> Sequence[Command]:
            return [StartCommand(process="single"), SignalCommand(run=bad.key, signal=Report(slot="a", strict=False))]

        def broken(context: ActionContext) -> Sequence[Command]:
            raise ValueError("no plan")

        await at.handle("a good one", handles("order", starts))
        await at.handle("b mixed", handles("order", mixed))
        await at.handle("c broken", handles("order", broken))
        await at.handle("d unknown", handles("order", lambda context: [StartCommand(process="nowhere")]))
        await at.handle("e problem", handles("order", lambda context: [PlanProblem(detail="no such field", field="x")]))
        await at.handle("f good too", handles("order", starts))
        posted = await one(EventIngester(at.committer), event(1))
        assert {decision.handler: decision.verdict for decision in posted.decisions} == {
            "a good one": "fired",
            "b mixed": "failed",
            "c broken": "failed",
            "d unknown": "failed",
            "e problem": "failed",
            "f good too": "fired",
        }
        assert {effect.handler: effect.outcome for effect in posted.effects} == {
            "a good one": "started",
            "b mixed": "failed",
            "c broken": "failed",
            "d unknown": "failed",
            "e problem": "failed",
            "f good too": "started",
        }
        assert [each.detail for each in posted.decisions if each.handler == "e problem"] == ["no such field"]
        assert posted.state == "matched"
        assert len(await at.store.runs("default", process="single")) == 2
        assert [row.slot for row in await at.open_rows(bad.key)] == ["a"]


async def test_signals_to_runs_known_unknown_and_over(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(single)
        live, over = await asyncio.gather(at.begin(process), at.begin(process))
        await at.committer.submit(over.key, Terminate())
        at.cold()
        await at.handle("h", handles("order", signals([live.key, over.key, 77], Report(slot="a", output=1, strict=False))))
        posted = await one(EventIngester(at.committer), event(1))
        assert [effect.outcome for effect in posted.effects] == ["signalled", "unchanged", "failed"]
        assert "unknown run" in posted.effects[2].detail
        head = await at.store.head(live.key)
        assert head is not None
        assert head.status == RunStatus.COMPLETED


async def test_many_events_to_one_run_fold(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        graph = Graph("counting").wait("w").build
        del graph
        process = await at.define(single)
        head = await at.begin(process)
        await at.handle("h", handles("order", signals([head.key], Report(slot="a", status=None, output={"k": 1}, strict=False))))
        router = EventIngester(at.committer)
        gate = cast(Gate, at.store)
        gate.batches.clear()
        outcomes = await router.ingest([event(number) for number in range(100)])
        assert all(isinstance(outcome, Ingested) and outcome.state == "matched" for outcome in outcomes)
        assert len(gate.batches) <= 2
        assert sum(len(group.events) for batch in gate.batches for group in batch) == 100
        assert [len(group.runs) for batch in gate.batches for group in batch] == [1] * len(gate.batches)


async def test_an_event_for_many_runs_is_carried_on_in_later_commits(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        process = await at.define(single)
        heads = await asyncio.gather(*(at.begin(process) for _ in range(200)))
        await at.handle("h", handles("order", signals([head.key for head in heads], Report(slot="a", strict=False))))
        posted = await one(EventIngester(at.committer), event(1))
        assert len(posted.effects) == 200
        await until(lambda: at.committer.idle)
        for head in heads:
            stored_head = await at.store.head(head.key)
            assert stored_head is not None
            assert stored_head.status == RunStatus.COMPLETED
        assert await at.store.pending_signals(10) == []


async def test_a_key_lets_one_run_be_started(tmp_path: Path) -> None:
    def keyed(mode: Any) -> Any:
        return lambda context: [StartCommand(process="single", key=f"k{context.payload}", on_same_key=mode)]

    async with rig(tmp_path) as at:
        await at.define(single)
        await at.handle("h", handles("order", keyed("return")))
        router = EventIngester(at.committer)
        outcomes = [outcome for outcome in await router.ingest([event(n, 1) for n in range(5)]) if isinstance(outcome, Ingested)]
        effects = [outcome.effects[0] for outcome in outcomes]
        assert sorted(effect.outcome for effect in effects) == ["started", "unchanged", "unchanged", "unchanged", "unchanged"]
        assert len({effect.run for effect in effects}) == 1
        await at.committer.submit(effects[0].run, Terminate())
        await at.handle("h", handles("order", keyed("fail if live")))
        again = await one(router, event(9, 2))
        assert again.effects[0].outcome == "started"
        assert (await one(router, event(10, 2))).effects[0].outcome == "failed"
        await at.committer.submit(again.effects[0].run, Terminate())
        assert (await one(router, event(11, 2))).effects[0].outcome == "started"


async def test_a_run_that_is_over_in_the_commit_that_begins_it_leaves_its_key_free(tmp_path: Path) -> None:
    def calls() -> Process:
        return Graph("calls").call("c", "brief").build()

    def brief() -> Process:
        return Graph("brief").end("e").build()

    def key_of(process: str) -> Any:
        return lambda context: [StartCommand(process=process, key="k", on_same_key="fail if live")] * 2

    async with rig(tmp_path) as at:
        await at.define(brief)
        await at.define(calls)
        router = EventIngester(at.committer)
        for number, process in enumerate(("brief", "calls")):
            await at.handle("h", handles("order", key_of(process)))
            for again in (0, 10):
                posted = await one(router, event(number + again))
                assert [effect.outcome for effect in posted.effects] == ["started", "started"], process
                heads = [await at.store.head(effect.run) for effect in posted.effects]
                assert {head.status for head in heads if head is not None} == {RunStatus.COMPLETED}
            assert await at.store.run_keys("default", "key", process, "k", True) == []


async def test_a_run_that_is_started_and_ended_in_one_commit_leaves_its_key_free(tmp_path: Path) -> None:
    """By two callers: nobody who starts it can tell that it will be over."""
    async with rig(tmp_path, gated) as at:
        process = await at.define(single)
        commits = cast(Gate, at.store).batches
        for _ in range(2):
            key, before = at.keys(), len(commits)
            begun = at.begin(process, key=key, alone="k")
            ended = at.committer.submit(key, Report(slot="a"))
            await asyncio.gather(begun, ended)
            assert len(commits) == before + 1
            head = await at.store.head(key)
            assert head is not None
            assert head.status == RunStatus.COMPLETED
        living = await at.begin(process, alone="k")
        assert await at.store.run_keys("default", "key", "single", "k", True) == [living.key]


async def test_circles_of_events_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        await at.define(single)
        await at.handle("h", handles("order", starts))
        posted = await one(EventIngester(at.committer), EventIn(source="test", type="order", hops=65))
        assert posted.state == "failed"
        assert "loop" in posted.effects[0].detail
        assert await at.store.runs("default") == []


async def test_a_store_that_fails_forgets_the_event(tmp_path: Path) -> None:
    async with rig(tmp_path, gated) as at:
        router = EventIngester(at.committer)
        await one(router, event(0))
        cast(Gate, at.store).fail.append(StoreFailed("disk full"))
        (outcome,) = await router.ingest([event(1)])
        assert isinstance(outcome, PeltonError)
        assert outcome.code == "unavailable"
        assert not (await one(router, event(1))).duplicate


async def test_bad_events_are_refused_singly(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        outcomes = await EventIngester(at.committer).ingest([event(1), EventIn(source="s" * 2000, type="t"), event(2)])
        assert [type(outcome) for outcome in outcomes] == [Ingested, PeltonError, Ingested]
        assert cast(PeltonError, outcomes[1]).field == "source"
