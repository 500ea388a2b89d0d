"""Records on the real store: each value is kept once, whatever is folded, lost, forgotten or stopped half way; and events find
the runs that they are for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from tests.kernel.graphs import Graph, card, look, on_trigger
from tests.patience import PATIENCE
from tests.runtime.harness import Gate, handles, until
from tests.runtime.living import Living, living

from pelton.errors import PeltonError
from pelton.kernel.machine.tokens.lifecycle import MOST_HOPS
from pelton.kernel.model.process import NewRun, Process, RunSignal
from pelton.kernel.model.signals import Amend, Report, Retire, Signal, Trigger
from pelton.kernel.model.state import Record, RunStatus, StartMeta
from pelton.runtime.api import ActionContext, Command, EventEffect, EventIn, MatchCommand, StartCommand
from pelton.runtime.caller import SERVER
from pelton.runtime.commit.requests import SignalRequest
from pelton.store.group import Group
from pelton.store.port import Store
from pelton.testing.losing_store import losing


def hit(body: Any, changes: Any, moment: Any) -> Any:
    """Every change counts, so that one made twice shows."""
    return {**body, **changes, "hits": body.get("hits", 0) + 1}


def closed(scene: Any) -> Any:
    return {**scene.record, "state": "closed"}


def ticket() -> Process:
    """note and tag stay; close only with `done`."""
    graph = Graph("ticket", records=card(hit))
    graph.wait(
        "open",
        on_trigger("close", "closing", guard=look(lambda scene: scene.record.get("done", 0) >= 100)),
        on_trigger("drop", "closing"),
        on_trigger("note", stays=True),
    )
    return graph.assign("closing", record=look(closed)).build()


def told() -> Process:
    """A child that tells its parent when it is closed."""
    graph = Graph("told", records=card(hit)).wait("open", on_trigger("drop", "closing"))
    graph.assign("closing", "tell", record=look(closed))
    return graph.send("tell", look(lambda scene: [RunSignal(scene.run.parent, Trigger(name="finish", strict=False))])).build()


def family() -> Process:
    def begun(scene: Any) -> list[NewRun]:
        return [NewRun({"name": scene.input["child"]}, {"of": i}) for i in range(scene.input["children"])]

    graph = Graph("family", records=card(hit)).send("send", look(begun), "w")
    # Nothing passes while the children are still on their way.
    graph.wait("w", on_trigger("finish", "end", guard=look(lambda scene: scene.counts() == {"closed": scene.input["children"]})))
    return graph.end("end").build()


def echo() -> Process:
    """Tells another run the same thing that it was told, for ever."""
    graph = Graph("echo", records=card(hit)).wait("w", on_trigger("ping", "tell"))
    return graph.send(
        "tell",
        look(lambda scene: [RunSignal(scene.record["other"], Trigger(name="ping", changes={"other": scene.run.key}))]),
        "w",
    ).build()


PROCESSES: tuple[Callable[[], Process], ...] = (ticket, told, family, echo)


def gated(inner: Store) -> Store:
    return cast(Store, Gate(inner))


def gate_of(at: Living) -> Gate:
    return cast(Gate, at.store)


@asynccontextmanager
async def records(path: Path, **options: Any) -> AsyncIterator[Living]:
    async with living(path, *PROCESSES, **options) as at:
        yield at


async def start(at: Living, process: str = "ticket", value: Any = None, **more: Any) -> int:
    return (await at.engine.start(SERVER, StartCommand(process=process, input=value, **more))).key


async def tell(at: Living, run: int, signal: Signal) -> None:
    await at.engine.signal(SERVER, run, signal)


async def values(at: Living, run: int) -> list[Record]:
    """All values, oldest first, each held against the next."""
    past = await at.engine.past(SERVER, run)
    current = await at.engine.record(SERVER, run)
    found = [record for record, _ in past] + ([current] if current is not None else [])
    assert [record.number for record in found] == list(range(1, len(found) + 1))
    assert all(record.since < end for record, end in past)
    for (_, end), after in zip(past, found[1:], strict=False):
        assert after.since == end
    assert all(before.body != after.body for before, after in pairwise(found))
    for record, end in past:
        assert await at.engine.record(SERVER, run, record.since) == record
        assert await at.engine.record(SERVER, run, end - 1) == record
    if current is not None:
        assert (await at.engine.record(SERVER, run, current.since)) == current
    return found


async def hits(at: Living, runs: Sequence[int]) -> list[int]:
    found = []
    for run in runs:
        record = (await values(at, run))[-1]
        found.append(record.body.get("hits", 0))
    return found


async def counts(at: Living, run: int) -> dict[str, int]:
    view = await at.engine.view(SERVER, run)
    assert view is not None
    return {name[1:]: value for name, value in view.variables.items() if name.startswith("#")}


# ---- values


async def test_values_that_come_together_are_all_kept(tmp_path: Path) -> None:
    async with records(tmp_path, wrap=gated) as at:
        run = await start(at)
        gate = gate_of(at)
        gate.batches.clear()
        await asyncio.gather(*(tell(at, run, Trigger(name="note", changes={"x": x})) for x in range(20)))
        assert len(gate.batches) == 1, "they were to be folded"
        assert [record.body.get("x") for record in await values(at, run)] == [None, *range(20)]


async def test_a_run_that_begins_changes_and_ends_in_one_batch(tmp_path: Path) -> None:
    async with records(tmp_path, wrap=gated) as at:
        gate = gate_of(at)
        await start(at)  # the definition is bound
        gate.batches.clear()
        gate.open_gate.clear()
        asyncio.get_running_loop().create_task(start(at))  # keeps the store busy
        await until(lambda: len(gate.batches) == 1)
        begun: list[asyncio.Future[Any]] = [asyncio.ensure_future(start(at, value={"tags": [str(i)]})) for i in range(3)]
        await until(lambda: len(at.engine.committer.workspace.open_batch.groups) == 3)
        runs = [key for building in at.engine.committer.workspace.open_batch.groups.values() for key in building.deltas]
        changes = [Amend(changes={"tags": ["a"]}), Trigger(name="drop"), Amend(changes={"tags": ["b"]}), Retire()]
        for place, run in enumerate(runs):
            begun += [asyncio.ensure_future(tell(at, run, change)) for change in changes[: place + 2]]
        await until(lambda: at.engine.committer.idle or not at.engine.committer._pending)
        gate.open_gate.set()
        await asyncio.gather(*begun)
        assert len(gate.batches) == 2
        assert [len(await values(at, run)) for run in runs] == [3, 4, 4]
        assert await at.store.candidates("default", "ticket", [[("tag", "", True)]], 100) == runs[:2]
        assert [record.run for record in await at.engine.linked(SERVER, "tag", "b")] == [runs[1]]
        assert await at.engine.record(SERVER, runs[2]) is None


async def test_a_cold_cache_and_a_new_life_change_nothing(tmp_path: Path) -> None:
    runs: list[int] = []
    for life in range(3):
        async with records(tmp_path) as at:
            if not runs:
                runs.append(await start(at, value={"x": 0}, meta=StartMeta(actor="ann")))
            for x in range(3):
                await tell(at, runs[0], Trigger(name="note", changes={"x": x, "life": life}))
                at.forget()
            assert await hits(at, runs) == [3 * life + 3]


async def test_a_parent_that_must_be_read_first_takes_the_child_back(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        parent = await start(at, "family", {"child": "ticket", "children": 2})
        (first, second) = [record.run for record in await at.engine.linked(SERVER, "state", "open") if record.run != parent]
        at.forget()
        await tell(at, first, Trigger(name="note"))  # the child is in memory, its parent is not
        await tell(at, first, Trigger(name="drop"))
        at.forget()
        await asyncio.gather(tell(at, first, Amend(changes={"x": 1})), tell(at, second, Trigger(name="drop")))
        assert await hits(at, [first, second]) == [3, 1]
        assert await counts(at, parent) == {"closed": 2}


async def test_a_lost_group_leaves_no_value_behind(tmp_path: Path) -> None:
    async with records(tmp_path, wrap=gated) as at:
        run = await start(at)
        lost: list[int] = []

        def lose(group: Group) -> str:
            for write in group.runs:
                if write.run.key == run and write.record is not None and len(lost) < 2:
                    lost.append(write.record.since)
                    return "run (lost by the test)"
            return ""

        gate_of(at).lose = lose
        await asyncio.gather(*(tell(at, run, Trigger(name="note", changes={"x": x})) for x in range(3)))
        assert await hits(at, [run]) == [3]
        first = (await values(at, run))[1]
        assert len(lost) == 2
        assert first.since > max(lost), "a second try is a later moment"


async def test_a_refused_start_leaves_nothing(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        with pytest.raises(PeltonError) as refused:
            await start(at, trigger=Trigger(name="close", changes={"done": 1}), key="k")
        assert refused.value.code == "guard"
        assert await at.engine.records(SERVER) == []
        assert await at.store.runs("default") == []
        run = await start(at, trigger=Trigger(name="close", changes={"done": 100}), key="k")
        assert [record.number for record in await values(at, run)] == [1]
        assert not (await values(at, run))[0].live


async def test_of_an_event_that_begins_runs_with_triggers_only_those_begin_that_may(tmp_path: Path) -> None:
    def starts(context: ActionContext) -> Sequence[Command]:
        may = Trigger(name="close", changes={"done": context.payload})
        return [StartCommand(process="ticket", input={"x": 1}, trigger=may)]

    async with records(tmp_path) as at:
        await handle(at, "h", starts)
        may, refused = await at.engine.ingest(SERVER, [event(100), event(99)])
        assert [effect.outcome for effect in (*may.effects, *refused.effects)] == ["started", "failed"]
        assert [record.body["done"] for record in await at.engine.records(SERVER)] == [100]


async def test_a_removed_run_leaves_no_record(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        run = await start(at, value={"tags": ["a"]})
        await tell(at, run, Amend(changes={"x": 1}))
        await at.engine.remove(SERVER, run)
        assert await at.engine.record(SERVER, run) is None
        assert await at.engine.past(SERVER, run) == []
        assert await at.engine.linked(SERVER, "tag", "a") == []


# ---- other runs


@pytest.mark.parametrize("children", [2, 40, 130])
@pytest.mark.parametrize("cold", [False, True])
async def test_exactly_the_last_of_many_children_lets_the_parent_pass(tmp_path: Path, children: int, cold: bool) -> None:
    async with records(tmp_path, **({"cache_bytes": 1} if cold else {})) as at:
        parent = await start(at, "family", {"child": "told", "children": children})
        await at.quiet()
        runs = [record.run for record in await at.engine.records(SERVER, process="told")]
        assert len(runs) == children
        assert await counts(at, parent) == {"open": children}
        for run in runs[1:2]:
            await tell(at, run, Trigger(name="drop"))
        await asyncio.gather(*(tell(at, run, Trigger(name="drop")) for run in runs[2:]))
        await at.quiet()
        head = await at.engine.head(SERVER, parent)
        assert head is not None
        assert head.status == RunStatus.RUNNING, "one child is open"
        await tell(at, runs[0], Trigger(name="drop"))
        await at.ended(parent)
        assert await counts(at, parent) == {"closed": children}


async def test_a_child_and_what_it_is_counted_as_are_in_one_commit(tmp_path: Path) -> None:
    """However many there are: else the parent would think that all are closed while some were not known yet."""
    async with records(tmp_path) as at:
        parent = await start(at, "family", {"child": "told", "children": 50})
        children = await at.engine.records(SERVER, process="told")
        assert await counts(at, parent) == {"open": len(children)}
        assert len(children) == 50


async def test_children_that_close_before_all_have_begun_are_counted(tmp_path: Path) -> None:
    """Each is closed as soon as it is there: what the parent is told comes in the order in which it happened."""
    async with records(tmp_path) as at:
        parent = await start(at, "family", {"child": "told", "children": 120})
        closed_runs: set[int] = set()
        while len(closed_runs) < 120:
            page = await at.engine.records(SERVER, process="told", live=True)
            fresh = [record.run for record in page if record.run not in closed_runs]
            await asyncio.gather(*(tell(at, run, Trigger(name="drop")) for run in fresh))
            closed_runs.update(fresh)
            await asyncio.sleep(0)
        await at.ended(parent)
        assert await counts(at, parent) == {"closed": 120}


def brood() -> Process:
    """Begins sixty children at a time, by the trigger that it is told."""
    graph = Graph("brood", records=card(hit)).wait("w", on_trigger("go", "send"), on_trigger("ready", guard=look(nobody_comes)))
    return graph.send(
        "send", look(lambda scene: [NewRun({"name": "ticket"}, None, trigger=Trigger(name=scene.record["by"]))] * 60), "w"
    ).build()


def nobody_comes(scene: Any) -> bool:
    return "" not in scene.counts()


async def test_children_that_may_not_begin_are_not_waited_for(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        await at.define(brood)
        run = await start(at, "brood", {"by": "close"})
        await tell(at, run, Trigger(name="go"))
        await at.quiet()
        assert await counts(at, run) == {}
        assert await at.engine.records(SERVER, process="ticket") == []
        await tell(at, run, Trigger(name="go", changes={"by": "note"}))
        await at.quiet()
        assert await counts(at, run) == {"open": 60}


async def test_children_that_are_cut_short_are_not_waited_for(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        await at.define(brood)
        run = await start(at, "brood", {"by": "note"})
        over = asyncio.Event()
        at.engine.committer.enqueue(SignalRequest(run, Trigger(name="go"), lambda job: over.set(), hops=MOST_HOPS))
        await over.wait()
        await at.quiet()
        assert await counts(at, run) == {"open": 50}


async def test_lost_races_do_not_disturb_the_counters(tmp_path: Path) -> None:
    async with records(tmp_path, wrap=lambda inner: losing(inner, 7, 0.3)) as at:
        parent = await start(at, "family", {"child": "told", "children": 60})
        await at.quiet()
        runs = [record.run for record in await at.engine.records(SERVER, process="told")]
        assert await counts(at, parent) == {"open": 60}
        for place in range(0, 60, 6):
            await asyncio.gather(*(tell(at, run, Trigger(name="drop")) for run in runs[place : place + 6]))
        await at.ended(parent)
        assert await counts(at, parent) == {"closed": 60}
        assert await hits(at, runs) == [1] * 60


async def test_runs_that_tell_one_another_for_ever_are_cut_short(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        first = await start(at, "echo", {"other": 0})
        second = await start(at, "echo", {"other": first})
        await tell(at, first, Trigger(name="ping", changes={"other": second}))
        await at.quiet()
        assert sum(await hits(at, [first, second])) == 65


# ---- events for those that match


def event(body: Any = None, number: Any = "", kind: str = "t") -> EventIn:
    return EventIn(source="s", type=kind, id=str(number), body=body)


async def handle(at: Living, name: str, *plans: Callable[[ActionContext], Sequence[Command]], kind: str = "t") -> None:
    at.shapes.handlers[name] = handles(kind, *plans)
    await at.engine.define(SERVER, "handler", "shapes", name, 1, b"1")


def matching(signal: Signal, *, index: bool = True, process: str = "ticket") -> Callable[[ActionContext], Sequence[Command]]:
    """Those with the tag that the event names."""

    def plan(context: ActionContext) -> Sequence[Command]:
        tag = context.payload
        conjuncts = [[("tag", tag, False)], [("state", "o", True)]] if index else []
        return [
            MatchCommand(
                process=process, where=lambda record: tag in record.body.get("tags", ()), conjuncts=conjuncts, signal=signal
            )
        ]

    return plan


NOTE = Trigger(name="note", changes={"seen": True}, strict=False)


def told_of(effects: Sequence[EventEffect]) -> list[tuple[int, str]]:
    return [(effect.run, effect.outcome) for effect in effects]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("cold", [True, False])
async def test_an_event_moves_those_that_match_and_no_others(tmp_path: Path, index: bool, cold: bool) -> None:
    async with records(tmp_path) as at:
        await handle(at, "h", matching(NOTE, index=index))
        runs = [await start(at, value={"tags": [tag]}) for tag in "abab"]
        await start(at, "told", {"tags": ["a"]})
        shut = await start(at, value={"tags": ["a"]}, trigger=Trigger(name="drop"))
        gone = await start(at, value={"tags": ["a"]})
        await tell(at, gone, Retire())
        if cold:
            at.forget()
        (posted,) = await at.engine.ingest(SERVER, [event("a")])
        assert told_of(posted.effects) == [(runs[0], "signalled"), (runs[2], "signalled")]
        assert posted.state == "matched"
        assert await hits(at, [*runs, shut]) == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("warm", [0, 1, 2])
async def test_what_a_job_did_before_it_was_stopped_half_way_is_done_once(tmp_path: Path, warm: int) -> None:
    """One command for three runs, of which not all are in memory."""
    async with records(tmp_path) as at:
        await handle(at, "h", matching(NOTE))
        runs = [await start(at, value={"tags": ["a"]}) for _ in range(3)]
        at.forget()
        for run in runs[:warm]:
            await tell(at, run, Trigger(name="note", changes={"warm": True}))
        (posted,) = await at.engine.ingest(SERVER, [event("a")])
        assert told_of(posted.effects) == [(run, "signalled") for run in runs]
        assert await hits(at, runs) == [2] * warm + [1] * (3 - warm)


@pytest.mark.parametrize("strict", [True, False])
async def test_a_refused_trigger_is_recorded_as_unchanged(tmp_path: Path, strict: bool) -> None:
    async with records(tmp_path) as at:
        await handle(at, "h", matching(Trigger(name="close", changes={"tags": ["b"]}, strict=strict)))
        runs = [await start(at, value={"tags": ["a"], "done": done}) for done in (100, 1)]
        (posted,) = await at.engine.ingest(SERVER, [event("a")])
        assert told_of(posted.effects) == [(runs[0], "signalled"), (runs[1], "unchanged")]
        assert "close" in posted.effects[1].detail
        assert await hits(at, runs) == [1, 0]
        assert [record.run for record in await at.engine.linked(SERVER, "tag", "b")] == [runs[0]]


async def test_an_event_that_nothing_matches(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        await handle(at, "h", matching(NOTE))
        await start(at, value={"tags": ["a"]})
        (posted,) = await at.engine.ingest(SERVER, [event("b")])
        assert [effect.outcome for effect in posted.effects] == ["unmatched"]
        assert posted.effects[0].detail == "no open run of 'ticket' matches; looked at 1"
        assert posted.state == "unmatched"


@pytest.mark.parametrize("cold", [True, False])
async def test_beyond_some_runs_a_job_tells_the_others(tmp_path: Path, cold: bool) -> None:
    async with records(tmp_path) as at:
        await handle(at, "h", matching(Trigger(name="close", changes={"done": 0})), kind="close")
        await handle(at, "i", matching(NOTE))
        runs = [(await start(at, value={"tags": ["a"]})) for _ in range(80)]
        if cold:
            at.forget()
        before = at.engine.committer.stats["suspended"]
        (posted,) = await at.engine.ingest(SERVER, [event("a")])
        assert at.engine.committer.stats["suspended"] - before < 5, "runs are read together, not one after another"
        assert told_of(posted.effects[:-1]) == [(run, "signalled") for run in runs[:32]]
        last = posted.effects[-1]
        assert last.outcome == "signalled"
        assert last.detail.startswith("48 more")
        number = int(last.detail.rpartition(" ")[2])
        await at.quiet()
        assert await hits(at, runs) == [1] * 80
        whole, *told = await at.engine.results(SERVER, number)
        assert (whole.run, whole.n) == (0, 48)
        assert [(row.run, row.outcome) for row in told] == [(run, "signalled") for run in runs[32:]]

        (posted,) = await at.engine.ingest(SERVER, [event("a", kind="close")])
        await at.quiet()
        assert {effect.outcome for effect in posted.effects[:-1]} == {"unchanged"}
        number = int(posted.effects[-1].detail.rpartition(" ")[2])
        assert {row.outcome for row in (await at.engine.results(SERVER, number))[1:]} == {"failed"}
        assert await hits(at, runs) == [1] * 80


@pytest.mark.parametrize("known", [True, False])
async def test_an_event_sees_what_the_event_before_it_began(tmp_path: Path, known: bool) -> None:
    def starts(context: ActionContext) -> Sequence[Command]:
        return [StartCommand(process="ticket", input={"tags": [context.payload]})]

    async with records(tmp_path) as at:
        if known:
            await at.engine.bind(SERVER, "ticket")  # else the first event has to wait for that
        await handle(at, "begin", starts, kind="begin")
        await handle(at, "h", matching(NOTE))
        posted = await at.engine.ingest(
            SERVER, [event("a", kind="begin"), event("a"), event("b", kind="begin"), event("b"), event("a")]
        )
        a, b = posted[0].effects[0].run, posted[2].effects[0].run
        assert [told_of(each.effects) for each in posted] == [
            [(a, "started")],
            [(a, "signalled")],
            [(b, "started")],
            [(b, "signalled")],
            [(a, "signalled")],
        ]


async def test_an_event_sees_what_the_event_before_it_changed(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        await handle(at, "h", matching(Trigger(name="note", changes={"tags": ["b"]}, strict=False)))
        await handle(at, "i", matching(Trigger(name="note", changes={"tags": ["c"]}, strict=False)), kind="u")
        run = await start(at, value={"tags": ["a"]})
        posted = await at.engine.ingest(SERVER, [event("a"), event("a"), event("b", kind="u"), event("b", kind="u")])
        assert [told_of(each.effects)[0][1] for each in posted] == ["signalled", "unmatched", "signalled", "unmatched"]
        assert await hits(at, [run]) == [2]


async def test_two_actions_of_one_name_match_for_themselves(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        other = lambda context: [  # noqa: E731
            MatchCommand(process="told", where=lambda record: True, signal=Amend(changes={"seen": 2}, strict=False))
        ]
        starts = lambda context: [StartCommand(process="ticket")]  # noqa: E731
        await handle(at, "h", matching(NOTE), other)
        await handle(at, "i", starts, starts)
        run, second = await start(at, value={"tags": ["a"]}), await start(at, "told")
        (posted,) = await at.engine.ingest(SERVER, [event("a")])
        assert told_of(posted.effects[:2]) == [(run, "signalled"), (second, "signalled")]
        assert [effect.outcome for effect in posted.effects[2:]] == ["started", "started"]


async def test_an_action_that_fails_leaves_the_job_of_another_for_those_that_match(tmp_path: Path) -> None:
    def fails(context: ActionContext) -> Sequence[Command]:
        return [StartCommand(process="nobody")]

    async with records(tmp_path) as at:
        await handle(at, "h", matching(NOTE), fails)
        runs = [await start(at, value={"tags": ["a"]}) for _ in range(40)]
        (posted,) = await at.engine.ingest(SERVER, [event("a")])
        assert [effect.outcome for effect in posted.effects].count("failed") == 1
        assert posted.effects[-1].outcome == "failed"
        await at.quiet()
        assert await hits(at, runs) == [1] * 40


async def test_a_test_that_fails_fails_its_handler_only(tmp_path: Path) -> None:
    def broken(context: ActionContext) -> Sequence[Command]:
        return [MatchCommand(process="ticket", where=lambda record: record.body["no such member"], signal=NOTE)]

    async with records(tmp_path) as at:
        await handle(at, "a broken one", broken)
        await handle(at, "h", matching(NOTE))
        run = await start(at, value={"tags": ["a"]})
        (posted,) = await at.engine.ingest(SERVER, [event("a")])
        assert [(decision.handler, decision.verdict) for decision in posted.decisions] == [
            ("a broken one", "failed"),
            ("h", "fired"),
        ]
        assert "no such member" in posted.decisions[0].detail
        assert (run, "signalled") in told_of(posted.effects)


async def test_a_repeated_event_moves_nothing_twice(tmp_path: Path) -> None:
    async with records(tmp_path, wrap=lambda inner: losing(inner, 3, 0.2)) as at:
        await handle(at, "h", matching(NOTE))
        runs = [await start(at, value={"tags": ["a"]}) for _ in range(4)]
        for number in range(6):
            await at.engine.ingest(SERVER, [event("a", number), event("a", number)])
        assert await hits(at, runs) == [6] * 4


# ---- what is settled


async def test_a_list_of_an_instant_stays_as_it_is(tmp_path: Path) -> None:
    async with records(tmp_path, wrap=lambda inner: losing(inner, 11, 0.25)) as at:
        engine = at.engine
        runs = [await start(at, value={"tags": ["a"]}) for _ in range(6)]
        told: list[tuple[int, list[Record]]] = []
        over = asyncio.Event()

        async def look_on() -> None:
            while not over.is_set():
                instant = engine.instant()
                told.append((instant, await engine.records(SERVER, at=instant)))
                await asyncio.sleep(0)

        async def write(seed: int) -> None:
            for x in range(25):
                run = runs[(seed * 7 + x) % len(runs)]
                change: Signal = Amend(changes={"x": [seed, x]}) if x % 3 else Trigger(name="note", changes={"x": [seed, x]})
                await tell(at, run, change)
                if x % 9 == 0:
                    runs.append(await start(at, value={"by": seed}))
                if x % 12 == 11:  # one that nobody else changes: who is tried again comes after those behind
                    await tell(at, await start(at, value={"by": seed}), Retire())

        watching = asyncio.ensure_future(look_on())
        try:
            await asyncio.gather(*(write(seed) for seed in range(6)))
        finally:
            over.set()
            await watching
        assert len({instant for instant, _ in told}) > 20
        for instant, was in told:
            assert await engine.records(SERVER, at=instant) == was
        assert [instant for instant, _ in told] == sorted(instant for instant, _ in told)


async def test_the_definitions_of_an_instant_stay_as_they_are(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        engine = at.engine
        told: list[tuple[int, int]] = []
        over = asyncio.Event()

        async def look_on() -> None:
            while not over.is_set():
                instant = engine.instant()
                told.append((instant, len(await engine.definitions(SERVER, "policy", at=instant))))
                await asyncio.sleep(0)

        watching = asyncio.ensure_future(look_on())
        for number in range(30):
            await engine.define(SERVER, "policy", "shapes", f"p{number}", 1, b"1")
            if number % 3 == 0:
                await engine.undefine(SERVER, "policy", f"p{number}", 1)
        over.set()
        await watching
        for instant, count in told:
            assert len(await engine.definitions(SERVER, "policy", at=instant)) == count


async def test_a_batch_that_ends_before_an_earlier_one_settles_nothing(tmp_path: Path) -> None:
    async with records(tmp_path, wrap=gated) as at:
        committer, gate = at.engine.committer, gate_of(at)
        runs = [await start(at) for _ in range(2)]
        stuck, inner = asyncio.Event(), gate.inner.commit

        async def slow(groups: Any) -> Any:
            if any(write.run.key == runs[0] for group in groups for write in group.runs):
                await stuck.wait()
            return await inner(groups)

        gate.inner.commit = slow  # type: ignore[method-assign]
        begun = [asyncio.ensure_future(tell(at, runs[0], Amend(changes={"x": 1})))]
        await until(lambda: len(committer._flight) == 1)
        begun.append(asyncio.ensure_future(tell(at, runs[1], Amend(changes={"x": 1}))))
        await until(lambda: len(committer.workspace.open_batch.groups) == 1)
        committer._flush()
        await until(lambda: len(committer._flight) == 1)
        instant = at.engine.instant()
        before = await at.engine.records(SERVER, at=instant)
        stuck.set()
        await asyncio.gather(*begun)
        assert await at.engine.records(SERVER, at=instant) == before
        assert (await values(at, runs[1]))[-1].since <= at.engine.instant()


async def test_who_waits_for_what_comes_to_nothing_goes_on(tmp_path: Path) -> None:
    """What the open batch holds is built on what is lost, and refused when it is tried again."""
    async with records(tmp_path, wrap=gated) as at:
        committer, gate = at.engine.committer, gate_of(at)
        run = await start(at)
        gate.open_gate.clear()
        gate.fail.append(OSError("the disk is gone"))
        first = asyncio.ensure_future(tell(at, run, Amend(changes={"done": 100})))
        await until(lambda: len(committer._flight) == 1)
        second = asyncio.ensure_future(tell(at, run, Trigger(name="close")))
        await until(lambda: len(committer.workspace.open_batch.groups) == 1)
        settled = asyncio.ensure_future(committer.settled())
        await asyncio.sleep(0)
        gate.open_gate.set()
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert [error.code for error in outcomes if isinstance(error, PeltonError)] == ["unavailable", "guard"]
        await asyncio.wait_for(settled, PATIENCE)


async def test_a_priority_is_no_freed_key(tmp_path: Path) -> None:
    async with records(tmp_path) as at:
        await at.define(lambda: Graph("worked").work("a", "b").work("b").build())
        run = await start(at, "worked", key="k", on_same_key="fail if live")
        await tell(at, run, Report(slot="a"))
        row = await at.engine.newest(SERVER, run, "b")
        assert row is not None
        assert row.priority == 0  # type: ignore[union-attr]
        kept = await start(at, key="k", on_same_key="return", meta=StartMeta(priority=1), trigger=Trigger(name="drop"))
        assert await start(at, key="k", on_same_key="return") == kept
