"""Decisions by what a search found: it is found again when it has changed before the decision, whether written yet or not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from tests.kernel.graphs import Graph, card, look, on_trigger
from tests.runtime.harness import Shapes, handles
from tests.runtime.living import Living, living

from pelton.errors import Code, PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Retire, Trigger
from pelton.kernel.model.state import Record
from pelton.runtime.api import ActionContext, Command, EventIn, MatchCommand, StartCommand
from pelton.runtime.cache.lookups import Lookups
from pelton.runtime.caller import SERVER
from pelton.store.group import Lookup


def closed(scene: Any) -> Any:
    return {**scene.record, "state": "closed"}


def others(scene: Any) -> list[Record]:
    return [record for record in scene.found("state", "open") if record.run != scene.run.key]


def mutual() -> Process:
    """It closes while another one is open, and with `alone` while none is."""
    graph = Graph("mutual", records=card()).wait(
        "open",
        on_trigger("close", "closing", guard=look(lambda scene: bool(others(scene)))),
        on_trigger("alone", "closing", guard=look(lambda scene: not others(scene))),
        on_trigger("note", stays=True),
    )
    return graph.assign("closing", record=look(closed)).build()


async def begin(at: Living, **members: Any) -> int:
    return (await at.engine.start(SERVER, StartCommand(process="mutual", input={"state": "open", **members}))).key


async def outcomes(at: Living, *signals: tuple[int, Trigger | Retire]) -> list[str]:
    """Of signals given at once: "" or the code of the refusal."""
    given = [at.engine.signal(SERVER, run, signal) for run, signal in signals]
    found = await asyncio.gather(*given, return_exceptions=True)
    return [each.code if isinstance(each, PeltonError) else "" for each in found]


CLOSE, ALONE = Trigger(name="close"), Trigger(name="alone")


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("count", [2, 5])
async def test_the_last_that_is_open_stays_open(tmp_path: Path, cold: bool, count: int) -> None:
    async with living(tmp_path, mutual) as at:
        runs = [await begin(at) for _ in range(count)]
        if cold:
            at.forget()
        refused = await outcomes(at, *((run, CLOSE) for run in runs))
        assert sorted(refused) == [""] * (count - 1) + [Code.GUARD]
        (left,) = await at.engine.linked(SERVER, "state", "open")
        assert left.run == runs[refused.index(Code.GUARD)]


async def test_what_has_been_removed_is_found_no_more(tmp_path: Path) -> None:
    async with living(tmp_path, mutual) as at:
        runs = [await begin(at) for _ in range(2)]
        assert await outcomes(at, (runs[0], Retire()), (runs[1], CLOSE)) in (["", Code.GUARD], ["", ""])
        again = await begin(at)
        await at.engine.remove(SERVER, again)
        assert await outcomes(at, (await begin(at), CLOSE)) == [Code.GUARD]


async def test_what_comes_at_the_same_moment_is_found(tmp_path: Path) -> None:
    """Each of many, all begun and told to close if it is alone."""
    async with living(tmp_path, mutual) as at:

        async def one() -> str:
            return (await outcomes(at, (await begin(at), ALONE)))[0]

        found = await asyncio.gather(*(one() for _ in range(10)))
        assert found.count("") <= 1, "two were alone at once"
        assert len(await at.engine.linked(SERVER, "state", "open")) == 10 - found.count("")


async def test_an_event_moves_what_matches_when_it_moves_it(tmp_path: Path) -> None:
    """Two events at once, each for those that none has taken yet."""

    def plan(context: ActionContext) -> Sequence[Command]:
        note = Trigger(name="note", changes={"state": "taken", "by": context.event.event_id}, strict=False)
        where = lambda record: record.body.get("state") == "open"  # noqa: E731
        return [MatchCommand(process="mutual", where=where, conjuncts=[[("state", "open", False)]], signal=note)]

    shapes = Shapes()
    shapes.handlers["h"] = handles("take", plan)
    async with living(tmp_path, mutual, shapes=shapes) as at:
        await at.engine.define(SERVER, "handler", "shapes", "h", 1, json.encode("h"))
        runs = [await begin(at) for _ in range(3)]
        posts = [at.engine.ingest(SERVER, [EventIn(source="s", type="take", id=str(number), body={})]) for number in range(4)]
        effects = [posted.effects for [posted] in await asyncio.gather(*posts)]
        moved = [effect.run for each in effects for effect in each if effect.outcome == "signalled"]
        assert sorted(moved) == sorted(runs)


def test_changes_are_counted_of_what_is_looked_up_only() -> None:
    lookups, here, there = Lookups(), Lookup("a", "n", "x"), Lookup("a", "n", "y")
    lookups.moved([here])
    moves = {here: lookups.begin(here)}
    assert lookups.begin(here) == moves[here]
    lookups.moved([there])
    assert lookups.hold(moves)
    lookups.moved([there, here])
    assert not lookups.hold(moves)
    moves = {here: lookups.begin(here)}
    lookups.forget()
    lookups.begin(here)
    assert not lookups.hold(moves)
