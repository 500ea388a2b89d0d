"""Threads of a run that is taken back, and failed threads of a run that goes on."""

from __future__ import annotations

import pytest
from tests.kernel.graphs import Graph, look, on_event, out, output, outside
from tests.kernel.test_scenarios_rewind import all_well, failed, open_slots, times
from tests.kernel.world import World

from pelton.kernel.model.process import Limit, Rule
from pelton.kernel.model.signals import Pause, Rescue, Resume, Rewind, Terminate
from pelton.kernel.model.state import RunStatus, StepStatus, ThreadStatus


def spawned(*, join: bool = True) -> World:
    """Spawns thread 1 (t, then u), works, and waits for it."""
    graph = Graph().call("s", thread="t", to="a", awaits="nothing").work("t", "u").work("u").work("a", "j" if join else "b")
    if join:
        graph.join("j", to="b", threads=look(lambda c: [output(c.newest("s"))]))
    return World(graph.work("b").build())


def called() -> World:
    graph = Graph().call("c", thread="t", to="b", awaits="end").call("t", thread="v", to="u", awaits="end").work("v").work("u")
    return World(graph.work("b").build())


# ---- the end of the run


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_retry_restores_the_threads_that_the_end_cut_off(end: str) -> None:
    world = spawned()
    run = world.start("p")
    world.report(run, "t")
    if end == "failed":
        failed(world, run, "a")
    else:
        world.do(run, Terminate(reason="enough"))
    world.do(run, Rewind(to="failed"))
    assert sorted(open_slots(world, run)) == ["a", "u"]
    assert world.rows(run).threads[1].status == ThreadStatus.RUNNING
    assert all_well(world, run) == RunStatus.COMPLETED
    assert [times(world, run, slot) for slot in "stb"] == [1, 1, 1]


def test_a_retry_goes_on_in_a_thread_within_a_thread() -> None:
    world = called()
    run = world.start("p")
    failed(world, run, "v")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["c", "t", "v"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert [times(world, run, slot) for slot in "ctvub"] == [1, 1, 2, 1, 1]


def test_a_retry_restores_the_items_of_a_parallel_scope_that_were_cut_off() -> None:
    graph = Graph().scope("l", "x", "end", items=look(lambda c: [1, 2, 3]), parallel=True).work("x", "y").work("y").work("end")
    world = World(graph.build())
    run = world.start("p")
    first, second, third = (row.n for row in world.claimable(run))
    world.report(run, first)
    world.report(run, "y")
    world.report(run, second)
    world.report(run, third, status=StepStatus.FAILED)
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    assert sorted(open_slots(world, run)) == ["l", "x", "y"]
    assert world.opened(run, "l").left == 2
    assert all_well(world, run) == RunStatus.COMPLETED
    assert (times(world, run, "x"), times(world, run, "y")) == (4, 4)


def test_a_join_that_failed_for_its_thread_waits_for_it_again() -> None:
    world = spawned()
    run = world.start("p")
    world.report(run, "a")
    failed(world, run, "t")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    assert sorted(open_slots(world, run)) == ["j", "t"]
    assert all_well(world, run) == RunStatus.COMPLETED


def test_a_thread_that_lost_to_another_is_not_retried() -> None:
    graph = Graph().call("s", thread="t", to="r", awaits="nothing").call("r", thread="u", to="j", awaits="nothing")
    graph.work("t").work("u").join(
        "j", to="b", threads=look(lambda c: [output(c.newest("s")), output(c.newest("r"))]), rule="first", losers="halt"
    )
    world = World(graph.work("b").build())
    run = world.start("p")
    world.report(run, "u")
    failed(world, run, "b")
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["b"]


@pytest.mark.parametrize("started", [True, False])
def test_an_interrupt_that_the_end_cut_off_halts_its_thread_again(started: bool) -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).work("a", "b").work("b").work("i")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring")
    if started:
        world.report(run, "a")
        assert open_slots(world, run)[-1] == "i"
    world.do(run, Terminate(reason="enough"))
    world.do(run, Rewind(to="failed"))
    assert world.is_open(run, "i")
    assert not world.is_open(run, "b")
    world.report(run, "i")
    assert open_slots(world, run) == (["b"] if started else ["a"])
    assert all_well(world, run) == RunStatus.COMPLETED
    assert world.rows(run).threads[0].reasons == ()


