"""What operators do to runs: rewind, upgrade, skip, pause, terminate."""

from __future__ import annotations

import pytest
from tests.kernel.graphs import Graph, card, look, on_event, out, outside
from tests.kernel.test_scenarios_flow import FAILED, family, fork, loop
from tests.kernel.world import World

from pelton.kernel.model.process import Fragment, Process, Retry, Rule
from pelton.kernel.model.signals import Pause, Resume, Rewind, Skip, Start, Terminate, Upgrade
from pelton.kernel.model.state import Bit, RunStatus, StepStatus

# ---- C8: rewind


def line(version: int = 1, *more: str) -> Process:
    graph = Graph(version=version)
    slots = ("a", "b", "c", *more)
    for index, slot in enumerate(slots):
        graph.work(slot, slots[index + 1] if index + 1 < len(slots) else "", input=out(slots[index - 1]) if index else None)
    return graph.build()


def test_retry_goes_on_where_it_failed() -> None:
    world = World(line())
    run = world.start("p")
    assert world.refuse(run, Rewind(to="failed")).code == "not ended"
    world.report(run, "a", 1)
    world.report(run, "b", status=FAILED)
    ended = world.now
    world.tick(500)
    world.do(run, Rewind(to="failed"))
    head = world.head(run)
    assert (head.status, head.era, head.retried, head.ended) == (RunStatus.RUNNING, 1, ended + 500, 0)
    row = world.opened(run, "b")
    assert row.input == 1
    assert row.n > 2
    world.report(run, "b", 2)
    world.report(run, "c", 3)
    assert world.status(run) == RunStatus.COMPLETED
    assert world.refuse(run, Rewind(to="failed")).code == "nothing to retry"


def test_retry_of_a_fork_reopens_the_join() -> None:
    world = World(fork())
    run = world.start("p")
    join = world.opened(run, "j").n
    world.report(run, "x", 1)
    world.report(run, "y", status=FAILED)
    world.do(run, Rewind(to="failed"))
    assert world.opened(run, "j").n == join
    assert world.opened(run, "j").left == 2
    assert not world.is_open(run, "x")
    world.report(run, "y", 2)
    world.report(run, "z", 3)
    assert world.is_open(run, "end")


def test_retry_of_a_loop_goes_on_in_its_iteration() -> None:
    world = World(loop(3).build())
    run = world.start("p")
    for slot in ("a", "b", "a"):
        world.report(run, slot)
    world.report(run, "b", status=FAILED)
    world.do(run, Rewind(to="failed"))
    assert (world.opened(run, "l").k, world.opened(run, "b").it) == (2, 2)
    for slot in ("b", "a", "b", "after"):
        world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED
    assert world.ended(run, "l").k == 3


def test_rerun_from_the_middle_takes_back_what_followed() -> None:
    world = World(line())
    run = world.start("p", "in")
    for slot, value in (("a", 1), ("b", 2), ("c", 3)):
        world.report(run, slot, value)
    world.do(run, Rewind(to="step", n=2, step_input="other"))
    assert world.trail(run) == ["a", "b"]
    assert world.opened(run, "b").input == "other"
    world.report(run, "b", 20)
    assert world.opened(run, "c").input == 20
    world.report(run, "c", 30)
    assert world.output(run) == 30
    assert world.trail(run) == ["a", "b", "c"]


def test_rerun_in_a_fork_keeps_the_other_branch() -> None:
    graph = Graph().fork("f", "x", "y", "j").work("x", "x2").work("x2").work("y").join("j", "x2", "y", to="end").work("end")
    world = World(graph.build())
    run = world.start("p")
    for slot in ("y", "x", "x2", "end"):
        world.report(run, slot, slot)
    x2 = world.ended(run, "x2").n
    world.do(run, Rewind(to="step", n=x2))
    assert world.is_open(run, "x2")
    assert world.opened(run, "j").left == 1
    assert not world.is_open(run, "y")
    world.report(run, "x2")
    world.report(run, "end")
    assert world.status(run) == RunStatus.COMPLETED


def test_restart_with_the_latest_version_and_another_input() -> None:
    world = World(line())
    run = world.start("p", "old")
    world.report(run, "a")
    world.do(run, Terminate(reason="stop"))
    newer = world.define(line(2, "d"))
    world.do(run, Rewind(to="start", definition=newer, input="new"))
    assert world.head(run).definition == newer
    assert world.ended(run, "$start").output == "new"
    assert world.trail(run) == ["a"]
    for slot in "abcd":
        world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED


