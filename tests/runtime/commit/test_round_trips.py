"""How often a server asks the store, one question after another, before it can decide on a run that it does not know.

With a database elsewhere each of these is a round trip. What is counted is calls, not times.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, after, card, look, on_event, on_trigger, out
from tests.patience import PATIENCE
from tests.runtime.harness import Wrapped, code_of, rig

from pelton.kernel.model.process import Process
from pelton.kernel.model.reads import NewestKey, StepKey
from pelton.kernel.model.signals import EventArrived, Report, Signal, TimerFired, Trigger
from pelton.kernel.model.state import OpenStep, RunStatus, State
from pelton.runtime.cache.runs import RunEntry
from pelton.store.group import LeaseWrite
from pelton.store.port import Store

WRITES = frozenset({"commit", "sweep", "lock", "unlock", "open", "close", "lost", "now"})


class Counted(Wrapped):
    """Counts the questions that are put to it."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name in WRITES or not callable(found):
            return found

        async def ask(*values: Any, **named: Any) -> Any:
            self.asked[name] += 1
            return await found(*values, **named)

        return ask


def steps() -> Process:
    """Each step takes what the ones before have yielded."""
    graph = Graph("steps").work("a", to="b", queue="q")
    graph.work("b", to="c", queue="q", input=out("a")).work("c", queue="q", input=out("b"))
    return graph.build()


def counting() -> Process:
    graph = Graph("counting")
    graph.body("", hits=0, limit=10)
    more = on_event("more", stays=True, hits=look(lambda scene: scene.var("hits") + scene.var("limit")))
    return graph.wait("w", more).build()


def timed() -> Process:
    return Graph("timed").wait("w", after(1_000, "x")).work("x", queue="q").build()


def ticket() -> Process:
    return Graph("ticket", records=card()).wait("w", on_trigger("note", stays=True)).build()


def forked() -> Process:
    graph = Graph("forked").fork("f", "a", "b", "j")
    return graph.work("a", queue="q").work("b", queue="q").join("j", "a", "b").build()


async def questions(tmp_path: Path, process: Callable[[], Process], *signals: Signal) -> Counter[str]:
    """Those for the last of the signals, to a run that has been forgotten."""
    counted: list[Counted] = []

    def wrap(store: Store) -> Store:
        counted.append(Counted(store))
        wrapped: Any = counted[0]
        return wrapped  # type: ignore[no-any-return]

    async with rig(tmp_path, wrap) as at:
        made = await at.define(process)
        head = await at.begin(made, {"x": 1})
        for signal in signals[:-1]:
            await at.committer.submit(head.key, signal)
        at.cold()
        counted[0].asked.clear()
        await at.committer.submit(head.key, signals[-1])
        return counted[0].asked


CASES = [
    (steps, (Report(n=1, slot="a", output=1), Report(n=2, slot="b", output=2))),
    (counting, (EventArrived(id=1, name="more"), EventArrived(id=2, name="more"))),
    (timed, (TimerFired(n=1, arm="0", epoch=1),)),
    (ticket, (Trigger(name="note", changes={"x": 2}),)),
    (forked, (Report(slot="a"), Report(slot="b"))),
]


@pytest.mark.parametrize(("process", "signals"), CASES, ids=[process.__name__ for process, _ in CASES])
async def test_a_signal_to_a_run_that_is_not_in_memory_asks_once(
    process: Callable[[], Process], signals: tuple[Signal, ...], tmp_path: Path
) -> None:
    assert sum((await questions(tmp_path, process, *signals)).values()) == 1


async def test_signals_to_a_run_that_is_not_in_memory_take_effect_in_their_order(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        head = await at.begin(await at.define(steps), {"x": 1})
        at.cold()
        ended = await asyncio.gather(*(at.report(head.key, slot, 1) for slot in "abc"))
        assert [each.run.status for each in ended][-1] == RunStatus.COMPLETED


async def test_who_waits_for_a_run_that_is_removed_while_it_is_read_is_answered(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        head = await at.begin(await at.define(steps), {"x": 1})
        for slot in "abc":
            await at.report(head.key, slot, 1)
        at.cold()
        asked = [asyncio.ensure_future(at.report(head.key, "c", 1)) for _ in range(3)]
        removed = asyncio.ensure_future(at.committer.write(lambda group: group.remove_runs.append(head.key)))
        assert await asyncio.wait_for(asyncio.gather(*map(code_of, asked)), PATIENCE) != [""] * 3
        assert (await removed).ok
        assert await code_of(asyncio.ensure_future(at.report(head.key, "c", 1))) == "unknown run"


async def test_what_a_cold_run_takes_in_memory_is_counted_when_it_is_read(tmp_path: Path) -> None:
    async with rig(tmp_path) as at:
        head = await at.begin(await at.define(steps), {"x": "y" * 10_000})
        at.cold()
        before = at.committer.workspace.cache.size
        await code_of(asyncio.ensure_future(at.report(head.key, "none of them", 1)))  # nothing is written
        assert at.committer.workspace.cache.size - before > 10_000


def test_a_row_that_was_read_in_two_ways_has_one_lease() -> None:
    entry = RunEntry(1)
    row = OpenStep(1, 3, "a", State.WORK, queue="q")
    entry.learn(NewestKey("a"), row)
    entry.learn(StepKey(3), copy(row))
    entry.lease(LeaseWrite(1, 3, 99, "w", 1, 50, 0))
    newest = entry.newest["a"]
    assert newest is entry.open[3]
    assert newest.lease == 99
