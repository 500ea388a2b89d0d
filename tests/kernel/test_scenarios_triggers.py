"""Waits whose arms are triggers, timers that stay, merges, and the kernel's part in what runs do to one another."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, after, look, on_event, on_merge, on_trigger, out, outside, var
from tests.kernel.world import World

from pelton.kernel.model.process import Limit, Limits, Process
from pelton.kernel.model.reads import RunKey
from pelton.kernel.model.signals import ChildReplied, Continue, Merge, Report, SetVars, Terminate, Trigger
from pelton.kernel.model.state import Run, RunStatus, StepStatus
from pelton.kernel.model.transition import Transition


def ticket() -> Process:
    """open → (assign) → doing → (finish, when done >= 100) → closed."""

    def complaint(scene: Any) -> str | None:
        return None if scene.var("owner") else "an owner is required"

    graph = Graph().body("", owner=None, done=0)
    graph.wait("open", on_trigger("assign", "doing", checks=[look(complaint, "$owner")]), on_trigger("drop", "closed"))
    graph.wait(
        "doing",
        on_trigger("finish", "closed", guard=look(lambda c: c.var("done") >= 100, "$done")),
        on_trigger("finish", "open", guard=look(lambda c: c.var("done") < 0, "$done")),
        on_trigger("log", stays=True, logged=look(lambda c: c.var("done"), "$done")),
    )
    return graph.end("closed").build()


# ---- S1, S2


def test_a_trigger_takes_the_first_arm_whose_guard_holds_on_the_changed_variables() -> None:
    world = World(ticket())
    run = world.start("p")
    world.do(run, Trigger(name="assign", changes={"owner": "ann"}))
    assert world.trail(run) == ["open", "doing"]
    refused = world.refuse(run, Trigger(name="finish", changes={"done": 50}))
    assert refused.code == "guard"
    assert [line["arm"] for line in refused.trace] == [0, 1]
    assert world.var(run, "done") == 0, "nothing of a refused trigger is kept"
    world.do(run, Trigger(name="finish", changes={"done": -1}))
    assert world.is_open(run, "open")
    world.do(run, Trigger(name="assign"))
    world.do(run, Trigger(name="finish", changes={"done": 100}))
    assert world.status(run) == RunStatus.COMPLETED
    assert world.refuse(run, Trigger(name="finish")).code == "ended"


def test_a_trigger_that_no_arm_knows_is_refused_with_the_place() -> None:
    world = World(ticket())
    run = world.start("p")
    refused = world.refuse(run, Trigger(name="finish"))
    assert refused.code == "guard"
    assert "'finish'" in refused.detail
    assert "'open'" in refused.detail


def test_checks_refuse_with_their_text() -> None:
    world = World(ticket())
    run = world.start("p")
    refused = world.refuse(run, Trigger(name="assign"))
    assert refused.trace == [{"arm": 0, "check": "an owner is required"}]


def test_an_arm_that_stays_changes_variables_and_the_wait_stays() -> None:
    world = World(ticket())
    run = world.start("p")
    world.do(run, Trigger(name="assign", changes={"owner": "ann"}))
    n = world.opened(run, "doing").n
    for done in (10, 20):
        world.do(run, Trigger(name="log", changes={"done": done}))
        assert world.var(run, "logged") == done
        assert world.opened(run, "doing").n == n


def test_a_tolerant_trigger_that_is_refused_leaves_a_note_and_a_revision() -> None:
    world = World(ticket())
    run = world.start("p")
    before = world.head(run).rev
    world.do(run, Trigger(name="finish", changes={"done": 1}, strict=False))
    assert world.head(run).rev == before + 1
    assert world.notes[-1][1].code == "guard"
    assert world.var(run, "done") == 0


# ---- S3: guards over other runs


def test_a_guard_that_looks_at_the_children() -> None:
    def all_ended(scene: Any) -> bool:
        heads: list[Run | None] = []
        for slot in ("c1", "c2"):
            row = scene.newest(slot)
            heads.append(scene.draft.reads.answer(RunKey(row.output)))
        return all(head is not None and RunStatus(head.status).ended for head in heads)

    graph = Graph().call("c1", "child", "c2", awaits="nothing").call("c2", "child", "w", awaits="nothing")
    graph.wait("w", on_trigger("finish", guard=look(all_ended, "c1", "c2")))
    world = World(graph.build(), Graph("child").work("a").build())
    run = world.start("p")
    children = [key for key in world.runs if key != run]
    assert len(children) == 2
    for child in children:
        assert world.refuse(run, Trigger(name="finish")).code == "guard"
        world.report(child, "a")
    world.do(run, Trigger(name="finish"))
    assert world.status(run) == RunStatus.COMPLETED


# ---- M6: timers that stay


def test_a_reminder_repeats_while_the_wait_stays() -> None:
    graph = Graph().body("", reminders=0)
    graph.wait(
        "w",
        outside("z"),
        after(1_000, every=500, stays=True, reminders=look(lambda c: c.var("reminders") + 1, "$reminders")),
        after(10_000, "late"),
    )
    graph.work("z").work("late")
    world = World(graph.build())
    run, other = world.start("p"), world.start("p")
    world.tick(999)
    assert world.var(run, "reminders") == 0
    world.tick(1_001)
    assert world.var(run, "reminders") == 3
    world.report(run, "w")
    assert world.is_open(run, "z")
    world.tick(8_000)
    assert world.var(run, "reminders") == 3
    assert world.is_open(other, "late")
    assert world.var(other, "reminders") in {18, 19}
    assert world.tick(100_000) == 0


def test_a_reminder_runs_a_thread_each_time() -> None:
    graph = Graph().wait("w", outside("z"), after(1_000, every=1_000, stays=True, body="r")).work("r").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.tick(3_000)
    assert len([row for row in world.claimable(run) if row.slot == "r"]) == 3
    world.report(run, "w")
    for row in world.claimable(run):
        world.report(run, row.n)
    assert world.status(run) == RunStatus.COMPLETED


def test_a_reminder_without_repetition_comes_once() -> None:
    graph = Graph().body("", n=0).wait("w", outside(), after(1_000, stays=True, n=look(lambda c: c.var("n") + 1, "$n")))
    world = World(graph.build())
    run = world.start("p")
    world.tick(100_000)
    assert world.var(run, "n") == 1
    assert world.is_open(run, "w")


def test_an_event_arm_that_stays_takes_all_that_was_held() -> None:
    graph = Graph().body("", n=0).work("a", "w")
    graph.wait("w", on_event("tick", stays=True, n=look(lambda c: c.var("n") + 1, "$n")), outside())
    world = World(graph.build())
    run = world.start("p")
    for _ in range(3):
        world.post(run, "tick")
    world.report(run, "a")
    assert world.var(run, "n") == 3
    world.post(run, "tick")
    assert world.var(run, "n") == 4
    assert not world.held


# ---- P2, P3


def test_a_merge_changes_data_wherever_the_run_is_and_may_release_a_wait() -> None:
    graph = (
        Graph().body("", paid=0).work("a", "w").wait("w", on_merge("z", condition=look(lambda c: c.var("paid") >= 10, "$paid")))
    )
    graph.work("z", input=var("paid"))
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Merge(changes={"paid": 3}))
    assert world.var(run, "paid") == 3
    world.report(run, "a")
    world.do(run, Merge(changes={"paid": 7}))
    assert world.is_open(run, "w")
    world.do(run, Merge(changes={"paid": 11, "more": True}))
    assert world.opened(run, "z").input == 11
    assert world.var(run, "more") is True


def test_set_vars_may_append() -> None:
    world = World(Graph().body("", log=[]).work("a").build())
    run = world.start("p")
    world.do(run, SetVars(changes={"log": [1]}, append=True))
    world.do(run, SetVars(changes={"log": [2, 3]}, append=True))
    assert world.var(run, "log") == [1, 2, 3]
    world.do(run, SetVars(changes={"log": []}))
    assert world.var(run, "log") == []


def test_a_time_limit_takes_an_edge_and_a_late_result_is_ignored() -> None:
    graph = Graph().work("a", "z", limits=Limits(queue=Limit(1_000, "edge", to="up"), total=Limit(5_000, "edge", to="up")))
    graph.work("up").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.claim(run, "a")
    world.tick(5_000)
    assert world.is_open(run, "up")
    assert world.ended(run, "a").status == StepStatus.TIMED_OUT
    world.do(run, Report(n=1, strict=False))
    assert world.trail(run) == ["a", "up"]


# ---- M7 .. M9, the kernel's part


def test_a_call_may_await_the_reply_only() -> None:
    graph = Graph().call("c", "child", "z", awaits="reply").work("z", input=out("c"))
    world = World(graph.build(), Graph("child").work("a").build())
    run = world.start("p")
    (child,) = world.children(run)
    n = world.opened(run, "c").n
    world.do(run, ChildReplied(n=n, child=child, output="pong"))
    assert world.opened(run, "z").input == "pong"
    world.do(run, ChildReplied(n=n, child=child, output="again"))
    world.report(child, "a")
    assert world.is_open(run, "z")


def test_effects_on_other_runs_may_come_later_than_everything_else() -> None:
    """Children that end in a commit of their own give the same as those that end at once."""
    graph = Graph().fork("f", "c1", "c2", "j").call("c1", "child").call("c2", "child").join("j", "c1", "c2", to="z").work("z")
    ends = []
    for fold in (False, True):
        world = World(graph.build(), Graph("child").assign("a", v=1, output=5).build())
        world.folding = fold
        run = world.start("p")
        world.folding = False
        world.settle()
        assert world.is_open(run, "z")
        ends.append([world.ended(run, slot).output for slot in ("c1", "c2")])
    assert ends[0] == ends[1] == [5, 5]


def test_continue_to_a_run_that_has_nothing_parked_changes_nothing() -> None:
    world = World(Graph().work("a").build())
    run = world.start("p")
    before = world.rows(run).open.copy()
    answer = world.send(run, Continue())
    assert isinstance(answer, Transition)
    assert world.rows(run).open == before
    world.do(run, Terminate())
    world.do(run, Continue())
    assert world.status(run) == RunStatus.TERMINATED


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1_500])
def test_a_fork_of_synchronous_branches_of_any_width(size: int) -> None:
    slots = [f"t{i}" for i in range(size)]
    graph = Graph().fork("f", *slots, "j")
    for slot in slots:
        graph.assign(slot, v=1)
    graph.join("j", *slots, to="z").work("z")
    world = World(graph.build(), thorough=size < 600)
    run = world.start("p")
    assert world.is_open(run, "z")
    assert all(cost.written < 5 * 512 for cost in world.costs)


def test_many_tokens_that_parked_all_go_on() -> None:
    from pelton.kernel.model.signals import Pause, Resume

    slots = [f"t{i}" for i in range(700)]
    graph = Graph().fork("f", *slots, "j")
    for slot in slots:
        graph.work(slot, slot + "b", queue="q").assign(slot + "b", v=1)
    graph.join("j", *(slot + "b" for slot in slots), to="z").work("z")
    world = World(graph.build(), thorough=False)
    run = world.start("p")
    world.do(run, Pause())
    for row in world.claimable(run):
        world.send(run, Report(n=row.n))
    world.do(run, Resume())
    world.settle()
    assert world.is_open(run, "z")
