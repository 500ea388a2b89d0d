"""A paused process: its runs stand, new ones start and stand or are refused, and each follows it whatever came in which order."""

from __future__ import annotations

import pytest
from tests.kernel.graphs import Graph, after, on_event, on_trigger
from tests.kernel.test_paused_runs import FINAL
from tests.kernel.world import World

from pelton.errors import Code
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import FollowProcess, Pause, Report, Resume, Rewind, Terminate, Trigger
from pelton.kernel.model.state import END, Halt, RunStatus, State, StepStatus
from pelton.kernel.model.transition import Note, Refused, Transition

RUNNING, PAUSED, COMPLETED = RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.COMPLETED
BY_PROCESS = (int(Halt.PROCESS), 0)
BY_OPERATOR = (int(Halt.OPERATOR), 0)


def line() -> Process:
    return Graph().work("a", "b").work("b").build()


def reasons(world: World, run: int) -> tuple[tuple[int, int], ...]:
    return world.rows(run).threads[0].reasons


# ---- live runs


def test_a_live_run_stands_while_its_process_is_paused_and_takes_reports() -> None:
    world = World(line())
    run = world.start("p")
    world.pause_process("p")
    assert world.status(run) == PAUSED
    assert reasons(world, run) == (BY_PROCESS,)
    world.report(run, "a")
    assert not world.is_open(run, "b")
    world.resume_process("p")
    assert world.status(run) == RUNNING
    assert world.is_open(run, "b")
    world.report(run, "b")
    assert world.status(run) == COMPLETED


def test_a_run_that_an_operator_paused_stays_paused_when_its_process_is_resumed() -> None:
    world = World(line())
    run = world.start("p")
    world.do(run, Pause())
    world.pause_process("p")
    assert set(reasons(world, run)) == {BY_OPERATOR, BY_PROCESS}
    world.resume_process("p")
    assert world.status(run) == PAUSED
    assert reasons(world, run) == (BY_OPERATOR,)
    world.do(run, Resume())
    assert world.status(run) == RUNNING


def test_an_operator_may_pause_a_run_of_a_paused_process_for_later() -> None:
    world = World(line())
    run = world.start("p")
    world.pause_process("p")
    world.do(run, Pause())
    world.resume_process("p")
    assert (world.status(run), reasons(world, run)) == (PAUSED, (BY_OPERATOR,))


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_run_resumed_by_hand_stays_while_its_process_is_paused_and_says_why(by_hand: bool) -> None:
    world = World(line())
    run = world.start("p")
    if by_hand:
        world.do(run, Pause())
    world.pause_process("p")
    refused = world.refuse(run, Resume())
    assert refused.code is Code.PAUSED
    since = "1970-01-01T00:16:40Z"
    assert refused.detail == f"the run's process 'p' is paused since {since} by ann (stocktaking); resume the process instead"


def test_a_run_that_has_not_heard_yet_that_its_process_goes_on_can_be_resumed_by_hand() -> None:
    world = World(line())
    run = world.start("p")
    world.pause_process("p")
    world.resume_process("p", tell=False)
    world.do(run, Resume())
    assert world.status(run) == RUNNING
    world.tell_process("p")
    assert world.status(run) == RUNNING


def test_a_signal_that_comes_late_finds_the_process_as_it_is() -> None:
    world = World(line())
    run = world.start("p")
    world.pause_process("p", tell=False)
    world.resume_process("p", tell=False)
    world.do(run, FollowProcess())  # that of the pause, overtaken by the resume
    assert world.status(run) == RUNNING
    world.pause_process("p", tell=False)
    for _ in range(3):
        world.do(run, FollowProcess())
        assert (world.status(run), reasons(world, run)) == (PAUSED, (BY_PROCESS,))


@pytest.mark.parametrize("name", FINAL)
def test_a_final_failure_while_the_process_is_paused_rests_until_both_pauses_are_over(name: str) -> None:
    process, happens = FINAL[name]
    world = World(process)
    run = world.start("p")
    world.pause_process("p")
    world.do(run, Pause())
    happens(world, run)
    assert world.status(run) == PAUSED
    world.resume_process("p")
    assert world.status(run) == PAUSED
    assert world.newest(run, END) is None
    world.do(run, Resume())
    assert world.status(run) == RunStatus.FAILED


def test_a_run_of_a_paused_process_can_be_terminated() -> None:
    world = World(line())
    run = world.start("p")
    world.pause_process("p")
    world.do(run, Terminate(reason="no longer wanted"))
    assert world.status(run) == RunStatus.TERMINATED
    answer = world.send(run, FollowProcess())  # comes too late, which is no error
    assert isinstance(answer, Transition)
    assert [type(effect) for effect in answer.effects] == [Note]


def test_an_event_for_a_run_of_a_paused_process_is_kept_for_it() -> None:
    world = World(Graph().wait("w", on_event("e")).build())
    run = world.start("p")
    world.pause_process("p")
    world.post(run, "e", 7)
    assert world.is_open(run, "w")
    world.resume_process("p")
    assert world.status(run) == COMPLETED
    assert world.ended(run, "w").output == 7


def test_a_trigger_is_refused_and_says_that_the_process_is_paused() -> None:
    world = World(Graph().wait("w", on_trigger("go")).build())
    run = world.start("p")
    world.pause_process("p")
    refused = world.refuse(run, Trigger(name="go"))
    assert refused.code is Code.PAUSED
    assert refused.detail.startswith("the run's process 'p' is paused since ")
    world.resume_process("p", tell=False)
    assert world.refuse(run, Trigger(name="go")).detail.endswith("try again")
    world.tell_process("p")
    world.do(run, Trigger(name="go"))
    assert world.status(run) == COMPLETED


