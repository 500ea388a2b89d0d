"""Runs found by their status and by the values of their variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, outside
from tests.runtime.living import Living, living

from pelton.errors import PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Pause, Report, SetVars, Terminate
from pelton.kernel.model.state import RunStatus
from pelton.runtime.api import StartCommand
from pelton.runtime.cache import run_search
from pelton.runtime.caller import SERVER


def asking() -> Process:
    graph = Graph("asking", searchable=frozenset({"color", "size"}))
    graph.call("spawn", thread="other", awaits="nothing", to="ask").wait("ask", outside()).wait("other", outside())
    graph.body("other", color="green")
    return graph.build()


async def begin(at: Living, **values: Any) -> int:
    run = (await at.engine.start(SERVER, StartCommand(process="asking"))).key
    await at.engine.signal(SERVER, run, SetVars(changes=values))
    return run


async def keys(at: Living, **wanted: Any) -> list[int]:
    return [head.key for head in await at.engine.runs(SERVER, **wanted)]


async def test_runs_are_found_by_the_values_of_their_variables_in_any_thread(tmp_path: Path) -> None:
    async with living(tmp_path, asking) as at:
        red, blue = await begin(at, color="red", size=7), await begin(at, color="blue", size=7)
        assert await keys(at, variables=[("color", "red")]) == [red]
        assert await keys(at, variables=[("color", "green")]) == [blue, red]
        assert await keys(at, variables=[("size", 7)]) == [blue, red]
        assert await keys(at, variables=[("size", 7), ("color", "blue")], process="asking") == [blue]
        assert await keys(at, variables=[("color", "gre")]) == []
        assert await keys(at, variables=[("name", "x")]) == []
        await at.engine.signal(SERVER, red, SetVars(changes={"color": "blue"}))
        await at.engine.signal(SERVER, red, Terminate())
        assert await keys(at, variables=[("color", "blue")], live=False) == [red]
        assert await keys(at, variables=[("color", "blue")], status=int(RunStatus.RUNNING)) == [blue]


async def test_too_many_runs_with_a_value_are_refused_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_search, "CANDIDATES", 1)
    async with living(tmp_path, asking) as at:
        await begin(at, color="red")
        await begin(at, color="red")
        with pytest.raises(PeltonError, match="more than 1 runs"):
            await at.engine.runs(SERVER, variables=[("color", "red")])


async def test_runs_are_found_by_their_status(tmp_path: Path) -> None:
    async with living(tmp_path, asking) as at:
        one, two, three = await begin(at), await begin(at), await begin(at)
        await at.engine.signal(SERVER, two, Pause())
        await at.engine.signal(SERVER, three, Report(slot="ask"))
        await at.engine.signal(SERVER, three, Report(slot="other"))
        assert await keys(at, status=int(RunStatus.RUNNING)) == [one]
        assert await keys(at, status=int(RunStatus.PAUSED)) == [two]
        assert await keys(at, status=int(RunStatus.COMPLETED)) == [three]
