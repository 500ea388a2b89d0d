"""Failures of threads: handlers that fail or are no longer wanted, threads that cannot start, ways on that fail, and failures as
values that are looked at later."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, after, edge, look, on_event, outside, var
from tests.kernel.world import World

from pelton.kernel.expressions.base import ExpressionError
from pelton.kernel.model.process import Retry, Rule
from pelton.kernel.model.signals import Pause, Resume, Rewind, SetVars
from pelton.kernel.model.state import Failure, RunStatus, StepStatus, ThreadStatus

FAILED = int(StepStatus.FAILED)
POOR = Failure("poor", "business", "none left", {"missing": 2})
TO_H = (Rule("body", to="h"),)
CAUGHT = (Rule("edge", to="caught"),)


def offered(world: World, run: int) -> list[str]:
    return sorted(row.slot for row in world.claimable(run))


def live(world: World, run: int) -> list[int]:
    return sorted(no for no, thread in world.rows(run).threads.items() if no and not ThreadStatus(thread.status).ended)


def odd(scene: Any) -> Any:
    """A value that cannot be evaluated for what is odd."""
    if scene.var("INPUT") % 2:
        raise ExpressionError(f"{scene.var('INPUT')} is odd")
    return scene.var("INPUT")


def broken(scene: Any) -> Any:
    raise ExpressionError("broken")


# ---- handlers that fail


def caught(*, inner: str = "a", thread: bool = False, **more: Any) -> Graph:
    """A scope around `a`, whose failure `h` handles; the scope's own failure leads to `caught`."""
    graph = Graph().call("c", thread="s", to="after") if thread else Graph()
    graph.scope("s", inner, "z", again=look(lambda c: False), on_failure=CAUGHT, **more)
    return graph.work("a", on_failure=TO_H).work("h").work("caught").work("z").work("after")


@pytest.mark.parametrize("thread", [False, True])
def test_the_failure_of_a_handler_is_caught_by_the_scope_of_the_failed_step(thread: bool) -> None:
    world = World(caught(thread=thread).build())
    run = world.start("p")
    world.report(run, "a", status=FAILED, failure=POOR)
    assert offered(world, run) == ["h"]
    world.report(run, "h", status=FAILED, failure=Failure("worse", "business", "no", {"x": 1}))
    assert offered(world, run) == ["caught"]
    step = world.ended(run, "s")
    assert (step.failure, step.kind, step.content) == ("worse", "business", {"x": 1})
    world.report(run, "caught")
    if thread:
        world.report(run, "after")
    assert world.status(run) == RunStatus.COMPLETED