def test_the_clock_of_a_wait_stands_while_its_process_is_paused() -> None:
    world = World(Graph().wait("w", after(1_000), on_halt="stop").build())
    run = world.start("p")
    world.tick(400)
    world.pause_process("p")
    world.tick(5_000)
    assert world.is_open(run, "w")
    world.resume_process("p")
    world.tick(500)
    assert world.is_open(run, "w")
    world.tick(200)
    assert world.status(run) == COMPLETED


# ---- new runs


def test_a_new_run_of_a_paused_process_stands_before_its_first_step() -> None:
    world = World(line())
    world.pause_process("p")
    run = world.start("p", {"x": 1})
    assert (world.status(run), reasons(world, run)) == (PAUSED, (BY_PROCESS,))
    assert [(row.slot, row.state) for row in world.rows(run).open.values()] == [("a", State.PARKED)]
    world.resume_process("p")
    assert world.status(run) == RUNNING
    assert world.is_open(run, "a")


def test_a_new_run_is_refused_where_the_pause_says_so() -> None:
    world = World(line())
    world.pause_process("p", refuses=True)
    signal = world.starting("p")
    refused = world.send(signal.key, signal)
    assert isinstance(refused, Refused)
    assert refused.code is Code.PAUSED
    assert "takes no new runs" in refused.detail
    assert signal.key not in world.runs


def test_a_start_with_a_trigger_is_refused_since_nothing_would_take_it() -> None:
    world = World(line())
    world.pause_process("p")
    signal = world.starting("p", trigger=Trigger(name="go"))
    refused = world.send(signal.key, signal)
    assert isinstance(refused, Refused)
    assert refused.code is Code.PAUSED
    assert "trigger 'go'" in refused.detail


@pytest.mark.parametrize("to", ["start", "failed"])
def test_a_run_that_is_taken_back_while_its_process_is_paused_stands(to: str) -> None:
    world = World(line())
    run = world.start("p")
    world.report(run, "a", status=int(StepStatus.FAILED), reason="no paper")
    assert world.status(run) == RunStatus.FAILED
    world.pause_process("p")
    world.do(run, Rewind(to=to))
    assert (world.status(run), reasons(world, run)) == (PAUSED, (BY_PROCESS,))
    assert [row.state for row in world.rows(run).open.values()] == [State.PARKED]
    world.resume_process("p")
    assert world.is_open(run, "a")


# ---- callers and callees


def family() -> tuple[Process, Process]:
    parent = Graph().call("c", "child", "after").work("after").build()
    child = Graph("child").work("inner").build()
    return parent, child


def test_a_child_of_another_process_goes_on_and_its_parent_hears_of_it_when_it_is_resumed() -> None:
    world = World(*family())
    parent = world.start("p")
    (child,) = world.children(parent)
    world.pause_process("p")
    assert world.status(child) == RUNNING
    world.report(child, "inner")
    assert world.status(child) == COMPLETED
    assert not world.is_open(parent, "c")
    assert not world.is_open(parent, "after")
    world.resume_process("p")
    assert world.is_open(parent, "after")


def test_a_caller_waits_for_a_child_whose_process_is_paused() -> None:
    world = World(*family())
    world.pause_process("child")
    parent = world.start("p")
    (child,) = world.children(parent)
    assert (world.status(parent), world.status(child)) == (RUNNING, PAUSED)
    world.resume_process("child")
    world.report(child, "inner")
    assert world.is_open(parent, "after")


def test_a_call_fails_when_the_process_called_takes_no_new_runs() -> None:
    world = World(*family())
    world.pause_process("child", refuses=True)
    parent = world.start("p")
    assert world.status(parent) == RunStatus.FAILED
    assert "process 'child' is paused" in world.reason(parent)


def test_a_revived_caller_of_a_paused_process_stands() -> None:
    world = World(*family())
    parent = world.start("p")
    (child,) = world.children(parent)
    world.report(child, "inner", status=int(StepStatus.FAILED), reason="no ink")
    assert world.status(parent) == RunStatus.FAILED
    world.pause_process("p")
    world.do(child, Rewind(to="failed"))
    assert (world.status(parent), world.status(child)) == (PAUSED, RUNNING)
    world.report(child, "inner")
    world.resume_process("p")
    assert world.is_open(parent, "after")


def test_threads_of_a_run_stand_too_and_their_own_halts_go_on_counting() -> None:
    world = World(Graph().scope("l", "a", items=[1, 2], parallel=True).work("a", on_halt="stop").build())
    run = world.start("p")
    inner = sorted(no for no in world.rows(run).threads if no)
    world.do(run, Pause(thread=inner[0]))
    world.pause_process("p")
    assert all(world.rows(run).threads[no].reasons for no in inner)
    world.do(run, Resume(thread=inner[0]))  # the operator's own halt of the thread; that of the process is above it
    assert world.rows(run).threads[inner[0]].reasons == ((int(Halt.PARENT), 0),)
    world.resume_process("p")
    assert not any(world.rows(run).threads[no].reasons for no in inner)
    for row in [row for row in world.rows(run).open.values() if row.slot == "a"]:
        world.do(run, Report(n=row.n))
    assert world.status(run) == COMPLETED
