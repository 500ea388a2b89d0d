"""What comes a second time, or comes late, counts once."""

from __future__ import annotations

from tests.kernel.graphs import Graph
from tests.kernel.world import World

from pelton.kernel.model.signals import ChildEnded, Report, Rewind
from pelton.kernel.model.state import RunStatus, StepStatus
from pelton.kernel.model.transition import Note


def test_an_earlier_end_of_a_child_that_was_reopened_is_not_its_end() -> None:
    parent = Graph().call("c", "child", "z").work("z")
    world = World(parent.build(), Graph("child").work("a").build())
    run = world.start("p")
    child = world.opened(run, "c").child
    world.do(child, Report(n=world.opened(child, "a").n, status=int(StepStatus.FAILED)))
    ended = next(signal for key, _, signal in world.told if key == run and isinstance(signal, ChildEnded))
    assert world.status(run) == RunStatus.FAILED
    world.do(child, Rewind(to="failed"))
    assert world.is_open(run, "c")
    answer = world.do(run, ended)
    assert any(isinstance(effect, Note) for effect in answer.effects)
    assert world.is_open(run, "c")
    world.report(child, "a")
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_the_end_of_a_child_that_its_parent_retried_counts_and_the_one_before_does_not() -> None:
    parent = Graph().call("c", "child", "z").work("z")
    world = World(parent.build(), Graph("child").work("a").build())
    run = world.start("p")
    child = world.opened(run, "c").child
    told: list[ChildEnded] = []
    for _ in range(3):
        world.do(child, Report(n=world.opened(child, "a").n, status=int(StepStatus.FAILED)))
        told += [signal for key, _, signal in world.told if key == run and isinstance(signal, ChildEnded) and signal not in told]
        world.do(run, Rewind(to="failed", children=True))
        world.settle()
        for signal in told:
            world.do(run, signal)
            assert world.is_open(run, "c")
    assert len(told) == 3
    world.report(child, "a")
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED
