"""What an expression reads where several threads, iterations and scopes have steps of one name: the nearest first."""

from __future__ import annotations

from typing import Any

from tests.kernel.graphs import Graph, look, on_event, out, outside, var
from tests.kernel.world import World

from pelton.kernel.machine.tokens.outputs import output_of
from pelton.kernel.model.process import Rule
from pelton.kernel.model.signals import Pause, Resume
from pelton.kernel.model.state import OpenStep, StepStatus

FAILED = int(StepStatus.FAILED)


def opened(world: World, run: int, slot: str) -> list[OpenStep]:
    return sorted((r for r in world.rows(run).open.values() if r.slot == slot and r.n > 0), key=lambda row: row.n)


def report(world: World, run: int, slot: str, thread: int, output: Any = None, **more: Any) -> None:
    (row,) = [row for row in opened(world, run, slot) if row.thread == thread]
    world.report(run, row.n, output, **more)


def inputs(world: World, run: int, slot: str) -> list[Any]:
    """Of the open steps of a slot, by thread."""
    return [row.input for row in sorted(opened(world, run, slot), key=lambda row: row.thread)]


def parallel(count: int = 2) -> Graph:
    return Graph().scope("l", "x", "z", items=list(range(count)), parallel=True).work("z")


def test_a_step_sees_what_its_own_thread_yielded() -> None:
    graph = parallel().work("x", "y").work("y", input=out("x"))
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 1, "one")
    assert inputs(world, run, "y") == ["one"], "the second thread's x is newer, and open"
    report(world, run, "x", 2, "two")
    assert inputs(world, run, "y") == ["one", "two"]


def test_a_step_without_a_number_sees_what_its_own_thread_yielded() -> None:
    graph = parallel().work("x", "c").choice("c", out("x"), {"one": "a"}, "b", trace=False)
    graph.assign("a", "y", trace=False, seen=out("x")).assign("b", "y", trace=False, seen=out("x"))
    graph.work("y", input=var("seen")).body("x", seen=None)
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 1, "one")
    report(world, run, "x", 2, "two")
    assert inputs(world, run, "y") == ["one", "two"]


def test_what_a_thread_lacks_is_read_from_those_that_own_it() -> None:
    """Nested twice: what the outer thread yielded before it started the inner ones."""
    graph = Graph().work("before", "l").scope("l", "x", "z", items=[1, 2], parallel=True).work("z")
    graph.work("x", "m").scope("m", "u", items=[1, 2], parallel=True).work("u", "v")
    graph.work(
        "v", input=look(lambda c: [r.output if (r := c.newest(s)) else None for s in ("before", "x", "u")], "before", "x", "u")
    )
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "before", 0)
    report(world, run, "x", 1, "one")
    report(world, run, "x", 2, "two")
    for row in opened(world, run, "u"):
        world.report(run, row.n, row.thread)
    assert inputs(world, run, "v") == [[0, "one", 3], [0, "one", 4], [0, "two", 5], [0, "two", 6]]


def test_loops_inside_threads_have_items_and_counts_of_their_own() -> None:
    graph = Graph().scope("l", "m", "z", items=["a", "b"], parallel=True).work("z")
    graph.scope("m", "u", items=look(lambda c: [c.var("INPUT") + str(i) for i in (1, 2, 3)], "$INPUT"))
    graph.work("u", input=look(lambda c: [c.item("m"), c.loop("m"), c.item("l"), c.loop("l")], "m", "l"))
    world = World(graph.build())
    run = world.start("p")
    assert inputs(world, run, "u") == [["a1", 1, "a", 1], ["b1", 1, "b", 2]]
    report(world, run, "u", 1)
    report(world, run, "u", 1)
    assert inputs(world, run, "u") == [["a3", 3, "a", 1], ["b1", 1, "b", 2]]
    report(world, run, "u", 2)
    assert inputs(world, run, "u") == [["a3", 3, "a", 1], ["b2", 2, "b", 2]]