def test_the_failure_of_a_handler_is_caught_while_others_of_the_thread_go_on() -> None:
    graph = Graph().fork("f", "s", "b", "j").work("b").join("j", "s", "b")
    graph.scope("s", "a", "z", again=look(lambda c: False), on_failure=CAUGHT).work("a", on_failure=TO_H).work("h")
    world = World(graph.work("caught").work("z").build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    world.report(run, "b")
    assert offered(world, run) == ["h"]
    world.report(run, "h", status=FAILED)
    assert offered(world, run) == ["caught"]
    assert ThreadStatus(world.rows(run).threads[0].status) == ThreadStatus.RUNNING
    world.report(run, "caught")
    assert world.status(run) == RunStatus.COMPLETED


def test_the_failure_of_a_handler_of_a_paused_run_is_caught_after_the_pause() -> None:
    world = World(caught().build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    world.do(run, Pause())
    world.report(run, "h", status=FAILED)
    assert offered(world, run) == []
    world.do(run, Resume())
    assert offered(world, run) == ["caught"]


def test_a_handler_goes_with_the_scope_that_fails_meanwhile() -> None:
    graph = caught(inner="f").fork("f", "a", "b").work("b")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    assert offered(world, run) == ["b"]
    world.report(run, "b", status=FAILED)
    assert offered(world, run) == ["caught"]
    assert live(world, run) == []
    world.report(run, "caught")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_handler_in_an_inner_scope_goes_with_the_outer_one() -> None:
    graph = (
        caught(inner="f").fork("f", "o", "b").work("b").scope("o", "x", again=look(lambda c: False)).work("x", on_failure=TO_H)
    )
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "x", status=FAILED)
    world.report(run, "b", status=FAILED)
    assert offered(world, run) == ["caught"]
    assert live(world, run) == []


def test_two_handlers_of_which_one_fails() -> None:
    graph = caught(inner="f").fork("f", "a", "b").work("b", on_failure=TO_H)
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    world.report(run, "b", status=FAILED)
    assert offered(world, run) == ["h", "h"]
    world.report(run, world.claimable(run)[1].n, status=FAILED)
    assert offered(world, run) == ["caught"]
    assert live(world, run) == []


def test_a_handler_that_fails_outside_of_scopes_fails_its_thread() -> None:
    graph = Graph().call("c", thread="a", to="z", on_failure=CAUGHT).work("a", on_failure=TO_H).work("h").work("caught").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    world.report(run, "h", status=FAILED)
    assert offered(world, run) == ["caught"]


# ---- threads that cannot start


def test_a_thread_whose_variables_cannot_be_evaluated_is_the_failure_of_its_call() -> None:
    graph = (
        Graph().call("c", thread="t", to="e", input=look(lambda c: 1), on_failure=(Rule("edge", to="e"),)).body("t", x=look(odd))
    )
    world = World(graph.end("e", threads=True).work("t").build())
    run = world.start("p")
    assert world.status(run) == RunStatus.COMPLETED
    assert world.rows(run).threads.keys() <= {0}


@pytest.mark.parametrize("action", ["continue", "edge", "body"])
@pytest.mark.parametrize("kind", ["parallel", "thread"])
def test_threads_of_the_items_before_go_with_one_that_cannot_start(kind: str, action: Any) -> None:
    rules = (Rule(action, to="" if action == "continue" else "h"),)
    graph = Graph().scope("s", "t", "e", items=look(lambda c: [0, 2, 3, 4]), on_failure=rules, **{kind: True})
    graph.body("t", x=look(odd)).work("t").work("h", "e").end("e", threads=True)
    world = World(graph.build())
    run = world.start("p")
    if kind == "thread":
        world.report(run, "t")
        world.report(run, "t")
    assert "t" not in offered(world, run)
    for n in [row.n for row in world.claimable(run)]:
        world.report(run, n)
    assert world.status(run) == RunStatus.COMPLETED
    assert live(world, run) == []


def test_a_thread_that_an_arm_cannot_start_is_the_failure_of_its_wait() -> None:
    graph = Graph().wait("w", on_event("e", stays=True, body="t"), outside(), on_failure=CAUGHT).body("t", x=look(odd)).work("t")
    world = World(graph.work("caught").build())
    run = world.start("p")
    world.post(run, "e", 2)
    assert offered(world, run) == ["t"]
    world.post(run, "e", 3)
    assert offered(world, run) == ["caught", "t"]


def test_an_interrupt_that_cannot_start_fails_the_thread_that_it_was_for() -> None:
    graph = Graph().call("c", thread="t", on_failure=CAUGHT).body("t", interrupts=[("ring", "i")]).work("t").work("caught")
    world = World(graph.body("i", x=look(odd)).work("i").build())
    run = world.start("p")
    world.post(run, "ring", 1)
    assert offered(world, run) == ["caught"]


def test_a_handler_that_cannot_start_is_a_handler_that_fails() -> None:
    world = World(caught().body("h", x=look(broken)).build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    assert offered(world, run) == ["caught"]
    assert live(world, run) == []


# ---- ways on that fail


@pytest.mark.parametrize("what", ["guard", "assignment"])
@pytest.mark.parametrize(("action", "opens"), [("edge", ["h"]), ("body", ["h"]), ("continue", ["z"]), ("defer", [])])
def test_a_way_on_that_fails_is_the_failure_of_the_step(what: str, action: Any, opens: list[str]) -> None:
    way = edge("z", v=look(broken)) if what == "assignment" else edge("z", look(broken))
    rules = (Rule(action, names=frozenset({"expression"}), to="h" if action in {"edge", "body"} else ""),)
    world = World(Graph().work("a", way, on_failure=rules).work("h").work("z").build())
    run = world.start("p")
    world.report(run, "a", "done")
    if what == "guard" and action == "continue":
        assert world.status(run) == RunStatus.FAILED, "without a way there is nothing to go on to"
        return
    assert offered(world, run) == opens
    step = world.ended(run, "a")
    assert step.failure == "expression"
    assert step.output == "done"
    assert not StepStatus(step.status).successful or action == "continue"


# ---- steps that cannot be tried again in place


@pytest.mark.parametrize("kind", ["call", "scope", "assign", "join"])
def test_a_step_that_no_worker_holds_is_entered_anew_for_another_attempt(kind: str) -> None:
    retry = Retry(1, as_new_step=False)
    more: dict[str, Any] = {"retry": retry, "on_failure": CAUGHT}
    graph = Graph().work("caught").work("t")
    if kind == "call":
        graph.call("s", thread="t", **more)
    elif kind == "scope":
        graph.scope("s", "t", again=look(lambda c: False), **more)
    elif kind == "join":
        graph.call("s0", thread="t", awaits="nothing", to="s").join("s", threads=look(lambda c: [1]), **more)
    else:
        graph.wait("w", on_event("go"), to="s").fail("s", Failure("x", "technical", "x", None, True), **more)
    graph.entry = {"join": "s0", "assign": "w"}.get(kind, "s")
    world = World(graph.build())
    run = world.start("p")
    if kind == "assign":
        world.post(run, "go")
    for _ in range(2):
        if "t" in offered(world, run):
            world.report(run, "t", status=FAILED)
    assert offered(world, run) == ["caught"]


# ---- failures that are looked at later

BY_KIND = (Rule("body", names=frozenset({"poor"}), kinds=frozenset({"business"}), to="k"),)


def later(kind: str) -> Graph:
    """`a` fails with POOR, which is deferred; what owns it fails with that at its end, and `k` handles it."""
    graph = Graph()
    if kind == "scope":
        graph.scope("s", "a", "z", again=look(lambda c: False), on_failure=BY_KIND)
    else:
        graph.call("s", thread="a", to="z", on_failure=BY_KIND)
    return graph.work("a", "b", on_failure=(Rule("defer"),)).work("b").work("k", input=var("INPUT")).work("z")


@pytest.mark.parametrize("kind", ["scope", "thread"])
def test_a_deferred_failure_is_still_known_by_name_kind_and_content(kind: str) -> None:
    world = World(later(kind).build())
    run = world.start("p")
    world.report(run, "a", status=FAILED, failure=POOR)
    world.report(run, "b")
    assert world.opened(run, "k").input == {"missing": 2}
    step = world.ended(run, "s")
    assert (step.failure, step.kind, step.content, step.reason) == ("poor", "business", {"missing": 2}, "none left")


def test_a_deferred_failure_of_a_run_ends_it_with_its_kind_and_content() -> None:
    seen = []

    def reason(scene: Any, step: Any, failure: Failure, status: int) -> str:
        seen.append(failure)
        return failure.message

    graph = Graph(failed_reason=reason).work("a", "b", on_failure=(Rule("defer"),)).work("b")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED, failure=POOR)
    world.report(run, "b")
    assert world.status(run) == RunStatus.FAILED
    assert [(each.name, each.kind, each.content) for each in seen][-1] == ("poor", "business", {"missing": 2})


def test_a_forgiven_step_and_a_failed_attempt_keep_their_failure() -> None:
    graph = Graph().work("a", "b", retry=Retry(1), on_failure=(Rule("continue"),)).work("b")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=FAILED, failure=POOR)
    first = world.ended(run, "a") if not world.is_open(run, "a") else world.rows(run).ended[1]
    assert (first.failure, first.kind, first.content) == ("poor", "business", {"missing": 2})
    world.report(run, "a", status=FAILED, failure=POOR)
    step = world.ended(run, "a")
    assert step.status == StepStatus.COMPLETED_WITH_ERRORS
    assert (step.failure, step.kind, step.content) == ("poor", "business", {"missing": 2})


