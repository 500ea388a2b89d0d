"""Numbers of nodes through the engine: what they start is started once, whoever counts, and whatever dies in between."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, outside, say
from tests.patience import happens
from tests.runtime.harness import Shapes, code_of
from tests.runtime.living import Living, living
from tests.runtime.nodes import STORES, seat, two

from pelton.errors import Code
from pelton.kernel.model.process import Counted, Crossing, Process
from pelton.kernel.model.signals import Report, Terminate
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER


def escalation() -> Process:
    return Graph("escalation").wait("seen", outside()).build()


def desk() -> Process:
    crossing = Crossing(3, say({"name": "escalation", "version": None}), say({"start": "true"}), say({"start": "false"}))
    return Graph("desk", counted={"desk": Counted(("amount",), crossing)}).body("", amount=2).wait("desk", outside()).build()


async def begin(at: Living) -> int:
    return (await at.engine.start(SERVER, StartCommand(process="desk"))).key


async def escalations(at: Living) -> list[Any]:
    await at.quiet()
    runs = await at.engine.runs(SERVER, process="escalation")
    found = [await at.engine.step(SERVER, run.key, 0) for run in runs]
    return [step.output for step in found if step is not None]


async def numbers(at: Living) -> dict[str, float]:
    return {value.name: value.value for value in await at.engine.tallies(SERVER, "desk")}


async def test_the_third_token_starts_an_escalation_once_also_after_a_restart(tmp_path: Path) -> None:
    shapes = Shapes()
    async with living(tmp_path, escalation, desk, shapes=shapes) as at:
        runs = [await begin(at) for _ in range(2)]
        assert await escalations(at) == []
    async with living(tmp_path, escalation, desk, shapes=shapes) as at:
        runs.append(await begin(at))
        assert await escalations(at) == [{"start": "true"}]
        runs.append(await begin(at))
        assert await escalations(at) == [{"start": "true"}]
        assert await numbers(at) == {"standing": 4, "passed": 4, "sum:amount": 8}
    async with living(tmp_path, escalation, desk, shapes=shapes) as at:
        assert await escalations(at) == [{"start": "true"}]
        await at.engine.signal(SERVER, runs[0], Report(slot="desk"))
        assert await escalations(at) == [{"start": "true"}]
        await at.engine.signal(SERVER, runs[1], Terminate())
        assert sorted(map(str, await escalations(at))) == ["{'start': 'false'}", "{'start': 'true'}"]
        assert await numbers(at) == {"standing": 2, "passed": 4, "sum:amount": 8}


@pytest.mark.parametrize("kind", STORES)
async def test_two_engines_count_together_and_one_of_them_tells_the_mark(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, escalation, desk) as pair:
        await begin(pair.a)
        await begin(pair.b)
        assert await escalations(pair.a) == []
        await begin(pair.b)
        await begin(pair.a)
        assert await escalations(pair.a) == [{"start": "true"}]
        assert await escalations(pair.b) == [{"start": "true"}]
        assert (await numbers(pair.b))["standing"] == 4


@pytest.mark.parametrize("kind", STORES)
async def test_a_mark_crossed_in_a_commit_whose_answer_was_lost_is_told_once(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, escalation, desk) as pair:
        await begin(pair.a)
        await begin(pair.a)
        seat(pair.a).unsure = 1
        await begin(pair.a)

        async def told() -> bool:
            return await escalations(pair.a) == [{"start": "true"}]

        await happens(told)
        assert (await numbers(pair.a))["standing"] == 3


async def test_a_run_that_is_counted_is_not_removed_under_the_count(tmp_path: Path) -> None:
    async with living(tmp_path, escalation, desk) as at:
        run = await begin(at)
        assert await code_of(asyncio.ensure_future(at.engine.remove(SERVER, run))) == Code.NOT_ENDED
        await at.engine.signal(SERVER, run, Terminate())
        await at.engine.remove(SERVER, run)
        assert (await numbers(at))["standing"] == 0