def test_the_loop_around_a_loop_is_seen_from_inside() -> None:
    graph = Graph().scope("l", "x", "z", items=["a", "b"], parallel=True).work("z").work("x", "m")
    graph.scope("m", "n", again=look(lambda c: c.iteration < 2)).scope("n", "u", items=look(lambda c: [c.loop("m"), "e"], "m"))
    graph.work("u", input=look(lambda c: [c.loop("m"), c.loop("n"), c.item("n"), output(c, "x")], "m", "n", "x"))
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 1, "one")
    report(world, run, "x", 2, "two")
    for _ in range(2):
        report(world, run, "u", 1)
    assert inputs(world, run, "u") == [[2, 1, 2, "one"], [1, 1, 1, "two"]]
    report(world, run, "u", 2)
    assert inputs(world, run, "u") == [[2, 1, 2, "one"], [1, 2, "e", "two"]]


def looping() -> Graph:
    """In each thread: x, then a loop over u and v, then y."""
    graph = Graph().scope("l", "x", "z", items=[1, 2], parallel=True).work("z").work("x", "m")
    return graph.scope("m", "u", "y", again=look(lambda c: output(c, "u") == "more", "u")).work("u", "v")


def test_a_condition_looks_at_its_own_loop() -> None:
    graph = looping().work("v", input=out("u")).work("y")
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 1)
    report(world, run, "x", 2)
    report(world, run, "u", 1, "more")
    report(world, run, "u", 2, "enough")
    report(world, run, "v", 1)
    assert [row.thread for row in opened(world, run, "u")] == [1], "the first thread's loop has gone on by its own u"
    report(world, run, "v", 2)
    assert [row.thread for row in opened(world, run, "y")] == [2]


def test_iterations_inside_threads_see_their_own_before_others() -> None:
    graph = (
        looping()
        .work("v", input=out("u"))
        .work("y", input=look(lambda c: [output(c, "u", 1), output(c, "u", 2), output(c, "u")], "u"))
    )
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 1)
    report(world, run, "x", 2)
    for last in ("more", "end"):
        for no in (1, 2):
            report(world, run, "u", no, "more" if last == "more" else f"end {no}")
        assert inputs(world, run, "v") == (["more", "more"] if last == "more" else ["end 1", "end 2"])
        for no in (1, 2):
            report(world, run, "v", no)
    assert inputs(world, run, "y") == [["more", "end 1", "end 1"], ["more", "end 2", "end 2"]]


def output(scene: Any, slot: str, it: int | None = None) -> Any:
    row = scene.newest(slot, it)
    return row.output if row is not None else None


def assembled(scene: Any, slot: str) -> Any:
    row = scene.newest(slot)
    return output_of(scene.draft, row) if row is not None else None


def test_a_slot_that_has_not_run_in_this_iteration_is_the_one_of_the_last() -> None:
    graph = Graph().scope("l", "m", "z", items=[1, 2], parallel=True).work("z")
    graph.scope("m", "u", again=look(lambda c: c.iteration < 3)).work("u", "v", input=out("v")).work("v")
    world = World(graph.build())
    run = world.start("p")
    assert inputs(world, run, "u") == [None, None]
    for no in (1, 2):
        report(world, run, "u", no)
        report(world, run, "v", no, no * 10)
    assert inputs(world, run, "u") == [10, 20]


def test_joins_and_loops_inside_threads_yield_what_belongs_to_them() -> None:
    graph = Graph().scope("l", "f", "z", items=[1, 2], parallel=True).work("z")
    graph.fork("f", "a", "m", "j").work("a").scope("m", "u", again=look(lambda c: c.iteration < 2)).work("u")
    graph.join("j", "a", "m", to="y")
    graph.work("y", input=look(lambda c: [assembled(c, slot) for slot in ("j", "m")], "j", "m"))
    world = World(graph.build())
    run = world.start("p")
    for it in (1, 2):
        for no in (1, 2):
            report(world, run, "u", no, f"{no}.{it}")
    for no in (1, 2):
        report(world, run, "a", no, no)
    one, two = ({"iteration": 2, "1": {"u": f"{no}.1"}, "2": {"u": f"{no}.2"}} for no in (1, 2))
    assert inputs(world, run, "y") == [[{"a": 1, "m": one}, one], [{"a": 2, "m": two}, two]]


