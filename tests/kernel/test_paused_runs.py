"""A paused run or thread stays paused: an end that comes meanwhile rests, and is carried out when an operator resumes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.kernel.graphs import Graph, edge, look, on_event, out
from tests.kernel.test_scenarios_flow import FAILED, family
from tests.kernel.world import World

from pelton.kernel.expressions.base import ExpressionError
from pelton.kernel.model.process import Limit, Limits, Process, Rule
from pelton.kernel.model.signals import Pause, Resume, Rewind, Terminate
from pelton.kernel.model.state import END, Failure, RunStatus, Step, StepStatus, ThreadStatus

RUNNING, PAUSED, COMPLETED = RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.COMPLETED


def stays_paused(world: World, run: int) -> None:
    assert world.status(run) == PAUSED
    assert world.newest(run, END) is None


def paused(process: Process, *others: Process) -> tuple[World, int]:
    world = World(process, *others)
    run = world.start(process.name)
    world.do(run, Pause())
    return world, run


def broken(world: World, run: int) -> None:
    world.report(run, "a", status=FAILED, reason="no paper")


def both(world: World, run: int) -> None:
    broken(world, run)
    world.report(run, "b")


def second_item_breaks(world: World, run: int) -> None:
    world.report(run, 3, status=FAILED, reason="no paper")


def deferred() -> Process:
    return Graph().work("a", on_failure=(Rule("defer"),)).build()


def joined() -> Process:
    return Graph().fork("f", "a", "b", "j").work("a", on_failure=(Rule("defer"),)).work("b").join("j", "a", "b").build()


def looped(*rules: Rule) -> Process:
    return Graph().scope("l", "a", again=look(lambda c: True)).work("a", on_failure=rules).build()


def threaded(*rules: Rule) -> Process:
    return Graph().scope("l", "a", items=[1, 2], parallel=True).work("a", on_failure=rules).build()


FINAL: dict[str, tuple[Process, Callable[[World, int], None]]] = {
    "a failure that nothing catches": (Graph().work("a", "b").work("b").build(), broken),
    "a rule that aborts the run": (Graph().fork("f", "a", "b").work("a", on_failure=(Rule("abort"),)).work("b").build(), broken),
    "a rule in a loop that aborts the run": (looped(Rule("abort")), broken),
    "a rule in a thread that aborts the run": (threaded(Rule("abort")), second_item_breaks),
    "a step of a loop": (looped(), broken),
    "a step in a thread": (threaded(), second_item_breaks),
    "a deferred failure at the end": (deferred(), broken),
    "a join that fails": (joined(), both),
}


@pytest.mark.parametrize("name", FINAL)
def test_a_final_failure_in_a_paused_run_fails_it_on_resume(name: str) -> None:
    process, happens = FINAL[name]
    world, run = paused(process)
    happens(world, run)
    stays_paused(world, run)
    world.do(run, Resume())
    assert world.status(run) == RunStatus.FAILED
    assert "no paper" in world.reason(run)
    assert not world.rows(run).open


def test_a_step_that_may_fail_the_run_by_its_time_limit_leaves_a_paused_run_paused() -> None:
    limits = Limits(total=Limit(5_000, "fail run", message="too late"))
    world, run = paused(Graph().work("a", limits=limits).build())
    world.tick(5_000)
    stays_paused(world, run)
    assert world.ended(run, "a").status == StepStatus.TIMED_OUT
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.TIMED_OUT, "too late")


def test_a_child_that_fails_leaves_its_paused_parent_paused() -> None:
    world = World(*family(2))
    top = world.start("p0")
    (low,) = world.children(top)
    world.do(top, Pause())
    world.report(low, "a", status=FAILED, reason="no paper")
    assert world.status(low) == RunStatus.FAILED
    stays_paused(world, top)
    world.do(top, Resume())
    assert world.status(top) == RunStatus.FAILED
    assert "no paper" in world.reason(top)


def test_a_child_that_is_terminated_leaves_its_paused_parent_paused() -> None:
    world = World(*family(2))
    top = world.start("p0")
    (low,) = world.children(top)
    world.do(top, Pause())
    world.do(low, Terminate(reason="fire"))
    stays_paused(world, top)
    world.do(top, Resume())
    assert world.status(top) == RunStatus.TERMINATED


def test_a_way_on_that_cannot_be_evaluated_fails_the_run_only_after_the_resume() -> None:
    def broken_guard(scene: object) -> bool:
        raise ExpressionError("no such member")

    world, run = paused(Graph().work("a", [edge("b", broken_guard)]).work("b").build())
    world.report(run, "a")
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "no such member")


def test_a_node_that_ends_the_run_waits_for_the_resume() -> None:
    graph = Graph().work("a", "e").end("e", run=True, status=RunStatus.FAILED, reason="given up", output=out("a"))
    world, run = paused(graph.build())
    world.report(run, "a", 7)
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.reason(run), world.output(run)) == (RunStatus.FAILED, "given up", 7)


def test_the_first_of_several_failures_decides() -> None:
    graph = Graph().fork("f", "a", "b", "c").work("a").work("b").work("c", "d").work("d")
    world, run = paused(graph.build())
    world.report(run, "b", status=FAILED, reason="first")
    world.report(run, "a", status=FAILED, reason="second")
    world.report(run, "c", 3)
    assert world.ended(run, "c").output == 3
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "first")
    assert "d" not in world.trail(run)


def test_what_a_paused_run_fails_with_has_not_lost_its_kind() -> None:
    world, run = paused(Graph().work("a").build())
    world.report(run, "a", status=StepStatus.TIMED_OUT, reason="slow")
    world.do(run, Resume())
    assert world.status(run) == RunStatus.TIMED_OUT


def test_the_last_step_of_a_paused_run_ends_it_on_resume() -> None:
    world, run = paused(Graph().wait("w", on_event("e")).build())
    world.post(run, "e", 1)
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.output(run)) == (COMPLETED, 1)


@pytest.mark.parametrize("fails", [False, True])
def test_terminate_and_the_own_time_limit_end_a_paused_run_at_once(fails: bool) -> None:
    process = Graph(deadline=Limit(9_000)).fork("f", "a", "b").work("a").work("b").build()
    for terminated in (True, False):
        world, run = paused(process)
        if fails:
            broken(world, run)
        if terminated:
            world.do(run, Terminate(reason="fire"))
        else:
            world.tick(9_000)
        assert world.status(run) == (RunStatus.TERMINATED if terminated else RunStatus.TIMED_OUT)
        world.do(run, Rewind(to="start"))
        world.report(run, "a")
        world.report(run, "b")
        assert world.status(run) == COMPLETED


def test_a_run_that_failed_on_resume_can_be_retried_and_paused_again() -> None:
    world, run = paused(Graph().work("a", "b").work("b").build())
    broken(world, run)
    assert world.refuse(run, Rewind(to="failed")).code == "not ended"
    world.do(run, Resume())
    world.do(run, Rewind(to="failed"))
    world.do(run, Pause())
    world.report(run, "a", 1)
    stays_paused(world, run)
    world.do(run, Resume())
    world.report(run, "b", 2)
    assert (world.status(run), world.output(run)) == (COMPLETED, 2)


def items() -> tuple[World, int]:
    graph = Graph().scope("l", "a", "z", items=[1, 2], parallel=True, on_failure=(Rule("edge", to="y"),))
    world = World(graph.work("a", "b").work("b").work("y").work("z").build())
    return world, world.start("p")


def test_a_failure_in_a_paused_thread_rests_until_the_thread_is_resumed() -> None:
    world, run = items()
    first, second = sorted((row for row in world.rows(run).open.values() if row.slot == "a"), key=lambda row: row.n)
    world.do(run, Pause(thread=first.thread))
    world.report(run, first.n, status=FAILED, reason="no paper")
    assert world.rows(run).threads[first.thread].status == ThreadStatus.HALTED
    assert world.is_open(run, "l")
    world.report(run, second.n, 2)
    world.report(run, "b", 3)
    assert world.is_open(run, "l")
    world.do(run, Resume(thread=first.thread))
    assert world.is_open(run, "y")
    assert isinstance(world.newest(run, "l"), Step)


def test_a_thread_that_is_resumed_in_a_paused_run_fails_and_the_run_waits() -> None:
    world = World(threaded())
    run = world.start("p")
    first = min((row for row in world.rows(run).open.values() if row.slot == "a"), key=lambda row: row.n)
    world.do(run, Pause(thread=first.thread))
    world.do(run, Pause())
    world.report(run, first.n, status=FAILED, reason="no paper")
    world.do(run, Resume(thread=first.thread))
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "no paper")


def test_a_handler_that_fails_while_the_run_is_paused_fails_it_on_resume() -> None:
    graph = Graph().body("", [("stop", "h")]).work("a").work("h")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "stop")
    world.report(run, "a")
    world.do(run, Pause())
    world.report(run, "h", status=FAILED, reason="no paper")
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "no paper")


def test_a_failure_that_a_process_raises_waits_for_the_resume() -> None:
    graph = Graph().work("a", "r").fail("r", Failure("broken", "business", "as written"))
    world, run = paused(graph.build())
    world.report(run, "a")
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "as written")