def test_a_run_can_be_rewound_again_and_again() -> None:
    world = World(line())
    run = world.start("p")
    for _ in range(30):
        for slot in "abc":
            if world.is_open(run, slot):
                world.report(run, slot)
        world.do(run, Rewind(to="step", n=world.ended(run, "b").n))
    for _ in range(12):
        world.report(run, "b", status=FAILED)
        world.do(run, Rewind(to="failed"))
    for _ in range(12):
        world.do(run, Terminate())
        world.do(run, Rewind(to="start"))
    for slot in "abc":
        world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rewind_withdraws_work_and_timers_of_a_run_that_was_terminated() -> None:
    graph = Graph().fork("f", "a", "w", "j").work("a").wait("w", on_event("e")).join("j", "a", "w")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Terminate(reason="x"))
    world.do(run, Rewind(to="start"))
    world.post(run, "e")
    world.report(run, "a")
    assert world.status(run) == RunStatus.COMPLETED


def test_upgrade_goes_on_with_another_version() -> None:
    world = World(line())
    run = world.start("p")
    world.report(run, "a")
    newer = world.define(line(2, "d"))
    world.do(run, Upgrade(definition=newer))
    for slot in "bcd":
        world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Graph("q", version=2).work("a").build(), "'q' is no version of 'p', which the run is of"),
        (Graph(version=2, records=card()).work("a").build(), "version 2 of 'p' has a record, and the run has none"),
        (Graph(version=2).work("b").build(), "version 2 of 'p' has no step 'a', which is open"),
        (Graph(version=2).wait("a", outside()).build(), "version 2 of 'p' has another kind of step 'a', which is open"),
    ],
)
def test_a_run_is_upgraded_to_nothing_that_it_could_not_go_on_in(other: Process, why: str) -> None:
    world = World(Graph().work("a").build())
    run = world.start("p")
    definition = world.define(other)
    assert world.refuse(run, Upgrade(definition=definition)).detail == why
    world.report(run, "a")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_run_with_a_record_is_not_upgraded_to_a_version_without() -> None:
    world = World(Graph(records=card()).work("a").build())
    run = world.start("p")
    refused = world.refuse(run, Upgrade(definition=world.define(Graph(version=2).work("a").build())))
    assert refused.detail == "version 2 of 'p' has no record, and the run has one"
    assert world.record(run) is not None


# ---- C9: skip


def test_a_skipped_step_ends_when_its_token_arrives() -> None:
    world = World(line())
    run = world.start("p")
    world.do(run, Skip(slot="b", output={"made": "up"}))
    world.report(run, "a")
    step = world.ended(run, "b")
    assert (step.status, step.output) == (StepStatus.SKIPPED, {"made": "up"})
    assert world.opened(run, "c").input == {"made": "up"}
    assert world.refuse(run, Skip(slot="a")).code in {"invalid", "step ended", "exists", "no step"}
    assert world.refuse(run, Skip(slot="nowhere")).code in {"invalid", "no step"}


def test_a_skipped_branch_counts_in_its_join() -> None:
    graph = Graph().work("s", "f").fork("f", "x", "y", "j").work("x").work("y").join("j", "x", "y", to="end").work("end")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Skip(slot="x"))
    world.report(run, "s")
    world.report(run, "y")
    assert world.is_open(run, "end")


# ---- C10: pause


def test_reports_while_paused_end_steps_and_tokens_park() -> None:
    world = World(fork())
    run = world.start("p")
    world.do(run, Pause())
    assert world.status(run) == RunStatus.PAUSED
    for slot in "xyz":
        world.report(run, slot)
    assert not world.is_open(run, "end")
    assert world.status(run) == RunStatus.PAUSED
    world.do(run, Resume())
    assert world.status(run) == RunStatus.RUNNING
    assert world.is_open(run, "end")
    assert world.refuse(run, Resume()).code == "not paused"


def test_what_parked_follows_in_the_order_of_parking() -> None:
    graph = Graph().fork("f", "a", "b", "c").work("a", "a2").work("b", "b2").work("c", "c2").work("a2").work("b2").work("c2")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    for slot in "cab":
        world.report(run, slot)
    assert [row.n for row in sorted(world.rows(run).open.values(), key=lambda row: row.n)] == [-3, -2, -1]
    world.do(run, Resume())
    assert [world.opened(run, slot).n for slot in ("c2", "a2", "b2")] == [5, 6, 7]


def test_pausing_twice_is_one_pause_and_a_paused_run_can_be_terminated() -> None:
    world = World(line())
    run = world.start("p")
    world.do(run, Pause())
    world.send(run, Pause())
    world.do(run, Resume())
    assert world.status(run) == RunStatus.RUNNING
    world.do(run, Pause())
    world.report(run, "a")
    world.do(run, Terminate())
    assert world.status(run) == RunStatus.TERMINATED


def test_a_failure_while_paused_and_retries() -> None:
    world = World(Graph().work("a", "b", retry=Retry(1)).work("b").build())
    run = world.start("p")
    world.do(run, Pause())
    world.report(run, "a", status=FAILED)
    world.do(run, Resume())
    assert world.opened(run, "a").attempt == 1
    world.report(run, "a")
    assert world.is_open(run, "b")