def test_a_handler_that_the_end_cut_off_goes_on_and_the_token_after_it() -> None:
    graph = Graph().work("a", "b", on_failure=(Rule("body", to="h"),)).work("h", "k").work("k").work("b")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "h")
    world.do(run, Terminate(reason="enough"))
    world.do(run, Rewind(to="failed"))
    assert world.is_open(run, "k")
    world.report(run, "k")
    assert open_slots(world, run) == ["b"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert (times(world, run, "a"), times(world, run, "h")) == (1, 1)


def test_a_thread_that_outlives_its_parent_is_restored() -> None:
    graph = Graph().call("c", thread="t", to="b", awaits="end").call("t", thread="v", awaits="nothing").work("v").work("b")
    world = World(graph.build())
    run = world.start("p")
    assert sorted(open_slots(world, run)) == ["b", "v"]
    failed(world, run, "b")
    world.do(run, Rewind(to="failed"))
    assert sorted(open_slots(world, run)) == ["b", "v"]
    assert all_well(world, run) == RunStatus.COMPLETED


# ---- from a step inside


def test_a_rerun_from_a_step_in_a_thread_opens_its_callers_again() -> None:
    world = called()
    run = world.start("p")
    for slot in "vub":
        world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED
    world.do(run, Rewind(to="step", n=world.ended(run, "u").n))
    assert sorted(open_slots(world, run)) == ["c", "u"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert [times(world, run, slot) for slot in "ctvub"] == [1, 1, 1, 1, 1]


def test_a_rerun_takes_back_the_threads_that_were_started_later() -> None:
    graph = Graph().work("a", "s").call("s", thread="t", to="e", awaits="nothing").work("t").end("e", threads=True)
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a")
    failed(world, run, "t")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="step", n=world.ended(run, "a").n))
    assert open_slots(world, run) == ["a"]
    world.report(run, "a")
    world.report(run, "t")
    assert world.status(run) == RunStatus.COMPLETED
    world.do(run, Rewind(to="start"))
    assert all_well(world, run) == RunStatus.COMPLETED


def test_a_rerun_in_one_thread_leaves_another_where_it_was() -> None:
    graph = Graph().fork("f", "s", "r", "j").call("s", thread="t", awaits="end").call("r", thread="u", awaits="end")
    graph.work("t", "t2").work("t2").work("u").join("j", "s", "r", to="end").work("end")
    world = World(graph.build())
    run = world.start("p")
    for slot in ("t", "u", "t2", "end"):
        world.report(run, slot)
    world.do(run, Rewind(to="step", n=world.ended(run, "u").n))
    assert sorted(open_slots(world, run)) == ["j", "r", "s", "t2", "u"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "t") == 1


def test_variables_and_outputs_of_a_restored_thread_are_those_that_it_had() -> None:
    graph = (
        Graph().call("c", thread="t", to="b", input=look(lambda c: "given")).work("t", "u").work("u", input=out("t")).work("b")
    )
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "t", "made")
    failed(world, run, "u")
    world.do(run, Rewind(to="failed"))
    assert world.opened(run, "u").input == "made"
    assert world.var(run, "INPUT", 1) == "given"


def test_a_wait_in_a_restored_thread_takes_an_event_again() -> None:
    graph = Graph().call("c", thread="w", to="b").wait("w", on_event("e"), outside()).work("b")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Terminate(reason="enough"))
    world.do(run, Rewind(to="failed"))
    world.post(run, "e", 1)
    assert open_slots(world, run) == ["b"]


# ---- rescue


@pytest.mark.parametrize("skip", [False, True])
def test_a_failed_thread_of_a_run_that_goes_on_is_rescued(skip: bool) -> None:
    world = spawned()
    run = world.start("p")
    failed(world, run, "t")
    assert world.status(run) == RunStatus.RUNNING
    world.do(run, Rescue(thread=1, skip=skip))
    assert sorted(open_slots(world, run)) == ["a", "u" if skip else "t"]
    assert world.rows(run).threads[1].status == ThreadStatus.RUNNING
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "t") == (1 if skip else 2)


def test_a_rescue_revives_the_threads_that_failed_because_of_it() -> None:
    graph = Graph().call("s", thread="m", to="a", awaits="nothing").call("m", thread="t", to="m2").work("t", "u").work("u")
    world = World(graph.work("m2").work("a", "j").join("j", threads=look(lambda c: [output(c.newest("s"))])).build())
    run = world.start("p")
    failed(world, run, "t")
    assert [world.rows(run).threads[no].status for no in (1, 2)] == [ThreadStatus.FAILED] * 2
    world.do(run, Rescue(thread=2))
    assert sorted(open_slots(world, run)) == ["a", "m", "t"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert [times(world, run, slot) for slot in ("m", "t", "u", "m2")] == [1, 2, 1, 1]


def test_a_rescue_may_skip_a_call_of_a_thread_that_failed() -> None:
    graph = Graph().call("s", thread="m", to="a", awaits="nothing").call("m", thread="t", to="m2").work("t").work("m2").work("a")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "t")
    world.do(run, Rescue(thread=1, skip=True))
    assert sorted(open_slots(world, run)) == ["a", "m2"]
    assert all_well(world, run) == RunStatus.COMPLETED


def test_a_step_that_is_skipped_inside_a_scope_leaves_the_scope_going_on() -> None:
    graph = Graph().call("s", thread="l", to="a", awaits="nothing").scope("l", "x", "y").work("x", "x2").work("x2").work("y")
    world = World(graph.work("a").build())
    run = world.start("p")
    failed(world, run, "x")
    world.do(run, Rescue(thread=1, skip=True))
    assert sorted(open_slots(world, run)) == ["a", "l", "x2"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "y") == 1


