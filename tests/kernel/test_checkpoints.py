"""Checkpoints: what an attempt has done, no later one need do again, and an attempt that is over stores nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, look, say
from tests.kernel.world import NEVER, World

from pelton.errors import Code
from pelton.kernel.machine import checkpoints
from pelton.kernel.model.process import Limit, Limits, Retry
from pelton.kernel.model.signals import Pause, PutCheckpoint, Resume, Rewind, TimerFired
from pelton.kernel.model.state import StepStatus, Tries
from pelton.kernel.model.transition import Transition


def world_of(*, fresh: bool = False, count: int = 3, **more: Any) -> tuple[World, int]:
    world = World(Graph().work("x", retry=Retry(count, as_new_step=fresh), **more).build())
    run = world.start("p")
    world.claim(run, "x")
    return world, run


def put(world: World, run: int, value: Any = None, attempt: int | None = None, **more: Any) -> Transition:
    row = world.opened(run, "x")
    return world.do(run, PutCheckpoint(n=row.n, attempt=row.attempt if attempt is None else attempt, value=value, **more))


def refused(world: World, run: int, n: int = 0, attempt: int = 0, **more: Any) -> Code:
    return world.refuse(run, PutCheckpoint(n=n or world.opened(run, "x").n, attempt=attempt, **more)).code


def values(world: World) -> list[tuple[int, int, Any]]:
    return [(each.number, each.attempt, each.value) for _, each in sorted(world.checkpoints.items())]


def test_numbers_count_from_0_over_all_attempts() -> None:
    world, run = world_of()
    put(world, run, "a")
    put(world, run, "b", number=1, worker="w", log="said")
    world.report(run, "x", status=StepStatus.FAILED)
    row = world.claim(run, "x")
    assert row.tries is not None
    assert row.tries.checkpoints == 2
    put(world, run, "c")
    assert values(world) == [(0, 0, "a"), (1, 0, "b"), (2, 1, "c")]
    assert world.checkpoints[run, row.n, 1].log == "said"
    world.report(run, "x", 1)
    step = world.ended(run, "x")
    assert step.tries is not None
    assert step.tries.checkpoints == 3


def test_only_the_attempt_that_has_the_work_puts_one() -> None:
    world, run = world_of()
    assert refused(world, run, attempt=1) is Code.STEP_ENDED
    assert refused(world, run, worker="another") is Code.STEP_ENDED
    assert refused(world, run, n=99) is Code.STEP_ENDED
    world.report(run, "x", status=StepStatus.FAILED)
    assert refused(world, run, attempt=0) is Code.STEP_ENDED  # it is over
    assert refused(world, run, attempt=1) is Code.STEP_ENDED  # nobody has it
    world.claim(run, "x")
    world.report(run, "x", status=None, again_after=10)
    assert refused(world, run, attempt=1) is Code.STEP_ENDED  # it was given back
    world.tick(10)
    n = world.claim(run, "x").n
    world.report(run, "x", 1)
    assert refused(world, run, n=n, attempt=1) is Code.ENDED
    assert not world.checkpoints


def test_a_number_is_the_next_one_or_refused() -> None:
    world, run = world_of()
    assert refused(world, run, number=1) is Code.CONFLICT
    put(world, run, number=0)
    assert refused(world, run, number=0) is Code.EXISTS


def test_they_are_bounded_in_number_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MOST_CHECKPOINTS", 2)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_BYTES", 10)
    world, run = world_of()
    assert refused(world, run, value="x" * 9) is Code.TOO_LARGE
    assert refused(world, run, value=["x" * 100]) is Code.TOO_LARGE
    put(world, run, "x" * 8)
    put(world, run)
    assert refused(world, run) is Code.TOO_LARGE


def test_each_begins_the_lease_and_the_limit_of_its_attempt_anew() -> None:
    world, run = world_of(limits=Limits(idle=Limit(100, "retry"), attempt=Limit(150, "retry")))
    for _ in range(5):
        world.tick(90)
        put(world, run)
        assert world.opened(run, "x").attempt == 0
    row = world.opened(run, "x")
    assert (row.lease, row.started + row.limit) == (world.now + 100, world.now + 150)
    world.tick(100)
    assert world.attempts[run, row.n, 0].lost
    again = world.claim(run, "x")
    assert again.limit == 150  # as it was decided
    world.extend(run, again.n)
    world.tick(99)
    world.extend(run, again.n)
    world.tick(51)
    assert world.opened(run, "x").attempt == 2


def test_without_limits_nothing_is_set() -> None:
    world, run = world_of()
    put(world, run)
    row = world.opened(run, "x")
    assert (row.lease, row.limit, row.times) == (NEVER, 0, None)


def test_a_limit_that_was_announced_is_announced_again_after_a_checkpoint() -> None:
    world, run = world_of(limits=Limits(attempt=Limit(100, "announce")))
    late = TimerFired(n=world.opened(run, "x").n, arm="limit", epoch=1)

    def announced() -> int:
        world.send(run, late)
        return [fact.type for _, fact in world.announced].count("step.late")

    world.now += 100
    assert (announced(), announced()) == (1, 1)
    put(world, run)
    world.now += 99
    assert announced() == 1
    world.now += 1
    assert (announced(), announced()) == (2, 2)


def test_a_halt_that_stops_the_clock_stops_it_after_a_checkpoint_too() -> None:
    world, run = world_of(limits=Limits(attempt=Limit(100, "retry")), on_halt="stop")
    world.do(run, Pause())
    world.tick(40)
    put(world, run)
    world.do(run, Resume())
    row = world.opened(run, "x")
    assert row.started + row.limit == world.now + 100


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_attempt_after_a_halt_has_the_limit_as_it_was_decided(checkpoint: bool) -> None:
    world, run = world_of(limits=Limits(attempt=Limit(100, "retry")), on_halt="stop")
    world.do(run, Pause())
    world.now += 1_000
    world.do(run, Resume())
    if checkpoint:
        world.tick(10)
        put(world, run)
        row = world.opened(run, "x")
        assert row.started + row.limit == world.now + 100
    world.report(run, "x", status=StepStatus.FAILED)
    assert world.claim(run, "x").limit == 100


def test_an_attempt_that_is_a_step_of_its_own_goes_on_with_those_of_the_one_before() -> None:
    world, run = world_of(fresh=True)
    first = world.opened(run, "x").n
    put(world, run, "a")
    for number in (1, 2):
        world.report(run, "x", status=StepStatus.FAILED)
        row = world.claim(run, "x")
        assert row.n != first
        assert row.tries == Tries(checkpoints=number, base=first)
        put(world, run, number)
    assert values(world) == [(0, 0, "a"), (1, 1, 1), (2, 2, 2)]
    assert {key[1] for key in world.checkpoints} == {first}


def test_so_does_one_that_has_to_wait_for_a_halt() -> None:
    world, run = world_of(fresh=True)
    put(world, run, "a")
    world.do(run, Pause())
    world.report(run, "x", status=StepStatus.FAILED)
    world.do(run, Resume())
    tries = world.claim(run, "x").tries
    assert tries is not None
    assert tries.checkpoints == 1


@pytest.mark.parametrize("to", ["failed", "step"])
def test_what_an_operator_runs_again_begins_without_any(to: str) -> None:
    world, run = world_of(count=0)
    put(world, run, "old")
    world.report(run, "x", status=StepStatus.FAILED)
    world.do(run, Rewind(to=to, n=world.ended(run, "x").n if to == "step" else 0))
    assert world.claim(run, "x").tries is None
    put(world, run, "new")
    row = world.opened(run, "x")
    assert world.checkpoints[run, row.n, 0].value == "new"


def test_those_of_steps_that_a_loop_forgets_go_with_them() -> None:
    graph = Graph().scope("l", "x", again=look(lambda scene: scene.iteration < 3), keep=say(1)).work("x")
    world = World(graph.build())
    run = world.start("p")
    for _ in range(3):
        world.claim(run, "x")
        put(world, run)
        world.report(run, "x", 1)
    assert {key[1] for key in world.checkpoints} <= set(world.rows(run).ended)