def test_a_child_that_ends_while_its_parent_is_paused() -> None:
    world = World(*family(2))
    top = world.start("p0")
    (low,) = world.children(top)
    world.do(top, Pause())
    world.report(low, "a")
    world.report(low, "b", 1)
    assert not world.is_open(top, "d")
    world.do(top, Resume())
    assert world.opened(top, "d").input == 1


# ---- C18: terminate


def test_terminate_cancels_all_and_the_children_too() -> None:
    world = World(*family(3))
    top = world.start("p0")
    (middle,) = world.children(top)
    (low,) = world.children(middle)
    world.do(top, Terminate(reason="fire"))
    world.settle()
    assert [world.status(run) for run in (top, middle, low)] == [RunStatus.TERMINATED] * 3
    assert world.reason(top) == "fire"
    assert world.ended(low, "a").status == StepStatus.CANCELED
    assert not world.claimable()


def test_terminate_in_the_middle_of_everything_leaves_nothing() -> None:
    graph = Graph().fork("f", "a", "l", "w", "j").work("a").scope("l", "x", again=look(lambda c: True)).work("x")
    graph.wait("w", on_event("e"), outside()).join("j", "a", "l", "w")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Terminate())
    assert world.status(run) == RunStatus.TERMINATED
    assert not world.rows(run).open


def test_starts_are_deterministic_to_the_byte() -> None:
    first, second = (World(*family(3)) for _ in range(2))
    for world in (first, second):
        top = world.start("p0", {"a": [1, {"b": None}]})
        low = max(world.runs)
        world.report(low, "a")
        world.do(top, Terminate(reason="x"))
    assert first.snapshot() == second.snapshot()


def test_a_stub_becomes_a_run() -> None:
    world = World(line())
    key = 4711
    world.do(key, Start(key=key, ns="test", definition=1))
    assert world.status(key) == RunStatus.RUNNING
    assert not world.opened(key, "a").bits & Bit.TIMED


# ---- reruns beside what the run's end cut off


@pytest.mark.parametrize("order", ["xy", "yx"])
@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize("target", ["f", "x", "y", "lx", "ly", "j", "end"])
def test_a_rerun_from_anywhere_comes_to_an_end(order: str, done: int, target: str) -> None:
    graph = Graph().fork("f", "x", "y", "j").work("x", "lx").work("y", "ly").assign("lx", v=1).assign("ly", v=2)
    graph.join("j", "lx", "ly", to="end").work("end")
    world = World(graph.build())
    run = world.start("p")
    for slot in (*order, "end")[:done]:
        world.report(run, slot)
    if not world.status(run).ended:
        world.do(run, Terminate())
    step = world.newest(run, target)
    if step is None:
        return
    world.do(run, Rewind(to="step", n=step.n))
    for _ in range(10):
        for row in world.claimable(run):
            world.report(run, row.n)
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rerun_of_an_emit_is_a_message_of_its_own() -> None:
    world = World(Graph().emit("e", "q:x", 1, "a").work("a").build())
    run = world.start("p")
    world.report(run, "a")
    world.do(run, Rewind(to="step", n=1))
    assert [(sent.n, sent.attempt) for sent in world.sent] == [(1, 0), (1, 1)]


def test_a_retry_leaves_alone_what_a_scope_has_forgiven() -> None:
    graph = Graph().scope("s", "a", "b", on_failure=(Rule("continue"),)).work("a").work("b")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    world.report(run, "b", status=FAILED)
    world.do(run, Rewind(to="failed"))
    assert [row.slot for row in world.rows(run).open.values()] == ["b"]


def test_what_stood_in_a_thread_is_retried_there() -> None:
    world = World(Graph().call("c", thread="t").work("t").build())
    run = world.start("p")
    world.report(run, "t", status=FAILED)
    world.do(run, Rewind(to="failed"))
    assert [row.slot for _, row in sorted(world.rows(run).open.items())] == ["c", "t"]
    world.report(run, "t")
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_fork_cannot_be_skipped_since_what_its_join_waits_for_would_never_come(dynamic: bool) -> None:
    graph = Graph().work("s", "f")
    if dynamic:
        graph = Graph(fragment=lambda name, value: Fragment({}, ("j",))).work("s", "f").fork("f", dynamic=[])
    else:
        graph.fork("f", "x", "j").work("x")
    world = World(graph.join("j", *(() if dynamic else ("x",)), to="end").work("end").build())
    run = world.start("p")
    assert world.refuse(run, Skip(slot="f")).code == "invalid"
    world.report(run, "s")
    if not dynamic:
        world.report(run, "x")
    assert world.is_open(run, "end")


def test_a_step_that_is_not_to_be_skipped_is_not() -> None:
    world = World(Graph().work("a", "b").work("b", skippable=False).build())
    run = world.start("p")
    assert world.refuse(run, Skip(slot="b")).code == "invalid"
