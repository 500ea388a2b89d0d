"""Attempts and checkpoints through the engine: on both stores, and with two engines on one store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.graphs import Graph
from tests.patience import happens
from tests.runtime.nodes import STORES, Pair, two

from pelton.errors import Code, PeltonError
from pelton.kernel.machine.tokens.attempts import MOST_ATTEMPTS
from pelton.kernel.model.process import Limit, Limits, Process, Retry
from pelton.kernel.model.signals import Pause, PutCheckpoint, Report, Resume
from pelton.kernel.model.state import OpenStep, RunStatus, StepStatus, worker_text
from pelton.runtime.api import CheckpointPut, ClaimRequest, StartCommand, WorkItem, outcome_of
from pelton.runtime.caller import SERVER, server_in

case = pytest.mark.parametrize("kind", STORES)
OTHER = server_in("other")


def tried(count: int = 3, fresh: bool = False) -> Callable[[], Process]:
    return lambda: Graph("tried").work("x", queue="q", retry=Retry(count, as_new_step=fresh)).build()


async def begun(pair: Pair) -> int:
    return (await pair.a.engine.start(SERVER, StartCommand(process="tried"))).key


async def taken(at: Any, worker: str = "w") -> WorkItem:
    (item,) = await at.engine.claim(SERVER, ClaimRequest(queues=["q"], wait=5_000, worker=worker))
    found: WorkItem = item
    return found


async def failed(at: Any, item: WorkItem, **more: Any) -> None:
    report = Report(n=item.step.n, attempt=item.step.attempt, status=StepStatus.FAILED, **more)
    (result,) = await at.engine.report(SERVER, [(item.step.run, report)])
    assert result.error is None


async def put(at: Any, item: WorkItem, value: Any = None, number: int = -1, **more: Any) -> CheckpointPut:
    signal = PutCheckpoint(n=item.step.n, attempt=item.step.attempt, value=value, number=number, **more)
    found: CheckpointPut = await at.engine.put_checkpoint(SERVER, item.step.run, signal)
    return found


async def outcomes(pair: Pair, run: int, n: int = 1) -> list[tuple[int, str, str]]:
    now = pair.a.engine.now()
    rows = await pair.a.engine.attempts(SERVER, run, n)
    return [(attempt.number, outcome_of(attempt, now), attempt.worker) for attempt in rows]


@case
async def test_the_attempts_of_a_step_are_listed_from_the_first_to_the_present_one(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, tried()) as pair:
        run = await begun(pair)
        assert await outcomes(pair, run) == [(0, "scheduled", "")]
        item = await taken(pair.a, worker_text("v", "1.0"))
        assert await outcomes(pair, run) == [(0, "running", "v\n1.0")]
        assert await pair.store.attempts(run, 1, -1, 9) == []
        await failed(pair.a, item, reason="first", log="line")
        await failed(pair.b, await taken(pair.b, "w"), reason="second")
        item = await taken(pair.a, "w")
        (result,) = await pair.a.engine.report(SERVER, [(run, Report(n=1, output="out", log="good"))])
        assert result.error is None
        assert await outcomes(pair, run) == [(0, "failed", "v\n1.0"), (1, "failed", "w"), (2, "done", "w")]
        rows = await pair.b.engine.attempts(SERVER, run, 1)
        assert [(row.message, row.log) for row in rows] == [("first", "line"), ("second", ""), ("", "good")]
        assert await pair.a.engine.attempts(OTHER, run, 1) == []
        assert await pair.a.engine.attempts(SERVER, run, 0) == await pair.a.engine.attempts(SERVER, run, 99) == []
        await pair.a.engine.remove(SERVER, run)
        assert await pair.store.attempts(run, 1, -1, 9) == []


@case
async def test_attempts_that_are_steps_of_their_own_are_listed_too(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, tried(fresh=True)) as pair:
        run = await begun(pair)
        await failed(pair.a, await taken(pair.a))
        item = await taken(pair.a)
        assert item.step.n == 2
        assert await outcomes(pair, run, 2) == [(0, "failed", "w"), (1, "running", "w")]
        assert await outcomes(pair, run, 1) == [(0, "failed", "w")]
        assert [row.n for row in await pair.a.engine.attempts(SERVER, run, 2)] == [1, 2]


@case
@pytest.mark.parametrize("fresh", [False, True])
async def test_the_newest_hundred_are_listed(kind: str, fresh: bool, tmp_path: Path) -> None:
    async with two(kind, tmp_path, tried(MOST_ATTEMPTS + 10, fresh)) as pair:
        run = await begun(pair)
        for number in range(MOST_ATTEMPTS + 5):
            n = number + 1 if fresh else 1
            await pair.a.engine.report(SERVER, [(run, Report(n=n, status=StepStatus.FAILED, reason=str(number)))])
        found = await pair.a.engine.attempts(SERVER, run, MOST_ATTEMPTS + 6 if fresh else 1)
        assert [row.number for row in found] == list(range(6, MOST_ATTEMPTS + 6))
        assert [row.message for row in found[:-1]] == [str(number) for number in range(6, MOST_ATTEMPTS + 5)]
        assert len(await pair.store.attempts(run, 1, -1, 999)) == (0 if fresh else MOST_ATTEMPTS - 1)


@case
@pytest.mark.parametrize("fresh", [False, True])
async def test_checkpoints_are_there_for_the_next_attempt(kind: str, fresh: bool, tmp_path: Path) -> None:
    async with two(kind, tmp_path, tried(fresh=fresh)) as pair:
        run = await begun(pair)
        item = await taken(pair.a)
        assert await put(pair.a, item, {"a": 1}) == CheckpointPut(True, 0)
        assert await put(pair.b, item, "b", log="said", worker="w") == CheckpointPut(True, 1)
        await failed(pair.a, item)
        again = await taken(pair.b)
        assert again.step.tries is not None
        assert again.step.tries.checkpoints == 2
        assert await put(pair.b, again, "c") == CheckpointPut(True, 2)
        engine = pair.a.engine
        found = [await engine.checkpoint(SERVER, run, again.step.n, number) for number in range(4)]
        assert [each and (each.n, each.number, each.attempt, each.value) for each in found] == [
            (again.step.n, 0, 0, {"a": 1}),
            (again.step.n, 1, 0, "b"),
            (again.step.n, 2, 1, "c"),
            None,
        ]
        assert await engine.checkpoint(OTHER, run, again.step.n, 0) is None
        await engine.remove(SERVER, run)
        assert await pair.store.checkpoints(run, 1, -1, 9) == []


@case
async def test_the_checkpoint_of_an_attempt_that_is_over_is_told_to_stop(kind: str, tmp_path: Path) -> None:
    """Whichever engine the next attempt is at, and whatever the other one remembers."""
    async with two(kind, tmp_path, tried()) as pair:
        run = await begun(pair)
        old = await taken(pair.a, "old")
        assert (await put(pair.a, old, 0)).accepted
        await failed(pair.b, old)
        assert not (await put(pair.a, old, "not to be")).accepted  # nobody has it
        new = await taken(pair.b, "new")
        answer = await put(pair.a, old, "not to be")
        assert (answer.accepted, answer.number) == (False, -1)
        assert "attempt 0" in answer.reason
        assert (await put(pair.a, new, 1)).accepted
        assert not (await put(pair.b, new, 2, worker="old")).accepted
        assert [point.value for point in await pair.store.checkpoints(run, 1, -1, 9)] == [0, 1]
        await pair.a.engine.report(SERVER, [(run, Report(n=1, output=1))])
        assert not (await put(pair.b, new, 3)).accepted
        assert not (await put(pair.b, WorkItem(old.step, old.run, old.process, old.start), 3)).accepted
        other = PutCheckpoint(n=1, attempt=1)
        assert not (await pair.a.engine.put_checkpoint(OTHER, run, other)).accepted


@case
async def test_a_checkpoint_goes_on_where_the_lease_that_is_remembered_is_old(kind: str, tmp_path: Path) -> None:
    """The engine that is told believes that nobody has the work: it looks again before it says stop."""
    async with two(kind, tmp_path, tried()) as pair:
        await begun(pair)
        item = await taken(pair.b)
        assert (await put(pair.a, item, 1)).accepted


@case
async def test_a_checkpoint_whose_answer_was_lost_may_be_put_again(kind: str, tmp_path: Path) -> None:
    async with two(kind, tmp_path, tried()) as pair:
        run = await begun(pair)
        item = await taken(pair.a)
        for _ in range(2):
            assert await put(pair.a, item, {"v": 1}, number=0) == CheckpointPut(True, 0)
        with pytest.raises(PeltonError) as caught:
            await put(pair.a, item, {"v": 2}, number=0)
        assert caught.value.code is Code.EXISTS
        with pytest.raises(PeltonError) as caught:
            await put(pair.a, item, 1, number=2)
        assert caught.value.code is Code.CONFLICT
        assert len(await pair.store.checkpoints(run, 1, -1, 9)) == 1


@case
async def test_a_lease_that_ends_in_a_halt_is_looked_at_no_more_until_the_run_goes_on(kind: str, tmp_path: Path) -> None:
    """Else the work of a paused process would always be first among the leases that are over, and hide those of others."""
    limits = Limits(attempt=Limit(50, "fail"))
    build = lambda: Graph("tried").work("x", queue="q", limits=limits, on_halt="stop").build()  # noqa: E731
    async with two(kind, tmp_path, build) as pair:
        run = await begun(pair)
        await taken(pair.a)
        await pair.b.engine.signal(SERVER, run, Pause())
        at = pair.store.now() + 60_000

        async def looked_at() -> list[OpenStep]:
            return await pair.store.leased(at, 10)

        async def nobody_looks() -> bool:
            return not await looked_at()

        assert [row.run for row in await looked_at()] == [run]
        await happens(nobody_looks)
        view = await pair.a.engine.view(SERVER, run)
        assert view is not None
        assert view.run.status == RunStatus.PAUSED
        await pair.a.engine.signal(SERVER, run, Resume())
        await pair.a.ended(run)
        view = await pair.b.engine.view(SERVER, run)
        assert view is not None
        assert view.run.status == RunStatus.TIMED_OUT
