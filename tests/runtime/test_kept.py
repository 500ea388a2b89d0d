"""Events that stay, through the engine and a real store: posted early, taken, listed, refused, expired and deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, on_event
from tests.patience import happens
from tests.runtime.harness import Shapes
from tests.runtime.test_engine import define, engine

from pelton.errors import Code, PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import EventArrived
from pelton.kernel.model.state import RunStatus
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER, server_in


def two() -> Process:
    return Graph("two").wait("x", on_event("e"), to="y").wait("y", on_event("e")).build()


def stay(n: int, ident: str, name: str = "e", **more: Any) -> EventArrived:
    return EventArrived(id=n, name=name, body={"n": n}, ident=ident, keeps=True, **more)


async def test_events_that_stay_are_listed_with_who_took_them_and_come_once(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, two)
        run = (await at.start(SERVER, StartCommand(process="two"))).key
        outcomes = await asyncio.gather(
            *(at.signal(SERVER, run, stay(n, ident)) for n, ident in enumerate(["a", "a", "b"])), return_exceptions=True
        )
        codes = [isinstance(outcome, PeltonError) and outcome.code for outcome in outcomes]
        assert codes == [False, Code.EXISTS, False]
        rows = await at.kept_of(SERVER, run)
        assert [(row.ident, row.n, row.taken > 0) for row in rows] == [("a", 1, True), ("b", 2, True)]
        assert rows[0].body == {"n": 0}
        assert await at.kept(SERVER, run, "e", "b") == rows[1]
        assert await at.kept(SERVER, run, "e", "c") is None
        assert await at.kept_named(SERVER, "e", True) == rows
        assert await at.kept_named(SERVER, "e", False) == await at.kept_named(server_in("other"), "e") == []
        assert await at.kept_of(server_in("other"), run) == []
        await at.remove(SERVER, run)
        assert await at.kept_named(SERVER, "e") == []


async def test_one_that_nobody_took_is_deleted_and_may_come_again(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, two)
        run = (await at.start(SERVER, StartCommand(process="two"))).key
        await at.signal(SERVER, run, stay(1, "a", "later"))
        (row,) = await at.kept_named(SERVER, "later", False)
        await at.remove_kept(SERVER, run, row.id)
        assert not await at.kept_of(SERVER, run)
        assert not await at.held(SERVER)
        head = await at.head(SERVER, run)
        assert head is not None
        assert head.held == 0
        await at.signal(SERVER, run, stay(2, "a"))
        (row,) = await at.kept_of(SERVER, run)
        for event, code in ((row.id, Code.CONFLICT), (row.id + 1, Code.NOT_FOUND)):
            with pytest.raises(PeltonError) as refused:
                await at.remove_kept(SERVER, run, event)
            assert refused.value.code == code
        with pytest.raises(PeltonError):
            await at.remove_kept(server_in("other"), run, row.id)


async def test_one_that_comes_before_its_run_comes_once_and_is_taken_when_the_run_starts(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, two)
        early = await at.signal_named(SERVER, "two", "k", stay(1, "a"), hold=60_000)
        with pytest.raises(PeltonError) as refused:
            await at.signal_named(SERVER, "two", "k", stay(2, "a"), hold=60_000)
        assert refused.value.code == Code.EXISTS
        await at.signal_named(SERVER, "two", "k", stay(3, "b"), hold=60_000)
        assert [row.taken for row in await at.kept_named(SERVER, "e")] == [0, 0]
        run = await at.start(SERVER, StartCommand(process="two", key="k"))
        assert run.key == early.run.key
        assert [(row.ident, row.n) for row in await at.kept_of(SERVER, run.key)] == [("a", 1), ("b", 2)]
        head = await at.head(SERVER, run.key)
        assert head is not None
        assert (head.status, head.held) == (RunStatus.COMPLETED, 0)


async def test_one_that_nobody_takes_in_time_expires_and_one_that_was_taken_does_not(tmp_path: Path) -> None:
    shapes = Shapes()
    async with engine(tmp_path, shapes) as at:
        await define(at, shapes, two)
        run = (await at.start(SERVER, StartCommand(process="two"))).key
        await at.signal(SERVER, run, stay(1, "taken", expires=at.now() + 1))
        await at.signal(SERVER, run, stay(2, "not", "later", expires=at.now() + 1))

        async def one_left() -> bool:
            return len(await at.kept_of(SERVER, run)) == 1

        await happens(one_left)
        assert [row.ident for row in await at.kept_of(SERVER, run)] == ["taken"]
        head = await at.head(SERVER, run)
        assert head is not None
        assert head.held == 0
        await at.signal(SERVER, run, stay(3, "not", "later"))
