"""Places: the position of a step in its thread, by which outside callers know it and address events to it."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.graphs import Graph, look, on_event, outside
from tests.kernel.liveness import drive_to_the_end
from tests.kernel.random_graphs import Spec, card_process, child
from tests.kernel.random_threads import compile_story, program, ways
from tests.kernel.test_random_rewinds import built, happen, rewinds, story, take_back
from tests.kernel.test_random_rewinds import program as rewound_program
from tests.kernel.thread_actions import act_on_threads, fuel, histories
from tests.kernel.world import World

from pelton.kernel.model.process import Process, Retry
from pelton.kernel.model.signals import Pause, Resume, Rewind, Upgrade
from pelton.kernel.model.state import END, START, StepStatus

phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
quiet = [HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.too_slow]


def counted(graph: Graph) -> Process:
    process = graph.build()
    process.positions = True
    return process


def places(world: World, run: int) -> list[tuple[str, int, int]]:
    """Slot, thread and position of every step, by number."""
    return [(row.slot, row.thread, row.position) for row in world.rows(run).steps() if row.slot not in {START, END}]


def at(world: World, run: int, thread: int, position: int) -> Any:
    rows = world.rows(run)
    return rows.newest([row.n for row in rows.steps() if (row.thread, row.position) == (thread, position)])


# ---- counting


def test_positions_count_from_0_in_each_thread_and_loops_make_new_ones() -> None:
    graph = Graph().work("a", "c").call("c", thread="t", awaits="nothing", to="s").work("t", "u").work("u")
    graph.scope("s", "x", "z", again=look(lambda c: c.iteration < 2)).work("x").work("z")
    world = World(counted(graph))
    run = world.start("p")
    for slot in ("a", "t", "x", "x", "z", "u"):
        world.report(run, slot)
    assert sorted(places(world, run), key=lambda each: each[1:]) == [
        ("a", 0, 0), ("c", 0, 1), ("s", 0, 2), ("x", 0, 3), ("x", 0, 4), ("z", 0, 5), ("t", 1, 0), ("u", 1, 1),
    ]  # fmt: skip
    assert world.rows(run).threads[0].position == 6


def test_a_process_that_counts_none_keeps_none() -> None:
    world = World(Graph().work("a", "b").work("b").build())
    run = world.start("p")
    world.report(run, "a")
    assert {row.position for row in world.rows(run).steps()} == {-1}
    assert not world.rows(run).threads


def test_another_attempt_has_the_place_of_the_one_before() -> None:
    for as_new in (True, False):
        graph = Graph().work("a", "b", retry=Retry(count=2, as_new_step=as_new)).work("b")
        world = World(counted(graph))
        run = world.start("p")
        world.report(run, "a", status=StepStatus.FAILED)
        world.do(run, Pause())
        world.report(run, "a", status=StepStatus.FAILED)
        world.do(run, Resume())
        world.report(run, "a")
        world.report(run, "b")
        assert {(slot, position) for slot, _, position in places(world, run)} == {("a", 0), ("b", 1)}


def test_what_a_halt_cancels_is_entered_again_at_its_place() -> None:
    graph = Graph().wait("a", outside(), on_halt="cancel", to="b").work("b")
    world = World(counted(graph))
    run = world.start("p")
    world.do(run, Pause())
    world.do(run, Resume())
    world.report(run, "a")
    assert {(slot, position) for slot, _, position in places(world, run)} == {("a", 0), ("b", 1)}


def test_a_run_that_moves_to_a_version_that_counts_them_counts_from_there() -> None:
    graph = Graph().work("a", "b").work("b")
    second = counted(graph)
    second.version = 2
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Upgrade(definition=world.define(second)))
    world.report(run, "a")
    assert [row.position for row in world.rows(run).steps()] == [-1, -1, 0]


# ---- events for a place


def test_an_event_goes_to_the_wait_at_its_position_whatever_that_ones_number() -> None:
    graph = Graph().work("a", "f").fork("f", "x", "y").wait("x", on_event("e")).wait("y", on_event("e"))
    world = World(counted(graph))
    run = world.start("p")
    world.report(run, "a")
    y = world.opened(run, "y")
    assert (y.n, y.position) == (4, 3)
    world.post(run, "e", "for a place", thread=0, position=3)
    assert world.ended(run, "y").output == "for a place"
    world.post(run, "e", "nobody is there", thread=0, position=4)
    assert world.is_open(run, "x")
    world.post(run, "e", "in any thread", position=2)
    assert world.ended(run, "x").output == "in any thread"


def test_an_event_before_its_place_is_reached_waits_for_it() -> None:
    graph = Graph().scope("s", "x", again=look(lambda c: c.iteration < 3)).wait("x", on_event("e"))
    world = World(counted(graph))
    run = world.start("p")
    world.post(run, "e", "third", thread=0, position=3)
    world.post(run, "e", "second", position=2)
    world.post(run, "e", "any")
    outputs = [(row.position, row.output) for row in world.rows(run).steps() if row.slot == "x"]
    assert outputs == [(1, "any"), (2, "second"), (3, "third")]
    assert not world.held


def test_an_event_for_a_halted_wait_under_a_key_is_kept_for_that_step() -> None:
    graph = Graph().work("a", "w").wait("w", on_event("e", key="7"))
    world = World(counted(graph))
    run = world.start("p")
    world.report(run, "a")
    world.do(run, Pause())
    world.announce("e", "7", "kept")
    world.do(run, Resume())
    assert world.ended(run, "w").output == "kept"


# ---- rewinds


def test_positions_go_on_from_the_steps_that_a_rewind_keeps() -> None:
    graph = Graph().work("a", "b").work("b", "c").work("c", "d").work("d")
    world = World(counted(graph))
    run = world.start("p")
    for slot in "abcd":
        world.report(run, slot)
    world.do(run, Rewind(to="step", n=world.ended(run, "b").n))
    for slot in "bc":
        world.report(run, slot)
    assert places(world, run) == [("a", 0, 0), ("b", 0, 1), ("c", 0, 2), ("d", 0, 3)]
    world.report(run, "d")
    world.do(run, Rewind(to="start"))
    assert places(world, run) == [("a", 0, 0)]


def test_a_failed_step_that_is_taken_up_again_has_a_new_place() -> None:
    graph = Graph().work("a", "b").work("b")
    world = World(counted(graph))
    run = world.start("p")
    world.report(run, "a", status=StepStatus.FAILED)
    world.do(run, Rewind(to="failed"))
    world.report(run, "a")
    assert places(world, run) == [("a", 0, 0), ("a", 0, 1), ("b", 0, 2)]
    assert at(world, run, 0, 0).status == StepStatus.FAILED


# ---- random stories


@examples(40, *quiet, phases=phases)
@given(program, ways, histories, st.booleans())
def test_in_random_stories_with_threads_no_two_steps_share_a_place(
    blocks: Spec, way: Any, history: list[tuple[int, int]], both: bool
) -> None:
    with fuel(way[3]):
        process, second = compile_story(blocks, way), compile_story(blocks, way)
        process.positions = second.positions = True
        second.version = 2
        world = World(process, child(), card_process(), both=both)
        world.define(second)
        world.most_rounds = 200
        run = world.start(process.name, {"x": 1})
        for kind, pick in history:
            act_on_threads(world, run, kind, pick)
        drive_to_the_end(world)


@examples(40, *quiet, phases=phases)
@given(rewound_program(True), story, rewinds)
def test_in_random_rewinds_no_two_steps_share_a_place(blocks: Spec, begin: Any, rewound: Any) -> None:
    process = built(blocks)
    process.positions = True
    world = World(process, both=False)
    world.most_rounds = 60
    run = world.start("p", {"x": 1})
    happen(world, run, begin)
    for pick, then in rewound:
        if world.status(run).ended and take_back(world, run, pick):
            happen(world, run, then)
