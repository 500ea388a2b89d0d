"""Many runs that start, signal, read and end one another by name at random, from two servers, with commits that are lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph, look, on_merge
from tests.runtime.living import Living
from tests.runtime.nodes import STORES, Pair, two

from pelton.kernel.model.process import Process, Rule
from pelton.kernel.model.signals import Merge, Terminate
from pelton.kernel.model.state import Step
from pelton.runtime.api import StartCommand
from pelton.runtime.caller import SERVER
from pelton.testing.losing_store import LosingStore

NAMES = "abcde"
ADD = Merge(changes={"add": 1}, must_leave=True)
GOES_ON = (Rule("continue"),)
FAILURES = {
    "start": {"name taken"},
    "add": {"no such run", "not accepted"},  # it is on its way to tell the next one, and waits nowhere
    "read": {"no such run"},
    "end": {"no such run"},
    "next": {"no such run", "not accepted"},  # the next one may be the run itself, or the one whose turn it is
}


def total(scene: Any) -> int:
    return int((scene.var("sum") or 0) + (scene.var("add") or 0))


def tally() -> Process:
    """Adds up what it is told; each third time it tells the one that comes before it by name."""
    graph = Graph("tally").wait("w", on_merge(), to="s").assign("s", to="c", sum=total)
    graph.choice("c", look(lambda scene: "on" if scene.var("sum") % 3 == 0 else "not"), {"on": "next"}, "w")
    before = look(lambda scene: NAMES[NAMES.index(scene.input["name"]) - 1], "$start")
    return graph.find("next", "tally", before, "w", does="signal", signal=ADD, on_failure=GOES_ON).build()


def chain() -> Process:
    """Does one thing after another, as its input says: (what, name) each."""

    def current(scene: Any) -> Any:
        return scene.input[scene.loop("l") - 1]

    name = look(lambda scene: current(scene)[1])
    more: dict[str, Any] = {"on_failure": GOES_ON}
    graph = Graph("chain").scope("l", "c", again=look(lambda scene: scene.iteration < len(scene.input)))
    graph.choice("c", look(lambda scene: current(scene)[0]), {what: what for what in ("start", "add", "read", "end")})
    graph.find("start", "tally", name, does="start", given=look(lambda scene: {"name": current(scene)[1]}), **more)
    graph.find("add", "tally", name, does="signal", signal=ADD, **more)
    graph.find("read", "tally", name, **more)
    return graph.find("end", "tally", name, does="signal", signal=Terminate(reason="by name"), **more).build()


def lose(at: Living, seed: int) -> LosingStore:
    """Some of the groups that this server writes are lost."""
    seat: Any = at.store
    losing = seat.inner = LosingStore(seat.inner, seed, 0.25)
    return losing


async def steps_of(at: Living, run: int) -> list[Step]:
    found: list[Step] = []
    while page := await at.engine.steps(SERVER, run, found[-1].n if found else -1, 500):
        found += [step for step in page if isinstance(step, Step)]
        if len(page) < 500:
            break
    return found


async def tell(pair: Pair, rng: random.Random) -> list[int]:
    """Runs of `chain`, many at a time; they all end."""
    runs: list[int] = []
    for _ in range(3):
        plans = [
            [(rng.choice(["start", "start", "add", "add", "add", "add", "read", "end"]), rng.choice(NAMES)) for _ in range(8)]
            for _ in range(5)
        ]
        jobs = [rng.choice(pair.both).engine.start(SERVER, StartCommand(process="chain", input=plan)) for plan in plans]
        begun = [run.key for run in await asyncio.gather(*jobs)]
        for run in begun:
            await rng.choice(pair.both).ended(run)
        runs += begun
    return runs


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("seed", range(3))
async def test_what_each_was_told_is_what_the_others_have_told_it(kind: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    async with two(kind, tmp_path, tally, chain) as pair:
        losing = [lose(at, seed * 2 + no) for no, at in enumerate(pair.both)]
        chains = await tell(pair, rng)
        for at in pair.both:
            await at.quiet()
        assert sum(each.lost for each in losing) > 0
        tallies = [run.key for run in await pair.store.runs("default", process="tally", limit=1_000)]
        steps = {run: await steps_of(rng.choice(pair.both), run) for run in chains + tallies}
        done = [step for each in steps.values() for step in each if step.slot in FAILURES]
        assert {(step.slot, step.failure) for step in done if step.failure} <= {
            (slot, name) for slot, names in FAILURES.items() for name in names
        }
        codes = {(step.failure, step.content["code"]) for step in done if step.failure}
        assert codes <= {
            ("no such run", "not found"),
            ("name taken", "exists"),
            ("not accepted", "guard"),
            ("not accepted", "invalid"),
        }
        started = [step.output["run"] for step in done if step.slot == "start" and not step.failure]
        code = pair.a.engine.codec
        assert sorted(started) == sorted(code.run_id(run) for run in tallies), "each was started by one step"
        told = Counter(step.output["run"] for step in done if step.slot in ("add", "next") and not step.failure)
        got = {code.run_id(run): sum(step.slot == "s" for step in steps[run]) for run in tallies}
        assert {run: count for run, count in got.items() if count} == dict(told)
        assert sum(told.values()) > 10
        ended = Counter(step.output["run"] for step in done if step.slot == "end" and not step.failure)
        assert max(ended.values(), default=1) == 1
        live = [run.key for run in await pair.store.runs("default", process="tally", live=True, limit=1_000)]
        assert set(tallies) - set(live) == {run for run in tallies if code.run_id(run) in ended}
        named = [await pair.store.run_keys("default", "key", "tally", name, True) for name in NAMES]
        assert sorted(run for runs in named for run in runs) == sorted(live), "each that lives has its name, and no other"
