"""A paused process holds back all its runs, however the pause crosses what they do, and lets all of them go again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.kernel.graphs import Graph, outside
from tests.runtime.harness import Gate, Shapes
from tests.runtime.living import Living, living
from tests.runtime.nodes import STORES, Pair, seat, two
from tests.runtime.test_many import Dying

from pelton.errors import Code, PeltonError
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Pause, Report, Resume, Rewind, Terminate
from pelton.kernel.model.state import RunStatus, State
from pelton.runtime.api import ClaimRequest, StartCommand
from pelton.runtime.caller import SERVER, Caller
from pelton.runtime.events import fan_out
from pelton.store.port import Store, StoreFailed

ANN = Caller(user="ann")
RUNNING, PAUSED, COMPLETED = RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.COMPLETED
case = pytest.mark.parametrize("kind", STORES)


def line() -> Process:
    return Graph("line").wait("w", outside(), to="x").wait("x", outside()).build()


def calls() -> Process:
    return Graph("calls").call("c", "line", "after").wait("after", outside()).build()


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "SLICE", 8)


async def start(at: Living, process: str = "line") -> int:
    return (await at.engine.start(SERVER, StartCommand(process=process))).key


async def status(at: Living, run: int) -> RunStatus:
    head = await at.engine.head(SERVER, run)
    assert head is not None
    return RunStatus(head.status)


async def statuses(at: Living, runs: list[int]) -> set[RunStatus]:
    return {await status(at, run) for run in runs}


async def pause(at: Living, process: str = "line", **more: Any) -> None:
    await at.engine.pause_process(ANN, process, **more)


async def resume(at: Living, process: str = "line") -> None:
    await at.engine.resume_process(ANN, process)


async def code_of(doing: Awaitable[object]) -> Code:
    with pytest.raises(PeltonError) as raised:
        await doing
    return raised.value.code


# ---- one server


async def test_all_live_runs_stand_and_go_on_again(tmp_path: Path) -> None:
    async with living(tmp_path, line, calls) as at:
        runs = [await start(at) for _ in range(50)]
        other = await start(at, "calls")
        await at.engine.signal(SERVER, runs[3], Pause())
        await at.engine.signal(SERVER, runs[4], Terminate())
        await pause(at, why="stocktaking")
        await at.quiet()
        live = [run for run in runs if run != runs[4]]
        assert await statuses(at, live) == {PAUSED}
        assert await status(at, other) == RUNNING
        await at.engine.signal(SERVER, runs[0], Report(slot="w"))
        assert [row.state for row in await at.store.at_node("default", "line", "x", (0, 0), 9)] == []
        await resume(at)
        await at.quiet()
        assert await status(at, runs[3]) == PAUSED  # an operator's pause is not the process's
        assert await statuses(at, [run for run in live if run != runs[3]]) == {RUNNING}
        assert [row.run for row in await at.engine.at_node(SERVER, "line", "x")] == [runs[0]]


async def test_a_run_says_why_it_stands_and_cannot_be_resumed_by_hand(tmp_path: Path) -> None:
    async with living(tmp_path, line) as at:
        run = await start(at)
        await at.engine.signal(SERVER, run, Pause())
        await pause(at, why="stocktaking")
        await at.quiet()
        with pytest.raises(
            PeltonError, match=r"process 'line' is paused since .*Z by ann \(stocktaking\); resume the process"
        ) as raised:
            await at.engine.signal(SERVER, run, Resume())
        assert raised.value.code is Code.PAUSED
        head = await at.engine.head(SERVER, run)
        assert head is not None
        why = await at.engine.why_paused(SERVER, head)
        assert why.startswith("process 'line' is paused since ")
        assert why.endswith(" by ann (stocktaking); an operator has paused the run")
        await resume(at)
        await at.quiet()
        head = await at.engine.head(SERVER, run)
        assert head is not None
        assert await at.engine.why_paused(SERVER, head) == "an operator has paused the run"
        await at.engine.signal(SERVER, run, Resume())
        head = await at.engine.head(SERVER, run)
        assert head is not None
        assert await at.engine.why_paused(SERVER, head) == ""


async def test_new_runs_are_accepted_and_stand_also_after_a_restart(tmp_path: Path) -> None:
    shapes = Shapes()
    async with living(tmp_path, line, shapes=shapes) as at:
        await pause(at)
        run = await start(at)
        assert await status(at, run) == PAUSED
        (parked,) = await at.engine.at_node(SERVER, "line", "w")
        assert (parked.run, parked.state) == (run, State.PARKED)
    async with living(tmp_path, line, shapes=shapes) as at:
        again = await start(at)
        assert await statuses(at, [run, again]) == {PAUSED}
        await resume(at)
        await at.quiet()
        assert await statuses(at, [run, again]) == {RUNNING}
        assert await status(at, await start(at)) == RUNNING


async def test_new_runs_are_refused_where_the_pause_says_so_and_callers_fail(tmp_path: Path) -> None:
    async with living(tmp_path, line, calls) as at:
        await pause(at)
        await pause(at, refuse_new=True)  # it may be said afterwards
        assert await code_of(start(at)) is Code.PAUSED
        caller = await start(at, "calls")
        assert await status(at, caller) == RunStatus.FAILED
        view = await at.engine.view(SERVER, caller)
        assert view is not None
        assert view.end is not None
        assert "process 'line' is paused" in view.end.reason
        await resume(at)
        assert await status(at, await start(at)) == RUNNING


async def test_what_is_paused_already_stays_as_it_was_and_what_is_not_cannot_be_resumed(tmp_path: Path) -> None:
    async with living(tmp_path, line) as at:
        assert await code_of(resume(at)) is Code.NOT_PAUSED
        assert await code_of(pause(at, "nothing")) is Code.UNKNOWN_PROCESS
        assert await code_of(pause(at, why="x" * 1001)) is Code.INVALID
        first = await at.engine.pause_process(ANN, "line", why="first")
        assert await at.engine.pause_process(SERVER, "line", why="second") == first
        assert await at.engine.pause_of(SERVER, "line") == first
        assert (first.by, first.why, first.epoch) == ("ann", "first", 1)
        assert await at.engine.pause_of(Caller(namespace="other"), "line") is None
        await resume(at)
        assert await at.engine.pause_of(SERVER, "line") is None
        (info,) = await at.engine.processes(SERVER)
        assert (info.name, info.versions, info.pause) == ("line", [1], None)


async def test_a_process_that_is_no_longer_defined_can_be_resumed_while_it_has_runs(tmp_path: Path) -> None:
    async with living(tmp_path, line) as at:
        run = await start(at)
        await pause(at)
        await at.engine.undefine(SERVER, "process", "line", 1)
        info = await at.engine.process_info(SERVER, "line")
        assert (info.versions, info.pause is not None) == ([], True)
        assert await at.engine.processes(SERVER) == []
        await resume(at)
        await at.quiet()
        assert await status(at, run) == RUNNING
        await pause(at)
        await resume(at)
        await at.engine.signal(SERVER, run, Terminate())
        assert await code_of(pause(at)) is Code.UNKNOWN_PROCESS


async def test_work_of_a_run_that_starts_paused_is_not_handed_out(tmp_path: Path) -> None:
    def works() -> Process:
        return Graph("works").work("a", queue="q").build()

    async with living(tmp_path, works) as at:
        await pause(at, "works")
        await start(at, "works")
        assert await at.engine.claim(SERVER, ClaimRequest(queues=["q"], worker="me", count=1, wait=0)) == []
        await resume(at, "works")
        await at.quiet()
        (item,) = await at.engine.claim(SERVER, ClaimRequest(queues=["q"], worker="me", count=1, wait=1_000))
        assert item.step.slot == "a"


async def test_a_finished_run_that_is_taken_back_stands(tmp_path: Path) -> None:
    async with living(tmp_path, line) as at:
        run = await start(at)
        await at.engine.signal(SERVER, run, Terminate())
        await pause(at)
        await at.quiet()
        await at.engine.signal(SERVER, run, Rewind(to="start"))
        assert await status(at, run) == PAUSED
        await resume(at)
        await at.quiet()
        assert await status(at, run) == RUNNING


@pytest.mark.parametrize("last", ["pause", "resume"])
async def test_whatever_was_said_last_wins_over_what_is_still_under_way(tmp_path: Path, last: str) -> None:
    async with living(tmp_path, line) as at:
        runs = [await start(at) for _ in range(60)]
        await pause(at)
        for _ in range(3):
            await resume(at)
            await pause(at)
        if last == "resume":
            await resume(at)
        await at.quiet()
        assert await statuses(at, runs) == {PAUSED if last == "pause" else RUNNING}


async def test_starts_that_cross_a_pause_do_not_escape_it(tmp_path: Path) -> None:
    async with living(tmp_path, line) as at:
        keys: list[int] = []

        async def begin() -> None:
            keys.append(await start(at))

        await asyncio.gather(*(begin() for _ in range(20)), pause(at), *(begin() for _ in range(20)))
        await at.quiet()
        assert len(keys) == 40
        assert await statuses(at, keys) == {PAUSED}
        await asyncio.gather(*(begin() for _ in range(5)), resume(at), *(begin() for _ in range(5)))
        await at.quiet()
        assert await statuses(at, keys) == {RUNNING}


async def test_a_pause_that_could_not_be_written_holds_nothing_back(tmp_path: Path) -> None:
    gates: list[Gate] = []

    def gated(inner: Store) -> Any:
        gates.append(Gate(inner))
        return gates[0]

    async with living(tmp_path, line, wrap=gated) as at:
        await start(at)
        gate = gates[0]
        gate.open_gate.clear()
        gate.fail = [StoreFailed("no space left")]
        paused = asyncio.ensure_future(pause(at))
        await asyncio.sleep(0)
        crossing = asyncio.ensure_future(start(at))
        for _ in range(10):
            await asyncio.sleep(0)
        gate.open_gate.set()
        assert await code_of(paused) is Code.UNAVAILABLE
        results = await asyncio.gather(crossing, return_exceptions=True)
        if isinstance(results[0], int):
            assert await status(at, results[0]) == RUNNING
        assert await status(at, await start(at)) == RUNNING


@pytest.mark.parametrize("commits", [0, 1, 2, 4, 7])
async def test_a_pause_that_is_cut_off_in_the_middle_goes_on(tmp_path: Path, commits: int) -> None:
    made: list[Any] = []

    def dying(inner: Store) -> Any:
        made.append(Dying(inner, 10**9))
        return made[0]

    shapes = Shapes()
    async with living(tmp_path, line, shapes=shapes, wrap=dying) as at:
        runs = [await start(at) for _ in range(50)]
        made[0].left = commits
        said = True
        try:
            await pause(at)
        except PeltonError:
            said = False
        await at.until(lambda: made[0].left < 0)
    assert said == (commits > 0)
    async with living(tmp_path, line, shapes=shapes) as at:
        await at.quiet()
        assert await statuses(at, runs) == {PAUSED if said else RUNNING}
        if said:
            await resume(at)
            await at.quiet()
            assert await statuses(at, runs) == {RUNNING}


# ---- two servers on one store


async def quiet(pair: Pair) -> None:
    for at in (*pair.both, *pair.both):
        await at.quiet()


def crosses(at: Living, doing: Callable[[], Awaitable[object]]) -> None:
    """It happens just before the next commit of this server, and after all that it has decided."""

    async def before() -> None:
        await doing()

    seat(at).before = before


@case
async def test_a_start_that_crosses_the_pause_of_another_server_does_not_escape(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, line) as pair:
        await start(pair.b)  # it has looked: the process is not paused
        crosses(pair.b, lambda: pause(pair.a))
        run = await start(pair.b)
        assert await status(pair.b, run) == PAUSED
        crosses(pair.b, lambda: resume(pair.a))
        assert await status(pair.b, await start(pair.b)) == RUNNING
        await quiet(pair)
        assert await status(pair.a, run) == RUNNING


@case
async def test_a_server_does_not_refuse_what_another_has_allowed_again(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, line) as pair:
        await pause(pair.a, refuse_new=True)
        assert await code_of(start(pair.b)) is Code.PAUSED
        await resume(pair.a)
        assert await status(pair.b, await start(pair.b)) == RUNNING
        assert await code_of(resume(pair.b)) is Code.NOT_PAUSED
        await pause(pair.a)
        row = await pair.b.engine.pause_process(SERVER, "line")
        assert row.by == "ann"  # it was paused already, which b could not know by itself


@case
async def test_a_run_that_was_resumed_elsewhere_may_be_resumed_by_hand(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, line) as pair:
        run = await start(pair.b)
        await pause(pair.a)
        await quiet(pair)
        assert await code_of(pair.b.engine.signal(SERVER, run, Resume())) is Code.PAUSED
        await resume(pair.a)
        await quiet(pair)
        assert await status(pair.b, run) == RUNNING
        assert await code_of(pair.b.engine.signal(SERVER, run, Resume())) is Code.NOT_PAUSED


@case
@pytest.mark.parametrize("seed", range(4))
async def test_pauses_and_starts_from_two_servers_come_to_what_was_said_last(kind: str, tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    async with two(kind, tmp_path, line) as pair:
        runs: list[int] = []

        async def begin(at: Living) -> None:
            runs.append(await start(at))

        async def change(at: Living) -> None:
            refused = [] if random.random() < 0.5 else [Code.NOT_PAUSED]
            try:
                await (resume(at) if refused else pause(at))
            except PeltonError as error:
                if error.code not in refused:
                    raise

        for _ in range(6):
            doing = [begin(random.choice(pair.both)) for _ in range(6)] + [change(random.choice(pair.both)) for _ in range(3)]
            random.shuffle(doing)
            await asyncio.gather(*doing)
        await quiet(pair)
        row = await pair.a.engine.pause_of(SERVER, "line")
        assert await statuses(pair.a, runs) == {PAUSED if row is not None else RUNNING}
        for at in pair.both:
            assert await status(at, await start(at)) == (PAUSED if row is not None else RUNNING)
