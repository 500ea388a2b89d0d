"""The kernel's invariants over random processes and random histories.

`World` checks them after every transition (see `invariants.check_run` and `World.decide`, `World.apply`). A failure prints the
example and a blob with which `@reproduce_failure` repeats it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, note
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.graphs import Graph, look, on_event, out, outside
from tests.kernel.liveness import drive_to_the_end
from tests.kernel.random_graphs import Spec, act, action, actions, child, finish, program, reportable, send, summary, world_of
from tests.kernel.world import Cost, World

from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import RunStatus

# Shrinking is bounded by hypothesis; explaining is left out, since it traces every line of the kernel.
phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
histories = st.one_of(actions, st.lists(action, min_size=25, max_size=50))
quiet = [HealthCheck.data_too_large, HealthCheck.filter_too_much]


@examples(400, *quiet, phases=phases)
@given(program, st.booleans(), st.booleans(), histories)
def test_whatever_happens_the_invariants_hold(
    blocks: Spec, interrupts: bool, recorded: bool, history: list[tuple[int, int]]
) -> None:
    world, run = world_of(blocks, interrupts, recorded)
    for kind, pick in history:
        act(world, run, kind, pick)
    finish(world)
    drive_to_the_end(world)
    event(world.status(run).name)
    note(f"{len(world.costs)} signals")


@examples(40, *quiet, phases=phases)
@given(program, st.booleans(), st.booleans(), actions)
def test_the_same_history_gives_the_same_rows(
    blocks: Spec, interrupts: bool, recorded: bool, history: list[tuple[int, int]]
) -> None:
    digests = []
    for _ in range(2):
        world, run = world_of(blocks, interrupts, recorded, both=False)
        for kind, pick in history:
            act(world, run, kind, pick)
        digests.append(world.digest())
    assert digests[0] == digests[1]


@examples(40, *quiet, phases=phases)
@given(program, st.lists(st.tuples(st.integers(1, 4), st.integers(0, 100)), max_size=15))
def test_signals_that_are_folded_come_to_the_same(blocks: Spec, history: list[tuple[int, int]]) -> None:
    """Reports of one run that arrive together, one after another in one commit, against a commit each."""
    ends = []
    for fold in (False, True):
        world, run = world_of(blocks, False, both=False)
        for width, pick in history:
            rows = [row for row in reportable(world) if row.run == run]
            chosen = [rows[(pick + offset) % len(rows)] for offset in range(min(width, len(rows)))]
            reports = [
                Report(n=row.n, status=4 if (pick + row.n) % 5 == 0 else 1, strict=False, attempt=row.attempt) for row in chosen
            ]
            if fold:
                world.fold(run, *reports)
            else:
                for report in reports:
                    send(world, run, report)
        ends.append(summary(world))
    assert ends[0] == ends[1]


# ---- constant cost


def costs_of(process: Process, rounds: int, slots: tuple[str, ...]) -> list[list[Cost]]:
    """What each signal of each round touched."""
    world = World(process, child(), thorough=False, both=False)
    run = world.start(process)
    found = []
    for _ in range(rounds):
        before = len(world.costs)
        for slot in slots:
            world.report(run, slot, {"made": slot})
        found.append(world.costs[before:])
    assert world.status(run) == RunStatus.RUNNING
    return found


def forked(scene: Any) -> Any:
    row = scene.newest("x")
    return row.output if row is not None else None


LOOPS: dict[str, tuple[Graph, tuple[str, ...]]] = {
    "work": (
        Graph().work("first", "l").scope("l", "a", again=look(lambda c: True)).work("a", input=out("first")),
        ("a",),
    ),
    "fork": (
        Graph()
        .scope("l", "f", again=look(lambda c: True), keep=3)
        .fork("f", "x", "y", "j")
        .work("x")
        .work("y")
        .join("j", "x", "y", to="z")
        .work("z", input=look(forked, "x")),
        ("y", "x", "z"),
    ),
    "back edge": (
        Graph().body("", n=0).assign("s", "a", n=look(lambda c: c.var("n") + 1, "$n")).work("a", "s"),
        ("a",),
    ),
    "nested": (
        Graph()
        .scope("l", "m", again=look(lambda c: True))
        .scope("m", "a", again=look(lambda c: c.iteration < 2))
        .work("a", "w")
        .wait("w", outside(), on_event("e")),
        ("a", "w", "a", "w"),
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_costs_the_same_at_its_beginning_and_after_2000_iterations(name: str) -> None:
    graph, slots = LOOPS[name]
    if name == "work":
        graph = Graph().scope("l", "a", again=look(lambda c: True)).work("a", input=out("b")).work("b")
    costs = costs_of(graph.build(), 2_000, slots)
    early, late = costs[10], costs[-1]
    assert late == early
    assert max(cost.read for cost in late) <= 12
    assert max(cost.written for cost in late) <= 12
    assert max(cost.rounds for cost in late) <= 8


def test_the_head_does_not_grow() -> None:
    """World checks its size at every transition; here it is at its largest."""
    world = World(Graph().work("a").build())
    run = world.start("p", "x" * 10_000)
    world.report(run, "a", "y" * 10_000)
    assert world.status(run) == RunStatus.COMPLETED