@pytest.mark.parametrize("skip", [False, True])
def test_a_rescue_of_a_run_that_has_ended_retries_it(skip: bool) -> None:
    world = called()
    run = world.start("p")
    failed(world, run, "v")
    world.do(run, Rescue(thread=2, skip=skip))
    assert open_slots(world, run) == (["c", "u"] if skip else ["c", "t", "v"])
    assert all_well(world, run) == RunStatus.COMPLETED


@pytest.mark.parametrize("skip", [False, True])
def test_the_root_of_a_failed_run_is_rescued(skip: bool) -> None:
    world = World(Graph().work("a", "b").work("b").build())
    run = world.start("p")
    assert world.refuse(run, Rescue(thread=0)).code == "nothing to retry"
    failed(world, run, "a")
    world.do(run, Rescue(thread=0, skip=skip))
    assert open_slots(world, run) == ["b" if skip else "a"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert world.refuse(run, Rescue(thread=0)).code == "nothing to retry"


def test_what_cannot_be_rescued_is_refused() -> None:
    world = spawned()
    run = world.start("p")
    assert world.refuse(run, Rescue(thread=7)).code == "invalid"
    assert world.refuse(run, Rescue(thread=1)).code == "nothing to retry"
    graph = Graph().call("c", thread="t", to="b", on_failure=(Rule("edge", to="m"),)).work("t").work("b").work("m", "b")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "t")
    assert open_slots(world, run) == ["m"]
    assert world.refuse(run, Rescue(thread=1)).code == "conflict"


def test_a_thread_whose_failure_a_join_has_forgiven_cannot_be_rescued() -> None:
    graph = Graph().call("s", thread="t", to="j", awaits="nothing").work("t")
    graph.join("j", to="b", threads=look(lambda c: [output(c.newest("s"))]), per_thread=(Rule("continue"),))
    world = World(graph.work("b").build())
    run = world.start("p")
    failed(world, run, "t")
    assert open_slots(world, run) == ["b"]
    assert world.refuse(run, Rescue(thread=1)).code == "conflict"
    failed(world, run, "b")
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["b"]


def test_a_rescued_thread_of_a_paused_run_waits_for_it_to_be_resumed() -> None:
    world = spawned()
    run = world.start("p")
    failed(world, run, "t")
    world.do(run, Pause())
    world.do(run, Rescue(thread=1))
    assert not world.is_open(run, "t")
    world.do(run, Resume())
    assert world.is_open(run, "t")
    assert all_well(world, run) == RunStatus.COMPLETED


def test_a_rescue_leaves_the_deadline_of_the_run_as_it_was() -> None:
    graph = Graph(deadline=Limit(1_000, "fail run")).call("s", thread="t", to="a", awaits="nothing").work("t").work("a")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "t")
    world.tick(600)
    world.do(run, Rescue(thread=1))
    world.tick(399)
    assert world.status(run) == RunStatus.RUNNING
    world.tick(1)
    assert world.status(run) == RunStatus.TIMED_OUT


# ---- child runs


@pytest.mark.parametrize("kind", ["in a thread", "put off"])
def test_a_childs_retry_revives_the_call_where_it_stood(kind: str) -> None:
    child = Graph("child").work("x").build()
    graph = Graph()
    if kind == "in a thread":
        graph.call("c", thread="k", to="b").call("k", "child", "u").work("u").work("b")
    else:
        graph.call("k", "child", "b", on_failure=(Rule("defer"),)).work("b")
    world = World(graph.build(), child)
    run = world.start("p")
    (low,) = world.children(run)
    failed(world, low, "x")
    if kind == "put off":
        world.report(run, "b")
    assert world.status(run) == RunStatus.FAILED
    call = world.ended(run, "k").n
    world.do(low, Rewind(to="failed"))
    assert world.opened(run, "k").n == call
    assert open_slots(world, run) == (["c", "k"] if kind == "in a thread" else ["k"])
    world.report(low, "x")
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "b") == 1
    assert len(world.children(run)) == 1


def test_a_retry_with_children_takes_back_a_child_that_was_called_in_a_thread() -> None:
    world = World(Graph().call("c", thread="k", to="b").call("k", "child").work("b").build(), Graph("child").work("x").build())
    run = world.start("p")
    (low,) = world.children(run)
    failed(world, low, "x")
    world.do(run, Rewind(to="failed", children=True))
    world.settle()
    assert world.is_open(low, "x")
    world.report(low, "x")
    assert all_well(world, run) == RunStatus.COMPLETED
    assert len(world.children(run)) == 1


def test_a_thread_that_is_taken_back_belongs_to_the_thread_above_the_one_that_has_ended_well() -> None:
    graph = Graph().call("c", thread="t", to="w", awaits="nothing").work("w")
    graph.call("t", thread="x", to="y", awaits="nothing").body("t", v="seen").work("y").work("x", "x2")
    graph.work("x2", input=look(lambda c: c.var("v"), "$v"))
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "x", status=int(StepStatus.FAILED))
    world.report(run, "y")
    world.report(run, "w")
    assert world.status(run).ended
    world.do(run, Rewind(to="failed"))
    world.settle()
    assert world.rows(run).threads[2].parent == 0
    world.report(run, "x")
    assert world.opened(run, "x2").input == "seen"
    world.report(run, "x2")
    assert world.status(run) == RunStatus.COMPLETED
