"""Ends that rest in paused runs and threads, beside limits, joins, retries and rescues of threads."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, edge, look
from tests.kernel.memory import AllReads, NoReads
from tests.kernel.test_paused_runs import COMPLETED, RUNNING, broken, deferred, paused, stays_paused, threaded
from tests.kernel.test_scenarios_flow import FAILED
from tests.kernel.world import World

from pelton.kernel.expressions.base import ExpressionError
from pelton.kernel.machine.advance import advance
from pelton.kernel.model.process import Limit, Limits, Process, Rule
from pelton.kernel.model.reads import Spent
from pelton.kernel.model.signals import Pause, Report, Rescue, Resume, Rewind, Terminate
from pelton.kernel.model.state import RunStatus, StepStatus, ThreadStatus
from pelton.kernel.model.transition import Need, Transition


@pytest.mark.parametrize("action", ["fail", "fail run"])
@pytest.mark.parametrize("kind", ["work", "scope", "call", "thread", "join"])
def test_the_limit_of_a_step_in_a_paused_run_fails_it_on_resume(kind: str, action: str) -> None:
    more: dict[str, Any] = {"limits": Limits(total=Limit(5_000, action, message="too late"))}  # type: ignore[arg-type]
    graph, others = Graph(), [Graph("low").work("a").build()]
    match kind:
        case "work":
            graph.work("s", **more)
        case "scope":
            graph.scope("s", "f", **more).fork("f", "a", "b").work("a").work("b")
        case "call":
            graph.call("s", "low", awaits="end", **more)
        case "thread":
            graph.call("s", thread="a", awaits="end", **more).work("a")
        case _:
            graph.fork("f", "a", "b", "s").work("a").work("b").join("s", "a", "b", rule="all", **more)
    world = World(graph.build(), *others)
    run = world.start("p")
    if kind == "join":
        world.report(run, "b")
    world.do(run, Pause())
    world.tick(5_000)
    stays_paused(world, run)
    assert world.ended(run, "s").status == StepStatus.TIMED_OUT
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.TIMED_OUT, "too late")


def test_a_join_that_is_open_goes_with_the_paused_run_that_fails() -> None:
    graph = Graph().fork("f", "a", "b", "j").work("a").work("b").join("j", "a", "b", rule="all")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "b")
    world.do(run, Pause())
    broken(world, run)
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "no paper")


def test_a_paused_run_in_which_an_end_rests_may_be_paused_again_but_is_resumed_once() -> None:
    world, run = paused(Graph().work("a").build())
    broken(world, run)
    world.do(run, Pause())
    stays_paused(world, run)
    world.do(run, Resume())
    assert world.status(run) == RunStatus.FAILED
    assert world.refuse(run, Resume()).code == "ended"
    world.do(run, Rewind(to="failed"))
    world.do(run, Pause())
    world.do(run, Resume())
    world.report(run, "a", 1)
    assert world.status(run) == COMPLETED


def once(*rules: Rule) -> Process:
    return Graph().scope("l", "a", again=look(lambda c: False)).work("a", on_failure=rules).build()


@pytest.mark.parametrize("process", [once(Rule("abort")), once(), threaded(Rule("abort")), threaded(), deferred()])
@pytest.mark.parametrize("end", [Resume(), Terminate(reason="enough")])
def test_a_run_that_ended_with_what_rested_is_retried_with_nothing_left_of_it(process: Process, end: Any) -> None:
    world, run = paused(process)
    world.report(run, min(row.n for row in world.claimable(run)), status=FAILED, reason="no paper")
    world.do(run, end)
    world.do(run, Rewind(to="failed"))
    world.do(run, Pause())
    world.do(run, Resume())
    for work in world.claimable(run):
        world.report(run, work.n)
    assert world.status(run) == COMPLETED


def test_a_thread_in_which_a_failure_rests_is_stopped_and_retried_like_others() -> None:
    world = World(threaded())
    run = world.start("p")
    first, second = sorted(world.claimable(run), key=lambda row: row.n)
    world.do(run, Pause(thread=first.thread))
    world.report(run, first.n, status=FAILED, reason="first")
    world.report(run, second.n, status=FAILED, reason="second")
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "second")
    world.do(run, Rewind(to="failed"))
    for work in world.claimable(run):
        world.report(run, work.n)
    assert world.status(run) == COMPLETED


def gathered(*, ends: bool = False) -> tuple[World, int]:
    """Spawns thread 1 and waits for its end, in a join or at the end of all threads."""
    graph = Graph().call("s", thread="t", to="j", awaits="nothing").work("t")
    graph = graph.end("j", threads=True) if ends else graph.join("j", to="b", threads=look(lambda c: [1]))
    world = World(graph.work("b").build())
    return world, world.start("p")


@pytest.mark.parametrize("ends", [False, True])
def test_what_waits_for_a_paused_thread_that_fails_waits_until_that_is_resumed(ends: bool) -> None:
    world, run = gathered(ends=ends)
    world.do(run, Pause(thread=1))
    world.report(run, "t", status=FAILED, reason="no paper")
    assert world.is_open(run, "j")
    assert world.status(run) == RUNNING
    world.do(run, Resume(thread=1))
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "no paper")


@pytest.mark.parametrize("ends", [False, True])
def test_the_failure_of_a_thread_that_a_paused_run_waits_for_fails_it_on_resume(ends: bool) -> None:
    world, run = gathered(ends=ends)
    world.do(run, Pause())
    world.report(run, "t", status=FAILED, reason="no paper")
    stays_paused(world, run)
    assert world.rows(run).threads[1].status == ThreadStatus.FAILED
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "no paper")


def test_a_thread_is_rescued_in_a_paused_run_but_not_while_its_failure_rests() -> None:
    graph = Graph().call("s", thread="t", to="a", awaits="nothing").work("t").work("a")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause(thread=1))
    world.report(run, "t", status=FAILED, reason="no paper")
    assert world.refuse(run, Rescue(thread=1)).code == "nothing to retry"
    world.do(run, Resume(thread=1))
    world.do(run, Pause())
    broken(world, run)
    world.do(run, Rescue(thread=1))
    stays_paused(world, run)
    world.do(run, Resume())
    assert (world.status(run), world.reason(run)) == (RunStatus.FAILED, "no paper")
    assert world.newest(run, "t") is not None


def test_a_paused_thread_whose_steps_all_failed_or_ended_fails_on_resume() -> None:
    graph = Graph().call("s", thread="f", awaits="end", to="b", on_failure=(Rule("edge", to="y"),))
    graph.fork("f", "c", "d", "e").work("c").work("d").work("e").work("b").work("y")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause(thread=1))
    world.report(run, "c", status=FAILED, reason="first")
    world.report(run, "e")
    world.report(run, "d", status=FAILED, reason="second")
    assert world.rows(run).threads[1].open == 1
    assert world.is_open(run, "s")
    world.do(run, Resume(thread=1))
    assert world.ended(run, "s").reason == "first"
    assert world.is_open(run, "y")


def test_a_way_on_that_fails_after_a_failure_rests_changes_nothing() -> None:
    def broken_guard(scene: object) -> bool:
        raise ExpressionError("no such member")

    graph = Graph().call("s", thread="f", awaits="end", to="b", on_failure=(Rule("edge", to="y"),)).work("b").work("y")
    graph.fork("f", "c", "d").work("c").work("d", [edge("e", broken_guard)], on_failure=(Rule("continue"),)).work("e")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause(thread=1))
    world.report(run, "d")
    world.report(run, "c", status=FAILED, reason="first")
    world.do(run, Resume(thread=1))
    assert world.ended(run, "s").reason == "first"
    assert world.is_open(run, "y")


def test_a_paused_thread_whose_last_token_loses_ends_on_resume() -> None:
    graph = Graph().call("s", thread="f", awaits="end", to="b").fork("f", "c", "d", "j").work("c").work("d", "x").work("x")
    graph.join("j", "c", "d", rule="first", losers="halt").work("b")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause(thread=1))
    world.report(run, "c")
    assert world.is_open(run, "s")
    world.do(run, Resume(thread=1))
    for work in world.claimable(run):
        world.report(run, work.n)
    assert world.status(run) == COMPLETED


def test_a_report_that_needs_more_reads_than_there_may_be_fails_a_paused_run_on_resume() -> None:
    world, run = paused(Graph().work("a", "b").work("b").build())
    facts = NoReads(AllReads(world, run, {}))
    facts.spent = Spent("more than 5 rounds of reads", last=True)
    answer: Any = None
    while not isinstance(answer, Transition):
        answer = advance(world.definitions[world.head(run).definition], facts, Report(n=1), world.now)
        if isinstance(answer, Need):
            facts.fetch(answer.keys)
    assert answer.run.status == RunStatus.PAUSED
    (root,) = answer.threads
    assert root.resting is not None
    assert root.resting.failure is not None
    assert root.resting.failure.name == "too large"


# ---- paused threads that nothing waits for


@pytest.mark.parametrize("outcome", [int(StepStatus.COMPLETED), FAILED, int(StepStatus.CANCELED)])
@pytest.mark.parametrize("left", [False, True])
def test_a_run_does_not_end_before_a_paused_thread_that_nothing_waits_for(outcome: int, left: bool) -> None:
    """`left`: the thread has been left behind by the one that started it."""
    graph = Graph().call("s", thread="t", awaits="nothing").work("t")
    if left:
        graph = Graph().call("o", thread="s", awaits="nothing").call("s", thread="t", awaits="nothing").work("t")
    world = World(graph.build())
    run = world.start("p")
    (work,) = world.claimable(run)
    world.do(run, Pause(thread=work.thread))
    world.report(run, work.n, status=outcome, reason="no paper")
    assert world.status(run) == RUNNING
    assert world.rows(run).threads[work.thread].status == ThreadStatus.HALTED
    world.do(run, Resume(thread=work.thread))
    assert world.status(run) == COMPLETED
    assert world.rows(run).threads[work.thread].status == (
        ThreadStatus.COMPLETED if outcome == StepStatus.COMPLETED else ThreadStatus.FAILED
    )


def test_a_run_whose_paused_thread_has_nothing_left_to_do_is_terminated_like_others() -> None:
    world = World(Graph().call("s", thread="t", awaits="nothing").work("t").build())
    run = world.start("p")
    world.do(run, Pause(thread=1))
    world.report(run, "t", status=FAILED)
    world.do(run, Pause())
    world.do(run, Resume())
    assert world.status(run) == RUNNING
    world.do(run, Terminate(reason="no use"))
    assert world.status(run) == RunStatus.TERMINATED
    assert world.rows(run).threads[1].status == ThreadStatus.CANCELED
