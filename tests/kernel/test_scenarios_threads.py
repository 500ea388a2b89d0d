"""Threads: variables of their own, handlers of failures, interrupts, halting, joins on threads; events that come too early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.kernel.graphs import Graph, after, edge, look, on_event, out, outside, var, when
from tests.kernel.world import World

from pelton.kernel.model.process import Process, Rule
from pelton.kernel.model.signals import EventArrived, Pause, Report, Resume, SetVars, Terminate
from pelton.kernel.model.state import Failure, Halt, RunStatus, StepStatus, ThreadStatus
from pelton.kernel.model.transition import Hold

FAILED = int(StepStatus.FAILED)


def thread(world: World, run: int, no: int) -> ThreadStatus:
    return ThreadStatus(world.rows(run).threads[no].status)


# ---- L1


def test_a_thread_has_variables_of_its_own_and_sees_those_above() -> None:
    graph = Graph().body("", shared=1, title="root").call("c", thread="t", awaits="end", to="z").work("z", input=var("shared"))
    graph.body("t", title="child", own=look(lambda c: c.var("shared") + 10, "$shared"))
    graph.assign(
        "t",
        "u",
        shared=look(lambda c: c.var("shared") + 1, "$shared"),
        own=look(lambda c: c.var("own") + 1, "$own"),
        title="changed",
    )
    graph.work("u", input=look(lambda c: [c.var("title"), c.var("own"), c.var("shared")], "$title", "$own", "$shared"))
    world = World(graph.build())
    run = world.start("p")
    assert world.opened(run, "u").input == ["changed", 12, 2]
    assert world.opened(run, "u").thread == 1
    assert (world.var(run, "title"), world.var(run, "shared"), world.var(run, "own")) == ("root", 2, None)
    assert (world.var(run, "title", 1), world.var(run, "own", 1)) == ("changed", 12)
    world.report(run, "u")
    assert thread(world, run, 1) == ThreadStatus.COMPLETED
    assert world.opened(run, "z").input == 2


def test_a_thread_gets_input_and_gives_output() -> None:
    graph = Graph().call("c", thread="t", input=look(lambda c: {"x": c.input}), to="z").work("z", input=out("c"))
    graph.assign("t", "e", v=var("INPUT")).end("e", output=var("v"))
    world = World(graph.build())
    run = world.start("p", 5)
    assert world.opened(run, "z").input == {"x": 5}


def test_an_end_that_waits_for_its_threads() -> None:
    graph = Graph().call("c1", thread="t", awaits="nothing", to="c2").call("c2", thread="t", awaits="nothing", to="e")
    graph.end("e", threads=True).work("t")
    world = World(graph.build())
    run = world.start("p")
    assert [row.thread for row in world.claimable(run)] == [1, 2]
    assert world.is_open(run, "e")
    for row in world.claimable(run):
        assert world.status(run) == RunStatus.RUNNING
        world.report(run, row.n)
    assert world.status(run) == RunStatus.COMPLETED


def test_without_it_threads_run_on_until_the_last_token_is_gone() -> None:
    graph = Graph().call("c", thread="t", awaits="nothing").work("t")
    world = World(graph.build())
    run = world.start("p")
    assert world.status(run) == RunStatus.RUNNING
    world.report(run, "t")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_thread_that_fails_fails_its_call() -> None:
    graph = (
        Graph().call("c", thread="t", to="z", on_failure=(Rule("edge", names=frozenset({"poor"}), to="y"),)).work("y").work("z")
    )
    graph.fork("t", "u", "v").work("u").work("v")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "u", status=FAILED, failure=Failure("poor", "business", "none left"))
    assert thread(world, run, 1) == ThreadStatus.FAILED
    assert world.is_open(run, "y")
    assert world.ended(run, "v").status == StepStatus.CANCELED


# ---- L2: failure handlers


def handled(**more: Any) -> Graph:
    graph = Graph().body("", v=0).work("a", edge("b", v=1), on_failure=(Rule("body", to="h"),)).work("b")
    return graph.work("h", input=var("INPUT"), **more)


def test_a_handler_runs_and_the_token_goes_on_without_assignments() -> None:
    world = World(handled().build())
    run = world.start("p")
    world.report(run, "a", status=FAILED, failure=Failure("x", "business", "no", {"why": 1}))
    assert world.opened(run, "h").input == {"why": 1}
    assert world.opened(run, "h").thread == 1
    root = world.rows(run).threads[0]
    assert root.status == ThreadStatus.HALTED
    assert [kind for kind, _ in root.reasons] == [Halt.HANDLING]
    world.report(run, "h")
    assert world.is_open(run, "b")
    assert world.var(run, "v") == 0
    assert thread(world, run, 0) == ThreadStatus.RUNNING
    world.report(run, "b")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_handler_that_fails_fails_its_thread() -> None:
    world = World(handled(on_failure=()).build())
    run = world.start("p")
    world.report(run, "a", status=FAILED, failure=Failure("x", "business", "first"))
    world.report(run, "h", status=FAILED, failure=Failure("y", "business", "second"))
    assert world.status(run) == RunStatus.FAILED
    assert world.reason(run) == "second"


def test_a_handler_waits_until_its_thread_stands_still() -> None:
    graph = Graph().fork("f", "a", "c", "j").work("a", on_failure=(Rule("body", to="h"),)).work("c").join("j", "a", "c", to="z")
    graph.work("h").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    assert not world.is_open(run, "h")
    assert thread(world, run, 0) == ThreadStatus.HALTING
    world.report(run, "c")
    assert world.is_open(run, "h")
    assert thread(world, run, 0) == ThreadStatus.HALTED
    world.report(run, "h")
    assert world.is_open(run, "z")


# ---- L3, L4: interrupts


def interruptible(on_halt: str = "finish") -> Process:
    graph = Graph().body("", interrupts=[("ring", "i")]).fork("f", "c", "w", "j")
    graph.call("c", thread="t", on_halt="stop").wait("w", after(10_000), on_event("go"), on_halt="stop").join(
        "j", "c", "w", to="z"
    ).work("z")
    graph.work("t", "t2", on_halt=on_halt).work("t2").work("i", input=var("INPUT"))
    return graph.build()


def test_an_interrupt_halts_a_thread_and_its_child_and_both_resume() -> None:
    world = World(interruptible())
    run = world.start("p")
    world.post(run, "ring", {"who": "me"})
    assert thread(world, run, 1) == ThreadStatus.HALTING
    assert thread(world, run, 0) in {ThreadStatus.HALTED, ThreadStatus.HALTING}
    assert not world.is_open(run, "i"), "the child's work is let finish first"
    world.report(run, "t")
    assert thread(world, run, 1) == ThreadStatus.HALTED
    assert not world.is_open(run, "t2")
    assert world.opened(run, "i").input == {"who": "me"}
    world.report(run, "i")
    assert thread(world, run, 0) == ThreadStatus.RUNNING
    assert thread(world, run, 1) == ThreadStatus.RUNNING
    assert world.is_open(run, "t2")
    world.report(run, "t2")
    world.post(run, "go")
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_wait_that_is_halted_takes_nothing_until_it_resumes() -> None:
    world = World(interruptible("stop"))
    run = world.start("p")
    world.post(run, "ring", 1)
    assert world.is_open(run, "i")
    world.post(run, "go", "early")
    assert world.is_open(run, "w")
    assert world.head(run).held == 1
    world.tick(20_000)
    assert world.is_open(run, "w")
    world.report(run, "i")
    assert not world.is_open(run, "w"), "the time has passed, or the event is claimed, as soon as it looks again"


def test_interrupts_run_side_by_side() -> None:
    world = World(interruptible("stop"))
    run = world.start("p")
    world.post(run, "ring", 1)
    world.post(run, "ring", 2)
    mine = [row for row in world.claimable(run) if row.slot == "i"]
    assert [row.input for row in mine] == [1, 2]
    world.report(run, mine[0].n)
    assert thread(world, run, 0) == ThreadStatus.HALTED
    world.report(run, mine[1].n)
    assert thread(world, run, 0) == ThreadStatus.RUNNING


def test_an_interrupt_of_a_paused_run_and_a_resume_in_between() -> None:
    world = World(interruptible("stop"))
    run = world.start("p")
    world.do(run, Pause())
    world.post(run, "ring", 1)
    world.do(run, Resume())
    if world.is_open(run, "i"):
        world.report(run, "i")
    world.report(run, "t")
    world.report(run, "t2")
    world.post(run, "go")
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_an_interrupt_that_fails_fails_the_thread() -> None:
    world = World(interruptible("stop"))
    run = world.start("p")
    world.post(run, "ring", 1)
    world.report(run, "i", status=FAILED, reason="bad ring")
    assert world.status(run) == RunStatus.FAILED
    assert world.reason(run) == "bad ring"


def test_what_is_cancelled_by_a_halt_is_entered_anew() -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).work("a", "b", on_halt="cancel").work("b").work("i")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring")
    assert world.ended(run, "a").status == StepStatus.CANCELED
    world.report(run, "i")
    assert world.opened(run, "a").n > 1
    world.report(run, "a")
    assert world.is_open(run, "b")


def test_terminate_while_threads_are_halted() -> None:
    world = World(interruptible())
    run = world.start("p")
    world.post(run, "ring", 1)
    world.do(run, Terminate(reason="x"))
    assert world.status(run) == RunStatus.TERMINATED
    assert all(ThreadStatus(t.status).ended for t in world.rows(run).threads.values() if t.no)


def test_what_happens_during_a_pause_is_seen_after_it() -> None:
    graph = Graph().body("", go=False).fork("f", "x", "y", "k", "t", "j")
    graph.wait("x", on_event("e")).wait("y", when(lambda c: c.var("go"), "$go")).wait("k", on_event("e", key="7"))
    graph.wait("t", after(1_000)).join("j", "x", "y", "k", "t")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    world.post(run, "e", 1)
    world.do(run, SetVars(changes={"go": True}))
    world.tick(1_000)
    assert world.status(run) == RunStatus.PAUSED
    world.do(run, Resume())
    assert [slot for slot in "xykt" if world.is_open(run, slot)] == ["k"]
    world.announce("e", "7")
    assert world.status(run) == RunStatus.COMPLETED


# ---- L5: events held and claimed


def test_an_event_before_its_wait_is_held_and_claimed_oldest_first() -> None:
    graph = (
        Graph().work("a", "w1").wait("w1", on_event("e"), to="w2").wait("w2", on_event("e"), to="z").work("z", input=out("w2"))
    )
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "e", "late", posted=200)
    world.post(run, "e", "early", posted=100)
    world.post(run, "other", "not this")
    assert world.head(run).held == 3
    world.report(run, "a")
    assert world.ended(run, "w1").output == "early"
    assert world.opened(run, "z").input == "late"
    assert world.head(run).held == 1


def test_one_event_is_claimed_by_one_wait() -> None:
    graph = Graph().fork("f", "x", "y", "j").wait("x", on_event("e")).wait("y", on_event("e")).join("j", "x", "y")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "e", 1)
    assert world.is_open(run, "x") != world.is_open(run, "y")
    world.post(run, "e", 2)
    assert world.status(run) == RunStatus.COMPLETED


def test_events_for_a_thread() -> None:
    graph = (
        Graph()
        .fork("f", "c", "w", "j")
        .call("c", thread="t")
        .wait("w", on_event("e"))
        .join("j", "c", "w")
        .wait("t", on_event("e"))
    )
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "e", "for one", thread=1)
    assert world.is_open(run, "w")
    assert not world.is_open(run, "t")
    world.post(run, "e", "for two", thread=2)
    assert world.is_open(run, "w")
    world.post(run, "e", "for zero", thread=0)
    assert world.ended(run, "w").output == "for zero"


def test_a_held_report_is_claimed_when_its_slot_opens() -> None:
    graph = Graph().work("a", "b").work("b", "c").work("c", input=out("b"))
    world = World(graph.build())
    run = world.start("p")
    assert world.refuse(run, Report(slot="b", output=1)).code == "no step"
    world.do(run, Report(slot="b", output={"early": True}, hold=1_000))
    assert world.head(run).held == 1
    assert world.refuse(run, Report(slot="zz", hold=1_000)).code == "no step"
    world.report(run, "a")
    assert world.opened(run, "c").input == {"early": True}
    assert world.head(run).held == 0


def test_a_held_failure_is_claimed_too() -> None:
    world = World(Graph().work("a", "w").wait("w", outside(), on_failure=(Rule("edge", to="x"),)).work("x").build())
    run = world.start("p")
    world.do(run, Report(slot="w", status=FAILED, reason="no", hold=1_000))
    world.report(run, "a")
    assert world.is_open(run, "x")


def test_what_is_held_is_bounded() -> None:
    world = World(Graph().work("a").build(), thorough=False, both=False)
    run = world.start("p")
    for _ in range(1_000):
        world.post(run, "e")
    assert world.refuse(run, EventArrived(id=5_000, name="e")).code == "busy"


# ---- L7: joins on threads


def group(**more: Any) -> Graph:
    graph = Graph().call("a", thread="t", awaits="nothing", to="b").call("b", thread="t", awaits="nothing", to="j")
    graph.join("j", threads=look(lambda c: [1, 2]), to="z", **more).work("z").work("t", "e", input=var("INPUT"))
    return graph.end("e", output=out("t"))


def works(world: World, run: int, slot: str = "t") -> list[int]:
    return [row.n for row in world.claimable(run) if row.slot == slot]


def test_a_join_waits_for_threads() -> None:
    world = World(group().build())
    run = world.start("p")
    first, second = works(world, run)
    world.report(run, second, "second")
    assert world.is_open(run, "j")
    world.report(run, first, "first")
    assert world.is_open(run, "z")
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize("losers", ["leave", "halt"])
def test_the_first_thread_may_be_enough(losers: str) -> None:
    world = World(group(rule="first", losers=losers).build())
    run = world.start("p")
    first, second = works(world, run)
    world.report(run, second)
    assert world.is_open(run, "z")
    assert (first in works(world, run)) == (losers == "leave")
    world.report(run, "z")
    if losers == "leave":
        world.report(run, first)
    assert world.status(run) == RunStatus.COMPLETED


def test_a_failed_thread_fails_the_join_is_forgiven_or_handled() -> None:
    for rules, ends in ((), "failed"), ((Rule("continue"),), "z"), ((Rule("body", to="h"),), "h"):
        world = World(group(per_thread=rules).work("h").build())
        run = world.start("p")
        first, second = works(world, run)
        world.report(run, first, status=FAILED, reason="thread one")
        if ends == "failed":
            assert world.status(run) == RunStatus.FAILED
            continue
        assert world.is_open(run, "j")
        if ends == "h":
            assert works(world, run, "h")
            world.report(run, "h")
        world.report(run, second)
        assert world.is_open(run, "z")
        world.report(run, "z")
        assert world.status(run) == RunStatus.COMPLETED


def test_threads_that_have_ended_before_the_join_opens() -> None:
    graph = (
        Graph()
        .call("a", thread="t", awaits="nothing", to="w")
        .work("w", "j")
        .join("j", threads=look(lambda c: [1]), to="z")
        .work("z")
    )
    world = World(graph.work("t").build())
    run = world.start("p")
    world.report(run, "t")
    world.report(run, "w")
    assert world.is_open(run, "z")


def test_a_parallel_scope_runs_a_thread_an_item() -> None:
    graph = Graph().scope("s", "t", "z", items=look(lambda c: c.input), parallel=True).work("t", input=var("INPUT")).work("z")
    world = World(graph.build())
    run = world.start("p", ["a", "b", "c"])
    assert [row.input for row in world.claimable(run)] == ["a", "b", "c"]
    for n in reversed(works(world, run)):
        assert world.is_open(run, "s")
        world.report(run, n)
    assert world.is_open(run, "z")
    run = world.start("p", [])
    assert world.is_open(run, "z")


def test_a_failed_item_fails_the_parallel_scope() -> None:
    graph = (
        Graph()
        .scope("s", "t", "z", items=look(lambda c: c.input), parallel=True, on_failure=(Rule("continue"),))
        .work("t")
        .work("z")
    )
    world = World(graph.build())
    run = world.start("p", [1, 2, 3])
    first, *_ = works(world, run)
    world.report(run, first, status=FAILED, reason="item")
    assert world.is_open(run, "z")
    assert not works(world, run)


def test_a_scope_with_a_thread_of_its_own() -> None:
    graph = Graph().body("", v=1).scope("s", "t", "z", thread=True, items=look(lambda c: [10, 20])).work("z")
    graph.body("t", mine=0).assign("t", "u", mine=var("INPUT")).work("u", input=var("mine"))
    world = World(graph.build())
    run = world.start("p")
    for value in (10, 20):
        assert world.opened(run, "u").input == value
        world.report(run, "u")
    assert world.is_open(run, "z")


# ---- L9: keyed waits


def keyed(name: str = "p") -> Process:
    graph = Graph(name).wait("w", on_event("paid", key=look(lambda c: c.input["order"])), after(50_000, "late"), to="z")
    return graph.work("z", input=out("w")).work("late").build()


def test_an_event_of_a_key_reaches_every_run_that_waits_for_it() -> None:
    world = World(keyed())
    runs = [world.start("p", {"order": key}) for key in ("1", "1", "2")]
    assert world.announce("paid", "1", {"sum": 5}) == 2
    assert [world.is_open(run, "z") for run in runs] == [True, True, False]
    assert world.opened(runs[0], "z").input == {"sum": 5}
    world.tick(50_000)
    assert world.is_open(runs[2], "late")
    assert world.announce("paid", "2") == 0


def test_an_event_of_a_key_that_nobody_waits_for_yet_is_claimed_by_the_wait_that_opens() -> None:
    world = World(keyed())
    assert world.announce("paid", "7", "early") == 0
    run = world.start("p", {"order": "7"})
    assert world.opened(run, "z").input == "early"
    assert not world.held
    other = world.start("p", {"order": "7"})
    assert world.is_open(other, "w")


def test_a_keyed_event_that_comes_too_late_is_refused() -> None:
    world = World(keyed())
    run = world.start("p", {"order": "1"})
    world.announce("paid", "1")
    assert world.refuse(run, EventArrived(id=99, name="paid", key="1")).code == "no step"


def test_an_event_reaches_the_wait_with_its_key_only() -> None:
    graph = (
        Graph().fork("f", "x", "y", "j").wait("x", on_event("e", key="1")).wait("y", on_event("e", key="2")).join("j", "x", "y")
    )
    world = World(graph.build())
    run = world.start("p")
    world.announce("e", "2", "two")
    assert world.is_open(run, "x")
    assert world.ended(run, "y").output == "two"
    world.announce("e", "1", "one")
    assert world.status(run) == RunStatus.COMPLETED


# ---- L12, and threads with conditions


def test_a_condition_in_a_thread_sees_variables_above() -> None:
    graph = Graph().body("", go=False).fork("f", "c", "w", "j").call("c", thread="t").work("w").join("j", "c", "w")
    graph.wait("t", when(lambda c: c.var("go"), "$go", to="u")).work("u")
    world = World(graph.build())
    run = world.start("p")
    assert world.is_open(run, "t")
    world.do(run, SetVars(changes={"go": True}))
    assert world.is_open(run, "u")


def above(least: int) -> Callable[[Any], bool]:
    return lambda scene: bool(scene.var("n") > least)


def test_conditions_that_make_one_another_true() -> None:
    graph = Graph().body("", n=0).fork("f", "a", "b", "c", "j")
    for index, slot in enumerate("abc"):
        arm = when(above(index), "$n", n=look(lambda c: c.var("n") + 1, "$n"))
        graph.wait(slot, arm)
    graph.join("j", "a", "b", "c")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, SetVars(changes={"n": 1}))
    assert world.status(run) == RunStatus.COMPLETED
    assert world.var(run, "n") == 4


def test_two_threads_in_the_same_wait_both_look_at_a_condition() -> None:
    graph = (
        Graph().body("", go=False).call("a", thread="t", awaits="nothing", to="b").call("b", thread="t", awaits="nothing", to="e")
    )
    graph.end("e", threads=True).wait("t", when(lambda c: c.var("go"), "$go"))
    world = World(graph.build())
    run = world.start("p")
    world.do(run, SetVars(changes={"go": True}))
    assert world.status(run) == RunStatus.COMPLETED


def test_held_rows_know_where_they_came_from() -> None:
    world = World(Graph().work("a").build())
    run = world.start("p")
    world.post(run, "e", {"x": 1})
    ((owner, row),) = world.held.values()
    assert owner == run
    assert isinstance(row, Hold)
    assert (row.name, row.body, row.source) == ("e", {"x": 1}, "1")
