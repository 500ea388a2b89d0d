"""What came before anything could take it, or while what waits for it was halted: kept, found among many, and taken once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, look, on_event, on_merge, outside
from tests.kernel.world import World

from pelton.errors import Code
from pelton.kernel.model.process import Rule
from pelton.kernel.model.signals import ChildReplied, EventArrived, Merge, Pause, Report, Resume, SetVars
from pelton.kernel.model.state import Failure, RunStatus, StepStatus
from pelton.kernel.model.transition import Transition

ONCE = look(lambda c: (c.var("n") or 0) + 1, "$n")


def keyed(n: int = 1, body: Any = None, **more: Any) -> EventArrived:
    return EventArrived(id=n, name="e", key="7", body=body, **more)


# ---- many held


@pytest.mark.parametrize("others", [99, 100, 250])
def test_the_event_for_a_wait_is_found_behind_any_number_that_are_for_others(others: int) -> None:
    graph = Graph().work("a", "w").wait("w", on_event("e", "z")).work("z", input=look(lambda c: c.value))
    world = World(graph.build(), thorough=False)
    run = world.start("p")
    for index in range(others):
        world.post(run, "e", index, thread=5)
        world.now += 1
    world.post(run, "other", "no")
    world.post(run, "e", "mine")
    world.report(run, "a")
    assert world.ended(run, "w").output == "mine"
    assert len(world.held) == others + 1


def test_an_arm_that_stays_takes_all_that_is_held_in_order_however_many() -> None:
    graph = Graph().body("", n=0, log=[]).work("a", "w")
    graph.wait("w", outside(), on_event("e", stays=True, log=look(lambda c: [*c.var("log"), c.value], "$log")))
    world = World(graph.build(), thorough=False)
    world.most_rounds = 30
    run = world.start("p")
    for index in range(230):
        world.post(run, "e", index, posted=1_000_000 - index // 2)
    world.report(run, "a")
    assert world.var(run, "log") == sorted(range(230), key=lambda index: (-(index // 2), index))
    assert not world.held


def test_a_report_for_an_iteration_is_found_behind_any_number_for_others() -> None:
    graph = Graph().work("a", "s").scope("s", "b", again=look(lambda c: False)).work("b")
    world = World(graph.build(), thorough=False)
    run = world.start("p")
    for it in [*range(2, 152), 1]:
        world.do(run, Report(slot="b", it=it, output=it, hold=10_000))
    world.report(run, "a")
    assert world.ended(run, "b").output == 1


def test_a_held_report_that_the_step_refuses_does_not_keep_the_step_from_opening() -> None:
    world = World(Graph().work("a", "b").work("b", "c").work("c").build())
    run = world.start("p")
    world.do(run, Report(slot="b", attempt=3, hold=10_000))
    world.do(run, Report(slot="b", output="good", hold=10_000))
    world.report(run, "a")
    assert world.ended(run, "b").output == "good"
    assert [fact.data["reason"][:9] for _, fact in world.announced if fact.type == "report.refused"] == ["attempt 3"]
    assert not world.held


# ---- halted waiters


def test_a_keyed_event_for_all_is_kept_for_a_wait_that_is_halted_and_claimed_when_it_resumes() -> None:
    graph = Graph().wait("w", on_event("e", "z", key="7")).work("z")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    assert world.refuse(run, keyed()).code == Code.NO_STEP, "unless it is to be kept"
    world.do(run, keyed(1, "first", keep=True))
    world.do(run, keyed(2, "second", keep=True))
    assert world.is_open(run, "w")
    world.do(run, Resume())
    assert world.ended(run, "w").output == "first"
    assert not world.held, "what was kept for it alone goes with it"
    assert world.head(run).held == 0


def test_an_arm_that_stays_takes_all_that_was_kept_for_it() -> None:
    world = World(Graph().body("", n=0).wait("w", on_event("e", key="7", stays=True, n=ONCE), outside()).build())
    run = world.start("p")
    world.do(run, Pause())
    for number in range(3):
        world.do(run, keyed(number, keep=True))
    assert world.var(run, "n") == 0
    world.do(run, Resume())
    assert world.var(run, "n") == 3
    world.do(run, Pause())
    world.do(run, keyed(9, keep=True))
    world.report(run, "w")
    world.do(run, Resume())
    assert not world.held


def test_what_was_kept_for_one_step_is_taken_by_no_other() -> None:
    graph = (
        Graph().fork("f", "v", "w").wait("v", on_event("e", "x", key="7")).wait("w", on_event("e", "y", key="7"), on_event("e"))
    )
    world = World(graph.work("x").work("y").build())
    run = world.start("p")
    second = world.opened(run, "w").n
    world.do(run, Pause())
    world.do(run, keyed(1, keep=True, position=second))
    world.do(run, Resume())
    assert world.is_open(run, "v")
    assert world.is_open(run, "y")


def test_merged_data_is_kept_for_a_wait_that_is_halted() -> None:
    graph = (
        Graph()
        .body("", paid=0)
        .wait(
            "w",
            on_merge(
                "z",
                condition=look(lambda c: c.value.get("paid", 0) > 9),
            ),
        )
        .work("z")
    )
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    world.do(run, Merge(changes={"paid": 5, "by": "me"}))
    world.do(run, Resume())
    assert world.is_open(run, "w")
    world.do(run, Pause())
    world.do(run, Merge(changes={"paid": 12}))
    assert world.is_open(run, "w")
    world.do(run, Resume())
    assert world.is_open(run, "z")


# ---- merges that must leave, checks of reports


def test_a_merge_that_must_leave_is_refused_where_no_wait_leaves_because_of_it() -> None:
    graph = (
        Graph()
        .body("", a=0)
        .work("a", "w")
        .wait("w", on_merge("z", condition=look(lambda c: c.value["a"] > 1)), on_merge(stays=True))
    )
    world = World(graph.work("z").build())
    run = world.start("p")
    for each in (1, 2):
        assert world.refuse(run, Merge(changes={"a": each}, must_leave=True)).code == Code.GUARD
    world.report(run, "a")
    assert world.refuse(run, Merge(changes={"a": 1}, must_leave=True)).code == Code.GUARD, "an arm that stays does not count"
    assert world.var(run, "a") == 0
    world.do(run, Pause())
    assert world.refuse(run, Merge(changes={"a": 2}, must_leave=True)).code == Code.GUARD, "nor does a halted wait"
    world.do(run, Resume())
    noted = world.do(run, Merge(changes={"a": 0}, must_leave=True, strict=False))
    assert [type(effect).__name__ for effect in noted.effects] == ["Note"]
    world.do(run, Merge(changes={"a": 2}, must_leave=True))
    assert world.is_open(run, "z")


def test_a_report_from_outside_is_refused_with_the_text_of_the_check_and_changes_nothing() -> None:
    def check(scene: Any) -> str | None:
        ok = scene.value.get("ok") if isinstance(scene.value, dict) else None
        return None if ok in (True, scene.var("also")) else "say ok"

    arms = (
        outside("y", checks=[look(check, "$also"), look(lambda c: None)], got=look(lambda c: c.value)),
        outside("z", checks=[look(lambda c: None if c.value == 5 else "or 5")]),
    )
    world = World(Graph().body("", also="maybe").wait("w", *arms).work("y").work("z").build())
    run, other = world.start("p"), world.start("p")
    refused = world.refuse(run, Report(n=1, output={}))
    assert (refused.code, refused.detail) == (Code.GUARD, "say ok; or 5")
    assert refused.trace == [{"check": "say ok"}, {"check": "or 5"}]
    answer = world.do(run, Report(n=1, output={}, strict=False))
    assert [effect.detail for effect in answer.effects] == ["say ok; or 5"]  # type: ignore[union-attr]
    assert world.opened(run, "w").updated == 1_000_000
    world.do(run, SetVars(changes={"also": "yes"}))
    world.do(run, Report(n=1, output={"ok": "yes"}))
    assert world.is_open(run, "y")
    world.do(
        other,
        Report(
            n=1,
            output=5,
        ),
    )
    assert world.is_open(other, "z"), "the first arm that nothing refuses"


# ---- calls that await a reply


def caller(**more: Any) -> World:
    graph = Graph().call("c", "child", "z", awaits="reply", on_failure=(Rule("edge", to="bad"),), **more).work("z").work("bad")
    return World(graph.build(), Graph("child").work("a").build())


@pytest.mark.parametrize("how", ["completed", "failed", "terminated"])
def test_the_end_of_a_child_alone_is_no_reply(how: str) -> None:
    for silent in ("fail", "wait"):
        world = caller(silent=silent)
        run = world.start("p")
        (child,) = world.children(run)
        status = {"completed": 1, "failed": int(StepStatus.FAILED), "terminated": int(StepStatus.CANCELED)}[how]
        world.report(child, "a", status=status, reason="broken" if status > 1 else "")
        assert RunStatus(world.head(child).status).ended
        if silent == "wait":
            assert world.is_open(run, "c"), "it waits for its own limit"
            continue
        assert world.is_open(run, "bad")
        assert ("without having replied" if how == "completed" else "broken") in world.ended(run, "c").reason


def test_a_reply_may_be_a_failure() -> None:
    world = caller()
    run, other = world.start("p"), world.start("p")
    (child,) = world.children(run)
    failure = Failure("refused", "business", "no such customer", {"code": 7}, False)
    world.do(run, ChildReplied(n=1, child=child, output={"sum": 0}, failure=failure))
    assert world.is_open(run, "bad")
    step = world.ended(run, "c")
    assert (step.failure, step.reason, step.output) == ("refused", "no such customer", {"sum": 0})
    (second,) = world.children(other)
    world.do(other, ChildReplied(n=1, child=second, output=4))
    assert world.is_open(other, "z")
    world.report(second, "a")
    assert world.is_open(other, "z")
    assert isinstance(world.send(other, ChildReplied(n=1, child=second)), Transition)