def test_a_handler_of_an_expired_step_sees_the_kind() -> None:
    rules = (Rule("edge", kinds=frozenset({"timed out"}), to="caught"),)
    graph = Graph().call("c", thread="w", on_failure=rules).wait("w", after(1_000, to="x")).work("caught")
    graph.fail("x", Failure("slow", "timed out", "too slow"))
    world = World(graph.build())
    run = world.start("p")
    world.tick(1_000)
    assert offered(world, run) == ["caught"]
    assert world.rows(run).threads[1].kind == "timed out"


# ---- handlers of failed threads that are run again


def gathered(world: World, run: int, *outcomes: str) -> list[int]:
    """Fails all threads, and then ends their handlers so. The numbers of the handlers' steps."""
    for row in world.claimable(run):
        world.report(run, row.n, status=FAILED, failure=POOR)
    handlers = sorted(world.claimable(run), key=lambda row: row.n)
    for row, outcome in zip(handlers, outcomes, strict=False):
        world.now += 1
        world.report(run, row.n, status=FAILED if outcome == "fails" else int(StepStatus.COMPLETED))
    return [row.n for row in handlers]


def group(count: int = 2, **more: Any) -> World:
    """So many threads with the work `t`, and a join `j` with `h` as handler of those that fail, before the work `z`."""
    graph = Graph()
    for index in range(count):
        graph.call(f"c{index}", thread="t", awaits="nothing", to=f"c{index + 1}" if index + 1 < count else "j")
    graph.work("t").work("h", "i").work("i").work("z")
    more = {"per_thread": TO_H, "threads": look(lambda c: list(range(1, count + 1))), "to": "z", **more}
    return World(graph.join("j", **more).build())


def again(world: World, run: int, n: int) -> None:
    world.do(run, Rewind(to="step", n=n))
    row = world.rows(run).open[n]
    assert world.rows(run).threads[row.thread].status == ThreadStatus.RUNNING


def all_well(world: World, run: int) -> list[str]:
    """Does all work that is offered; what that was."""
    done: list[str] = []
    while found := world.claimable(run):
        done.append(found[0].slot)
        world.report(run, found[0].n)
    return done


