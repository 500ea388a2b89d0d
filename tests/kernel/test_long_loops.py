"""Outputs of loops: however long a loop was, it is read in a few rounds, and a part of it alone in one read."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, look, say
from tests.kernel.test_scenarios_flow import FAILED
from tests.kernel.world import World

from pelton.kernel.machine.tokens import outputs
from pelton.kernel.machine.tokens.outputs import output_of, part_of
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Rewind, Terminate
from pelton.kernel.model.state import RunStatus

LONG = 250  # more than there may be rounds


def quick(*processes: Process) -> World:
    """Without a check of every row at every step, which would take as long as the square of the loop."""
    return World(*processes, thorough=False)


def counted(times: int, **more: Any) -> Graph:
    return Graph().scope("l", "a", again=look(lambda c: c.iteration < times), **more).work("a")


def drive(world: World, run: int, slot: str, times: int) -> None:
    for it in range(1, times + 1):
        world.report(run, slot, {"i": it})


def whole(slot: str) -> Any:
    def get(scene: Any) -> Any:
        row = scene.newest(slot)
        return output_of(scene.draft, row) if row is not None else None

    return look(get, slot)


def part(slot: str, *members: str | int) -> Any:
    def get(scene: Any) -> Any:
        row = scene.newest(slot)
        return part_of(scene.draft, row, members) if row is not None else None

    return look(get, slot)


def test_a_long_loop_is_the_last_step_and_its_output_that_of_the_run() -> None:
    world = quick(counted(LONG).build())
    run = world.start("p")
    drive(world, run, "a", LONG)
    assert world.status(run) == RunStatus.COMPLETED
    found = world.output(run)
    assert list(found) == ["iteration", *map(str, range(1, LONG + 1))]
    assert (found["iteration"], found["7"]) == (LONG, {"a": {"i": 7}})
    assert max(cost.rounds for cost in world.costs) <= 6


def test_a_final_failure_in_a_late_iteration_fails_the_run() -> None:
    world = quick(counted(2 * LONG).build())
    run = world.start("p")
    drive(world, run, "a", LONG)
    world.report(run, "a", status=FAILED, reason="no paper")
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "no paper")
    world.do(run, Rewind(to="failed"))
    world.do(run, Terminate(reason="fire"))
    assert world.status(run) == RunStatus.TERMINATED
    assert max(cost.rounds for cost in world.costs) <= 8


def test_the_output_of_a_loop_that_is_too_long_has_its_newest_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MOST", 40)
    monkeypatch.setattr(outputs.Budget.__init__, "__defaults__", (40,))
    world = quick(counted(100).build())
    run = world.start("p")
    drive(world, run, "a", 100)
    found = world.output(run)
    assert found.pop("iteration") == 100
    assert list(found) == [str(it) for it in range(60, 101)]


def test_the_output_of_a_loop_whose_steps_are_too_large_has_its_newest_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MOST_BYTES", 20_000)
    world = quick(counted(30).build())
    run = world.start("p")
    for _ in range(30):
        world.report(run, "a", "x" * 1_000)
    found = world.output(run)
    assert found.pop("iteration") == 30
    assert 10 < len(found) <= 20
    assert list(found)[-1] == "30"


def test_one_member_of_a_loop_is_one_read() -> None:
    graph = Graph().scope("l", "a", "after", again=look(lambda c: c.iteration < LONG)).work("a")
    graph.work("after", input=part("l", 7, "a"))
    world = quick(graph.build())
    run = world.start("p")
    drive(world, run, "a", LONG)
    assert world.opened(run, "after").input == {"i": 7}
    assert world.costs[-1].read <= 12


def nested(outer: int, inner: int, to: str = "") -> Graph:
    graph = Graph().scope("o", "l", to, again=look(lambda c: c.iteration < outer))
    return graph.scope("l", "a", again=look(lambda c: c.iteration < inner)).work("a")


def test_a_loop_of_loops_is_read_in_as_many_rounds_as_it_is_deep() -> None:
    world = quick(nested(60, 5).build())
    run = world.start("p")
    drive(world, run, "a", 300)
    found = world.output(run)
    assert len(found) == 61
    assert found["60"]["l"] == {"iteration": 5, **{str(it): {"a": {"i": 295 + it}} for it in range(1, 6)}}
    assert max(cost.rounds for cost in world.costs) <= 8


def test_a_loop_of_loops_that_is_too_large_has_its_newest_iterations_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs.Budget.__init__, "__defaults__", (40,))
    world = quick(nested(20, 5).build())
    run = world.start("p")
    drive(world, run, "a", 100)
    found = world.output(run)
    assert found.pop("iteration") == 20
    assert 5 <= len(found) < 10
    assert list(found)[-1] == "20"
    assert all(len(each["l"]) == 6 for each in list(found.values())[1:])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("3", "l", "2", "a"), {"i": 12}),
        ((3, "l", 2, "a"), {"i": 12}),
        (("3", "l", "2"), {"a": {"i": 12}}),
        (("2", "l"), {"iteration": 5, **{str(it): {"a": {"i": 5 + it}} for it in range(1, 6)}}),
        (("9", "l", "2", "a"), None),
        (("3", "l", "0", "a"), None),
        (("3", "b"), None),
        (("3", "l", "2", "b"), None),
        (("03", "l"), None),
    ],
)
def test_a_path_into_a_loop_of_loops_finds_what_the_whole_output_has_there(path: tuple[str | int, ...], value: Any) -> None:
    graph = nested(4, 5, "after")
    graph.work("after", input=look(lambda c: {"part": part("o", *path).evaluate(c), "whole": whole("o").evaluate(c)}, "o"))
    world = World(graph.build())
    run = world.start("p")
    drive(world, run, "a", 20)
    found = world.opened(run, "after").input
    assert found["part"] == value
    at: Any = found["whole"]
    for member in path:
        at = at.get(str(member)) if isinstance(at, dict) else None
    assert at == value


def test_a_join_in_a_loop_costs_no_further_reads_and_its_parts_are_found() -> None:
    graph = Graph().scope("l", "f", "after", again=look(lambda c: c.iteration < LONG)).fork("f", "a", "b", "j")
    graph.work("a").work("b").join("j", "a", "b")
    graph.work("after", input=look(lambda c: [part("l", 5, "j", "b").evaluate(c), len(whole("l").evaluate(c))], "l"))
    world = quick(graph.build())
    run = world.start("p")
    for it in range(1, LONG + 1):
        world.report(run, "a", {"i": it})
        world.report(run, "b", {"i": -it})
    assert world.opened(run, "after").input == [{"i": -5}, LONG + 1]
    assert world.costs[-1].rounds <= 8


def test_loops_side_by_side_end_in_a_join_that_is_the_last_step() -> None:
    graph = Graph().fork("f", "l", "m", "j").join("j", "l", "m")
    for scope, slot in (("l", "a"), ("m", "b")):
        graph.scope(scope, slot, again=look(lambda c: c.iteration < LONG)).work(slot)
    world = quick(graph.build())
    run = world.start("p")
    drive(world, run, "a", LONG)
    drive(world, run, "b", LONG)
    assert world.status(run) == RunStatus.COMPLETED
    assert max(cost.rounds for cost in world.costs) <= 8


def test_a_loop_that_keeps_its_last_iterations_shows_those() -> None:
    world = quick(counted(LONG, keep=say(3)).build())
    run = world.start("p")
    drive(world, run, "a", LONG)
    assert list(world.output(run)) == ["iteration", "248", "249", "250"]


def test_a_loop_within_one_transition_is_read_from_it() -> None:
    graph = Graph().scope("l", "a", again=look(lambda c: c.iteration < 100)).assign("a", output=look(lambda c: c.loop("l"), "l"))
    world = quick(graph.build())
    run = world.start("p")
    world.settle()
    assert world.status(run) == RunStatus.COMPLETED
    assert world.output(run)["100"] == {"a": 100}