def test_a_handler_sees_what_its_thread_yielded_before_the_failure() -> None:
    graph = parallel().work("x", "y").work("y", on_failure=(Rule("body", to="h"),)).work("h", input=out("x"))
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 1, "one")
    report(world, run, "x", 2, "two")
    report(world, run, "y", 1, status=FAILED)
    assert inputs(world, run, "h") == ["one"]
    report(world, run, "y", 2, status=FAILED)
    assert inputs(world, run, "h") == ["one", "two"]


def test_an_interrupt_sees_what_the_interrupted_thread_yielded() -> None:
    graph = parallel().work("x", "y").wait("y", outside(), on_halt="stop").work("i", input=out("x")).body("x", [("alarm", "i")])
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 1, "one")
    report(world, run, "x", 2, "two")
    world.post(run, "alarm", thread=1)
    assert inputs(world, run, "i") == ["one"]


def test_a_thread_that_was_started_along_the_way_sees_the_iteration_that_started_it() -> None:
    graph = Graph().scope("l", "x", "z", again=look(lambda c: c.iteration < 3)).work("z")
    graph.work("x", "c").call("c", thread="t", awaits="nothing", to="w").work("w").work("t", "y").work("y", input=out("x"))
    world = World(graph.build())
    run = world.start("p")
    for it in (1, 2, 3):
        world.report(run, "x", it)
        world.report(run, "w")
    for no in (2, 1, 3):
        report(world, run, "t", no)
    assert inputs(world, run, "y") == [1, 2, 3]


def test_a_reminder_sees_what_its_thread_yielded() -> None:
    graph = parallel().work("x", "y").wait("y", on_event("ring", stays=True, body="t"), outside()).work("t", input=out("x"))
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 1, "one")
    report(world, run, "x", 2, "two")
    world.post(run, "ring", thread=2)
    world.post(run, "ring", thread=1)
    assert inputs(world, run, "t") == ["two", "one"]


def test_tokens_that_parked_in_threads_go_on_with_what_their_thread_yielded() -> None:
    graph = parallel().work("x", "y").work("y", input=out("x"))
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    report(world, run, "x", 1, "one")
    report(world, run, "x", 2, "two")
    world.do(run, Resume())
    assert inputs(world, run, "y") == ["one", "two"]


def test_what_has_just_ended_is_what_ended_in_the_own_thread() -> None:
    """Both threads go through x and y in one transition, side by side."""
    graph = Graph().scope("l", "x", "z", items=["one", "two"], parallel=True).work("z").assign("x", "y", output=var("INPUT"))
    world = World(graph.assign("y", output=look(lambda c: getattr(c.just_ended("x"), "output", None), "x")).build())
    run = world.start("p")
    assert [row.output for row in world.rows(run).steps() if row.slot == "y"] == ["one", "two"]


def test_outside_of_threads_what_they_yielded_is_the_newest() -> None:
    graph = Graph().scope("l", "x", "z", items=[1, 2], parallel=True).work("x").work("z", input=out("x"))
    world = World(graph.build())
    run = world.start("p")
    report(world, run, "x", 2, "two")
    report(world, run, "x", 1, "one")
    assert world.opened(run, "z").input == "two"


def test_a_thousand_threads_read_what_ten_read() -> None:
    costs = []
    for count in (10, 300):
        graph = parallel(count).work("x", "y").work("y", input=out("x"))
        world = World(graph.build(), thorough=False, both=False)
        run = world.start("p")
        report(world, run, "x", 3, "three")
        costs.append(world.costs[-1])
        assert inputs(world, run, "y") == ["three"]
    assert costs[0] == costs[1]


def test_a_run_without_threads_reads_no_more_than_before() -> None:
    graph = Graph().work("a", "l").scope("l", "x", again=look(lambda c: True)).work("x", "y")
    graph.work("y", input=look(lambda c: [output(c, "a"), output(c, "x")], "a", "x"))
    world = World(graph.build(), both=False)
    run = world.start("p")
    world.report(run, "a", 1)
    world.report(run, "x", 2)
    assert world.opened(run, "y").input == [1, 2]
    assert world.costs[-1].read <= 5