@pytest.mark.parametrize("slot", ["h", "i"])
def test_a_rerun_in_the_handler_of_a_failed_thread_goes_on_in_that_handler(slot: str) -> None:
    world = group(1)
    run = world.start("p")
    (n,) = gathered(world, run, "well")
    assert all_well(world, run) == ["i", "z"]
    join = world.ended(run, "j").n
    again(world, run, n if slot == "h" else world.ended(run, "i").n)
    assert offered(world, run) == [slot]
    assert live(world, run) == [2]
    assert world.is_open(run, "j")
    assert all_well(world, run) == (["h", "i", "z"] if slot == "h" else ["i", "z"])
    assert world.ended(run, "j").n == join
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rerun_in_a_handler_counts_those_that_had_ended_and_starts_those_anew_that_it_takes_back() -> None:
    world = group(3)
    run = world.start("p")
    numbers = gathered(world, run, "well", "well", "well")
    all_well(world, run)
    again(world, run, numbers[1])
    assert offered(world, run) == ["h", "h", "i"]
    assert sorted(world.rows(run).threads[no].handled for no in live(world, run)) == [1, 2, 3]
    assert sorted(all_well(world, run)) == ["h", "h", "i", "i", "i", "z"]
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rerun_in_a_handler_counts_those_that_had_ended_well() -> None:
    world = group(2, per_thread=(Rule("body", to="i"),))
    run = world.start("p")
    numbers = gathered(world, run, "well", "well")
    all_well(world, run)
    again(world, run, numbers[1])
    assert all_well(world, run) == ["i", "z"]
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rerun_in_a_handler_tries_those_again_that_failed() -> None:
    world = group(2, per_thread=(Rule("body", to="i"),))
    run = world.start("p")
    numbers = gathered(world, run, "fails")
    assert world.status(run) == RunStatus.FAILED
    again(world, run, numbers[1])
    assert all_well(world, run) == ["i", "i", "z"]
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rerun_in_a_handler_that_failed_does_not_try_its_thread_again() -> None:
    world = group()
    run = world.start("p")
    numbers = gathered(world, run, "fails")
    assert world.status(run) == RunStatus.FAILED
    again(world, run, numbers[0])
    assert 1 not in live(world, run)
    all_well(world, run)
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rerun_in_a_handler_that_lost_lets_the_join_decide_again() -> None:
    world = group(rule="any")
    run = world.start("p")
    first, second = sorted(world.claimable(run), key=lambda row: row.n)
    world.report(run, first.n, status=FAILED, failure=POOR)
    world.now += 1
    world.report(run, second.n)
    assert offered(world, run) == ["z"]
    world.report(run, "z")
    lost = world.ended(run, "h").n
    world.do(run, Rewind(to="step", n=lost))
    assert offered(world, run) == ["z"]
    assert world.ended(run, "h").n == lost
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rerun_in_a_handler_whose_join_can_no_longer_tell_its_threads_fails_the_join() -> None:
    world = group(1, threads=look(lambda c: [1] if c.var("x") is None else broken(c)))
    run = world.start("p")
    (n,) = gathered(world, run, "well")
    world.do(run, SetVars(changes={"x": 1}))
    all_well(world, run)
    world.do(run, Rewind(to="step", n=n))
    assert (world.status(run), live(world, run)) == (RunStatus.FAILED, [])


@pytest.mark.parametrize("kind", ["failure", "interrupt"])
@pytest.mark.parametrize("awaits", ["end", "nothing"])
@pytest.mark.parametrize("target", ["h", "i", "beside"])
def test_a_rerun_in_a_handler_of_a_thread_that_has_ended_well_goes_on_in_both(kind: str, awaits: Any, target: str) -> None:
    """`beside`: what is run again is outside, and takes the second step of the handler back."""
    graph = Graph().fork("f", "c", "v").call("c", thread="t", awaits=awaits).work("v", "w").work("w")
    graph.work("t", on_failure=TO_H).work("h", "i").work("i").body("t", interrupts=(("ring", "h"),))
    world = World(graph.build())
    run = world.start("p")
    if kind == "failure":
        world.report(run, "t", status=FAILED)
    else:
        world.post(run, "ring")
        world.report(run, "t")
    world.report(run, "v")
    world.report(run, "h")
    assert sorted(all_well(world, run)) == ["i", "w"]
    assert world.status(run) == RunStatus.COMPLETED
    world.now += 1
    world.do(run, Rewind(to="step", n=world.ended(run, "w" if target == "beside" else target).n))
    assert live(world, run) == [1, 2]
    assert world.is_open(run, "c") == (awaits == "end")
    done = sorted(all_well(world, run))
    assert done == {"h": ["h", "i", "w"], "i": ["i"], "beside": ["i", "w"]}[target]
    assert world.status(run) == RunStatus.COMPLETED
