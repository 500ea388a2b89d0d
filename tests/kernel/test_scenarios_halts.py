"""Halts: who stands still, when a halted thread is at rest, and what goes on when the halt ends."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, after, edge, look, on_event, out, var, when
from tests.kernel.world import World

from pelton.errors import Code
from pelton.kernel.expressions.base import ExpressionError
from pelton.kernel.model.process import Limit, Limits, Process, Retry, Rule
from pelton.kernel.model.signals import Pause, Resume, SetVars
from pelton.kernel.model.state import Failure, RunStatus, StepStatus, ThreadStatus

FAILED = int(StepStatus.FAILED)


def status(world: World, run: int, no: int) -> ThreadStatus:
    return ThreadStatus(world.rows(run).threads[no].status)


def offered(world: World, run: int) -> list[str]:
    return sorted(row.slot for row in world.claimable(run))


def numbers(world: World, run: int, slot: str) -> list[int]:
    return [row.n for row in world.claimable(run) if row.slot == slot]


# ---- handlers in what is paused


def handling(kind: str) -> Graph:
    """A run in which thread 0 (or, "child", a join on thread 1) has a handler `h`."""
    if kind == "interrupt":
        return Graph().body("", interrupts=[("ring", "h")]).work("a", "b").work("b").work("h")
    if kind == "failure":
        return Graph().work("a", "b", on_failure=(Rule("body", to="h"),)).work("b").work("h")
    graph = Graph().call("c", thread="a", awaits="nothing", to="j").work("a").work("h").work("b")
    return graph.join("j", threads=look(lambda c: [1]), to="b", per_thread=(Rule("body", to="h"),))


def trouble(world: World, run: int, kind: str) -> None:
    if kind == "interrupt":
        world.post(run, "ring")
        world.report(run, "a")
    else:
        world.report(run, "a", status=FAILED)


@pytest.mark.parametrize("kind", ["interrupt", "failure", "child"])
def test_a_handler_stands_still_while_the_run_is_paused(kind: str) -> None:
    world = World(handling(kind).build())
    run = world.start("p")
    world.do(run, Pause())
    trouble(world, run, kind)
    assert offered(world, run) == []
    world.do(run, Resume())
    assert offered(world, run) == ["h"]
    world.do(run, Pause())
    world.do(run, Resume())
    world.report(run, "h")
    world.report(run, "b")
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize("kind", ["interrupt", "failure", "child"])
def test_a_pause_halts_a_handler_that_runs(kind: str) -> None:
    world = World(handling(kind).work("h2").build())
    run = world.start("p")
    trouble(world, run, kind)
    assert offered(world, run) == ["h"]
    world.do(run, Pause())
    handler = world.opened(run, "h").thread
    assert status(world, run, handler) == ThreadStatus.HALTING
    world.report(run, "h")
    assert offered(world, run) == []
    world.do(run, Resume())
    assert offered(world, run) == ["b"]
    world.report(run, "b")
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize("kind", ["interrupt", "failure"])
def test_a_handler_stands_still_while_its_thread_is_paused(kind: str) -> None:
    graph = Graph().fork("f", "c", "other", "j").call("c", thread="t").work("other").join("j", "c", "other")
    rules = (Rule("body", to="h"),) if kind == "failure" else ()
    graph.body("t", interrupts=[("ring", "h")]).work("t", on_failure=rules).work("h")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause(thread=1))
    if kind == "interrupt":
        world.post(run, "ring")
        world.report(run, "t")
    else:
        world.report(run, "t", status=FAILED)
    assert offered(world, run) == ["other"]
    world.do(run, Resume(thread=1))
    assert offered(world, run) == ["h", "other"]
    world.report(run, "h")
    world.report(run, "other")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_thread_that_starts_in_a_halted_one_stands_still() -> None:
    """A staying arm whose time comes during a pause starts its thread, which waits for the end of the pause."""
    world = World(Graph().wait("w", after(1_000, stays=True, body="t"), on_event("go")).work("t").build())
    run = world.start("p")
    world.do(run, Pause())
    world.tick(1_000)
    assert offered(world, run) == []
    world.do(run, Resume())
    assert offered(world, run) == ["t"]


def test_an_interrupt_of_a_child_waits_for_that_of_its_parent() -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).call("c", thread="t").work("i")
    graph.body("t", interrupts=[("alarm", "k")]).wait("t", on_event("go")).work("k")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring")
    world.post(run, "alarm")
    assert offered(world, run) == ["i"]
    world.report(run, "i")
    assert offered(world, run) == ["k"]
    world.report(run, "k")
    world.post(run, "go")
    assert world.status(run) == RunStatus.COMPLETED


# ---- at rest


def test_a_call_of_a_thread_stands_still_when_its_thread_does() -> None:
    graph = (
        Graph().body("", interrupts=[("ring", "i")]).call("c", thread="t", to="z").work("z").wait("t", on_event("go")).work("i")
    )
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring")
    assert offered(world, run) == ["i"]
    world.report(run, "i")
    world.post(run, "go")
    assert offered(world, run) == ["z"]


def test_a_handler_of_a_failure_waits_for_the_thread_of_a_call_beside_it() -> None:
    graph = Graph().fork("f", "a", "c", "j").work("a", on_failure=(Rule("body", to="h"),)).call("c", thread="t")
    graph.join("j", "a", "c").work("t", "u").work("u").work("h")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    assert offered(world, run) == ["t"]
    world.report(run, "t")
    assert offered(world, run) == ["h"]
    world.report(run, "h")
    world.report(run, "u")
    assert world.status(run) == RunStatus.COMPLETED


def test_an_attempt_that_follows_in_a_halting_thread_does_not_hold_it_up() -> None:
    graph = Graph().fork("f", "a", "c", "j").work("a", on_failure=(Rule("body", to="h"),)).work("c", retry=Retry(1))
    world = World(graph.join("j", "a", "c").work("h").build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    world.report(run, "c", status=FAILED)
    assert offered(world, run) == ["h"]
    world.report(run, "h")
    world.report(run, "c")
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize("end", ["completes", "fails", "times out", "is handled by an edge", "is deferred"])
def test_whatever_end_comes_to_what_is_let_finish_the_handler_begins(end: str) -> None:
    rules = {"is handled by an edge": (Rule("edge", to="y"),), "is deferred": (Rule("defer"),)}.get(end, ())
    limits = Limits(total=Limit(1_000, "fail"))
    graph = Graph().body("", interrupts=[("ring", "i")]).call("s", thread="t", awaits="nothing", to="w").wait("w", on_event("go"))
    graph.work("t", on_failure=rules, limits=limits).work("y").work("i")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring")
    assert offered(world, run) == ["t"]
    if end == "times out":
        world.tick(1_000)
    else:
        world.report(run, "t", status=FAILED if end != "completes" else int(StepStatus.COMPLETED))
    assert offered(world, run) == ["i"]
    world.report(run, "i")
    for n in numbers(world, run, "y"):
        world.report(run, n)
    world.post(run, "go")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_handler_waits_for_grandchildren_and_their_handlers() -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).call("c", thread="t").work("i")
    graph.call("t", thread="u").body("u", interrupts=[("alarm", "k")]).wait("u", on_event("go")).work("k")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "alarm")
    assert offered(world, run) == ["k"]
    world.post(run, "ring")
    assert offered(world, run) == ["k"], "the work of the inner handler is let finish first"
    world.report(run, "k")
    assert offered(world, run) == ["i"]
    world.report(run, "i")
    world.post(run, "go")
    assert world.status(run) == RunStatus.COMPLETED


# ---- what a halt cancels


def cancelled(kind: str) -> Process:
    graph = Graph().body("", interrupts=[("ring", "i")]).work("i").work("z")
    more: dict[str, Any] = {"on_halt": "cancel"}
    if kind == "loop":
        graph.scope("s", "o", "z", again=look(lambda c: False), **more).scope("o", "f", again=look(lambda c: False))
        graph.fork("f", "a", "b", "j").work("a").call("b", thread="t", awaits="end").join("j", "a", "b").work("t")
    elif kind == "call":
        graph.call("s", thread="a", to="z", **more).fork("a", "x", "y").work("x").work("y")
    else:
        graph.scope("s", "a", "z", items=look(lambda c: [1, 2]), **{kind: True}, **more).work("a")
    graph.entry = "s"
    return Graph.build(graph)


@pytest.mark.parametrize("kind", ["loop", "call", "parallel", "thread"])
def test_what_a_halt_cancels_goes_with_all_that_is_inside_and_is_entered_anew(kind: str) -> None:
    graph = cancelled(kind)
    world = World(graph)
    run = world.start("p")
    before = offered(world, run)
    first = world.opened(run, "s").n
    world.post(run, "ring")
    assert world.rows(run).ended[first].status == StepStatus.CANCELED
    assert offered(world, run) == ["i"]
    world.report(run, "i")
    assert offered(world, run) == before
    while "z" not in offered(world, run):
        world.report(run, world.claimable(run)[0].n)
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize("early", [False, True])
def test_a_join_does_not_count_a_step_that_a_halt_cancelled(early: bool) -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).fork("f", "a", "b", *(["j"] if early else [])).work("i").work("z")
    graph.work("a", on_halt="cancel").work("b", "" if early else "j").join("j", "a", "b", to="z")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring")
    world.report(run, "b")
    world.report(run, "i")
    assert offered(world, run) == ["a"]
    assert world.is_open(run, "j")
    world.report(run, "a")
    assert offered(world, run) == ["z"]


@pytest.mark.parametrize("deep", [False, True])
def test_the_handler_of_a_failure_does_not_begin_the_scope_anew_that_it_belongs_to(deep: bool) -> None:
    again = look(lambda c: False)
    graph = Graph().scope("s", "o" if deep else "a", "z", again=again, on_halt="cancel").scope("o", "a", again=again)
    graph.work("a", on_failure=(Rule("body", to="h"),)).work("h").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    assert offered(world, run) == ["h"]
    world.report(run, "h")
    assert offered(world, run) == ["z"]


def test_what_a_halt_cancels_takes_the_handler_with_it_that_the_halt_was_for() -> None:
    """A failure in one scope halts the thread; an interrupt at the same time cancels that scope, handler included."""
    graph = Graph().body("", interrupts=[("ring", "i")]).scope("s", "t", "z", again=look(lambda c: False), on_halt="cancel")
    graph.work("t", "a").work("a", on_failure=(Rule("body", to="h"),)).work("h").work("i").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring")
    assert offered(world, run) == ["i"]
    world.report(run, "i")
    world.report(run, "t")
    world.report(run, "a", status=FAILED)
    world.post(run, "ring")
    world.do(run, Pause())
    world.do(run, Resume())
    for slot in ("h", "i"):
        world.report(run, slot)
    assert offered(world, run) == ["z"]


# ---- who is meant


def test_an_event_interrupts_each_thread_that_it_may() -> None:
    graph = Graph().call("a", thread="t", awaits="nothing", to="b").call("b", thread="t", awaits="nothing", to="c")
    graph.call("c", thread="u", awaits="nothing").body("t", interrupts=[("ring", "i")]).wait("t", on_event("go"))
    graph.wait("u", on_event("go")).work("i", input=var("INPUT"))
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring", 7)
    assert [row.input for row in world.claimable(run)] == [7, 7]
    assert [status(world, run, no) for no in (1, 2, 3)] == [ThreadStatus.HALTED, ThreadStatus.HALTED, ThreadStatus.RUNNING]
    for n in numbers(world, run, "i"):
        world.report(run, n)
    world.post(run, "ring", 8, thread=2)
    assert [(row.thread, world.rows(run).threads[row.thread].parent) for row in world.claimable(run)] == [(6, 2)]


def test_an_event_interrupts_the_root_and_its_child_one_after_the_other() -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).call("c", thread="t").work("i")
    graph.body("t", interrupts=[("ring", "k")]).wait("t", on_event("go")).work("k")
    world = World(graph.build())
    run = world.start("p")
    world.post(run, "ring")
    assert offered(world, run) == ["i"]
    world.report(run, "i")
    assert offered(world, run) == ["k"]
    world.report(run, "k")
    world.post(run, "go")
    assert world.status(run) == RunStatus.COMPLETED


def test_an_event_for_a_thread_that_has_ended_interrupts_nothing() -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).call("c", thread="t", awaits="nothing", to="w").wait("w", on_event("go"))
    graph.body("t", interrupts=[("ring", "i")]).work("t").work("i")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "t")
    world.post(run, "ring", thread=1)
    assert offered(world, run) == []
    assert world.head(run).held == 1


@pytest.mark.parametrize("signal", [Pause, Resume, lambda thread: SetVars(thread=thread, changes={"x": 1})])
def test_a_thread_that_is_not_there_or_has_ended_is_refused(signal: Any) -> None:
    graph = Graph().call("c", thread="t", awaits="nothing", to="a").work("a").work("t")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "t")
    for no in (99, -1):
        answer = world.refuse(run, signal(thread=no))
        assert (answer.code, answer.detail) == (Code.NOT_FOUND, f"the run has no thread {no}")
    answer = world.refuse(run, signal(thread=1))
    assert (answer.code, answer.detail) == (Code.ENDED, "thread 1 has ended (completed)")


# ---- threads whose parent has ended


def test_a_thread_whose_parent_has_ended_is_halted_with_the_run_and_sees_what_it_saw() -> None:
    graph = Graph().call("c", thread="t", awaits="nothing", to="w").wait("w", on_event("go"))
    graph.body("t", mine=1).call("t", thread="u", awaits="nothing")
    graph.assign("u", "v", mine=look(lambda c: c.var("mine") + 1, "$mine")).work("v", "x").work("x", input=var("mine"))
    world = World(graph.build())
    run = world.start("p")
    assert status(world, run, 1) == ThreadStatus.COMPLETED
    world.do(run, Pause())
    world.report(run, "v")
    assert offered(world, run) == []
    world.do(run, Resume())
    assert world.opened(run, "x").input == 2
    assert world.var(run, "mine", 1) == 2
    world.post(run, "go")
    world.report(run, "x")
    assert world.status(run) == RunStatus.COMPLETED


def test_an_end_waits_for_threads_whose_parent_has_ended() -> None:
    graph = Graph().call("c", thread="t", awaits="nothing", to="e").end("e", threads=True)
    graph.call("t", thread="u", awaits="nothing").work("u")
    world = World(graph.build())
    run = world.start("p")
    assert world.is_open(run, "e")
    world.report(run, "u")
    assert not world.is_open(run, "e")
    assert world.status(run) == RunStatus.COMPLETED


# ---- what goes on when the halt ends


def test_a_wait_that_cannot_be_armed_again_fails_and_not_the_resume() -> None:
    def deadline(scene: Any) -> Any:
        if scene.var("bad"):
            raise ExpressionError("bad time")
        return False

    graph = Graph().body("", bad=False).wait("w", when(deadline, "$nothing"), on_event("go"), on_failure=(Rule("edge", to="y"),))
    world = World(graph.work("y").build())
    run = world.start("p")
    world.do(run, Pause())
    world.do(run, SetVars(changes={"bad": True}))
    world.do(run, Resume())
    assert offered(world, run) == ["y"]


def test_a_way_on_that_fails_after_a_halt_is_the_failure_of_the_step() -> None:
    def broken(scene: Any) -> Any:
        raise ExpressionError("bad way")

    graph = Graph().work("a", edge("b", v=look(broken)), on_failure=(Rule("edge", to="y"),)).work("b").work("y")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    world.report(run, "a")
    world.do(run, Resume())
    assert offered(world, run) == ["y"]


# ---- many threads


def wide(count: int) -> Process:
    """So many threads, of which each waits for a condition on a variable of its own."""
    graph = Graph().body("", interrupts=[("ring", "i")]).scope("s", "t", items=look(lambda c: list(range(count))), parallel=True)
    graph.body("t", own=look(lambda c: 0)).wait("t", when(lambda c: c.var("own") == 7, "$own"), on_event("go")).work("i")
    return graph.build()


@pytest.mark.parametrize("signal", ["pause", "resume", "interrupt", "interrupt ends"])
def test_many_threads_are_halted_and_resumed_in_as_few_rounds_as_few_threads(signal: str) -> None:
    rounds = []
    for count in (3, 60):
        world = World(wide(count), thorough=False, both=False)
        run = world.start("p")
        if signal in {"pause", "resume"}:
            world.do(run, Pause())
        else:
            world.post(run, "ring")
        if signal == "resume":
            world.do(run, Resume())
        if signal == "interrupt ends":
            world.report(run, "i")
        rounds.append(world.costs[-1].rounds)
    assert rounds[1] <= rounds[0] + 1, rounds  # a narrow run is read whole


def test_the_end_of_a_step_in_a_halting_thread_reads_as_much_whatever_the_width() -> None:
    reads = []
    for count in (5, 50):
        graph = Graph().fork("f", *(f"a{index}" for index in range(count)))
        for index in range(count):
            graph.work(f"a{index}")
        world = World(graph.build(), thorough=False, both=False)
        run = world.start("p")
        world.do(run, Pause())
        world.report(run, "a1")
        reads.append((world.costs[-1].read, world.costs[-1].written))
    assert max(reads[1]) <= max(reads[0]), reads  # a narrow run is read whole


def test_an_output_of_a_thread_reaches_its_caller_after_a_halt() -> None:
    graph = Graph().call("c", thread="t", to="z").work("z", input=out("c")).work("t", "e").end("e", output=out("t"))
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    world.report(run, "t", "done")
    world.do(run, Resume())
    assert world.opened(run, "z").input == "done"


def test_a_failure_in_a_halting_child_that_its_call_handles() -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).call("c", thread="t", to="z", on_failure=(Rule("edge", to="y"),))
    world = World(graph.work("t").work("i").work("y").work("z").build())
    run = world.start("p")
    world.post(run, "ring")
    world.report(run, "t", status=FAILED, failure=Failure("x", "business", "no"))
    assert offered(world, run) == ["i"]
    world.report(run, "i")
    assert offered(world, run) == ["y"]
