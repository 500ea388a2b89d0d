"""Times of open steps: limits and time arms, halted, delivered twice, after another version, decided by expressions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, after, at_time, look, on_event, outside, say, var
from tests.kernel.world import World

from pelton.kernel.model.process import AtTime, Limit, Limits, Retry, Rule
from pelton.kernel.model.signals import Pause, Resume, Rewind, SetVars, TimerFired, Upgrade
from pelton.kernel.model.state import RunStatus, StepStatus
from pelton.kernel.model.transition import Transition

FAILED = int(StepStatus.FAILED)
ONCE = look(lambda c: (c.var("n") or 0) + 1, "$n")


def edge_limit(after: Any = 1_000, **more: Any) -> Limit:
    return Limit(after, "edge", to="late", **more)


STANDING = ("wait", "call", "thread", "emit", "scope", "join", "work")


def standing(kind: str, limits: Limits, **more: Any) -> World:
    """A run whose first step is of a kind that stands for ever, with these limits; `late` is where they lead."""
    graph = Graph().body("", n=0)
    if kind == "wait":
        graph.wait("x", on_event("e"), limits=limits, **more)
    elif kind == "call":
        graph.call("x", "child", limits=limits, **more)
    elif kind == "thread":
        graph.call("x", thread="t", limits=limits, **more)
    elif kind == "emit":
        graph.emit("x", "sink:1", awaits="outside", limits=limits, **more)
    elif kind == "scope":
        graph.scope("x", "t", limits=limits, **more)
    elif kind == "join":
        graph.fork("f", "t", "x").join("x", "t", limits=limits, losers="halt", rule="first", **more)
    else:
        graph.work("x", limits=limits, **more)
    graph.work("t").work("late")
    return World(graph.build(), Graph("child").work("a").build())


# ---- limits of every step that stands


@pytest.mark.parametrize("kind", STANDING)
@pytest.mark.parametrize("which", ["attempt", "total"])
def test_whatever_stands_may_have_a_limit(kind: str, which: str) -> None:
    which = "total" if kind == "work" else which  # that of an attempt counts from the hand-out
    world = standing(kind, Limits(**{which: edge_limit()}))
    run = world.start("p")
    world.tick(999)
    assert not world.is_open(run, "late")
    world.tick(1)
    assert world.is_open(run, "late")
    step = world.ended(run, "x")
    assert step.status == StepStatus.TIMED_OUT
    assert "1 seconds" in step.reason


@pytest.mark.parametrize("kind", STANDING)
def test_a_limit_may_fail_the_step_or_the_run(kind: str) -> None:
    for action in ("fail", "fail run"):
        world = standing(kind, Limits(total=Limit(1_000, action, message="too slow")))
        run = world.start("p")
        world.tick(1_000)
        assert world.status(run) == RunStatus.TIMED_OUT
        assert world.reason(run) == "too slow"
        assert all(RunStatus(rows.run.status).ended for rows in world.runs.values())


@pytest.mark.parametrize("kind", STANDING)
def test_a_limit_that_is_to_be_tried_again_is_tried_again(kind: str) -> None:
    for fresh in (True, False):
        world = standing(kind, Limits(attempt=Limit(1_000, "retry")), retry=Retry(1, as_new_step=fresh))
        run = world.start("p")
        if kind == "work":
            world.claim(run, "x")
        world.tick(1_000)
        again = world.opened(run, "x")
        assert again.attempt == 1, "another attempt"
        if kind == "work":
            world.claim(run, "x")
        world.tick(999)
        assert world.status(run) == RunStatus.RUNNING
        world.tick(1)
        assert world.status(run) == RunStatus.TIMED_OUT, "the second attempt has a limit too"


@pytest.mark.parametrize("kind", STANDING)
def test_a_limit_that_is_announced_is_announced_once(kind: str) -> None:
    world = standing(kind, Limits(total=Limit(1_000, "announce")))
    run = world.start("p")
    signal = next(signal for _, _, _, signal in world.due() if signal.arm == "total")
    world.tick(1_000)
    for _ in range(2):
        world.do(run, signal)
    assert [fact.type for _, fact in world.announced].count("step.late") == 1
    assert world.is_open(run, "x")


def test_what_is_inside_a_scope_goes_when_its_time_is_over() -> None:
    graph = Graph().scope("s", "f", limits=Limits(attempt=edge_limit())).fork("f", "a", "b").scope("a", "c").work("c")
    graph.call("b", thread="t").work("t").work("late")
    world = World(graph.build())
    run = world.start("p")
    world.tick(1_000)
    assert [row.slot for row in world.rows(run).open.values()] == ["late"]
    world.report(run, "late")
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize("when_late", ["end", "leave"])
@pytest.mark.parametrize("kind", ["call", "thread"])
def test_a_call_that_is_late_ends_what_it_called_or_leaves_it_alone(kind: str, when_late: str) -> None:
    world = standing(kind, Limits(attempt=edge_limit()), when_late=when_late)
    run = world.start("p")
    world.tick(1_000)
    assert world.is_open(run, "late")
    if kind == "call":
        (child,) = world.children(run)
        assert world.status(child) == (RunStatus.TERMINATED if when_late == "end" else RunStatus.RUNNING)
        if when_late == "leave":
            world.report(child, "a")
    elif when_late == "leave":
        world.report(run, "t")
    else:
        assert world.ended(run, "t").status == StepStatus.CANCELED
    world.report(run, "late")
    assert world.status(run) == RunStatus.COMPLETED


# ---- expressions


def test_a_limit_may_be_computed_from_what_the_run_knows() -> None:
    for kind in STANDING:
        world = standing(kind, Limits(total=edge_limit(look(lambda c: c.var("ms"), "$ms"))))
        for ms, due in ((1_500, 1_500), (None, None), (2_500.9, 2_500)):
            run = world.start("p")
            # The variable is set before the step opens in a run of its own.
            world.runs.pop(run)
            process = world.definitions[1]
            body = process.bodies[process.entry]
            process.bodies[process.entry] = type(body)(body.entry, {**body.variables, "ms": say(ms)}, body.interrupts)
            run = world.start("p")
            found = [when for when, owner, _, signal in world.due() if owner == run and signal.arm == "total"]
            assert found == ([] if due is None else [world.now + due])


@pytest.mark.parametrize("wrong", ["soon", -1, True, [1], float("nan")])
@pytest.mark.parametrize("kind", STANDING)
def test_a_limit_that_is_no_number_fails_its_step_by_its_rules_before_anything_is_done(kind: str, wrong: Any) -> None:
    for limit in (Limit(say(wrong), "fail"), Limit(0, "fail", at=say(wrong))):
        world = standing(kind, Limits(total=limit), on_failure=(Rule("edge", to="late"),))
        run = world.start("p")
        assert world.is_open(run, "late")
        assert "time limit of 'x'" in world.ended(run, "x").reason
        assert not world.children(run)
        assert not world.sent


def test_a_limit_may_be_an_instant() -> None:
    for kind in STANDING:
        for which in ("attempt", "total"):
            world = standing(kind, Limits(**{which: Limit(0, "edge", "late", "due {limit}", at=look(lambda c: c.now + 5_000))}))
            run = world.start("p")
            world.tick(4_999)
            assert not world.is_open(run, "late")
            world.tick(1)
            assert world.is_open(run, "late")
            assert world.ended(run, "x").reason == "due 5"
        world = standing(kind, Limits(total=Limit(0, "edge", "late", at=say(77))))
        run = world.start("p")
        world.tick(0)
        assert world.is_open(run, "late"), "an instant that has been is exceeded at once"


def test_idle_and_attempt_limits_of_work_may_be_computed() -> None:
    limits = Limits(idle=Limit(look(lambda c: 1_000 + c.attempt if hasattr(c, "attempt") else 1_000)), attempt=Limit(say(2_500)))
    world = World(Graph().work("x", limits=limits, retry=Retry(3)).build())
    run = world.start("p")
    row = world.claim(run, "x")
    assert (row.idle, row.limit) == (1_000, 2_500)
    world.tick(1_000)
    assert world.opened(run, "x").attempt == 1


def test_an_upgrade_does_not_change_a_limit_that_is_running() -> None:
    for kind in STANDING:
        world = standing(kind, Limits(total=edge_limit()))
        run = world.start("p")
        longer = standing(kind, Limits(total=edge_limit(9_000_000))).definitions[1]
        without = standing(kind, Limits(), on_failure=(Rule("edge", to="late"),)).definitions[1]
        for process in (longer, without):
            world.do(run, Upgrade(definition=world.define(process)))
        world.tick(1_000)
        assert world.is_open(run, "late")


@pytest.mark.parametrize("kind", ["scope", "thread"])
def test_the_limits_of_what_a_rewind_opens_again_count_from_then_on(kind: str) -> None:
    world = standing(kind, Limits(total=edge_limit()))
    run = world.start("p")
    world.tick(900)
    world.report(run, "t", status=FAILED)
    assert world.status(run) == RunStatus.FAILED
    world.tick(5_000)
    world.do(run, Rewind(to="failed"))
    world.settle()
    assert world.is_open(run, "x")
    world.tick(999)
    assert not world.is_open(run, "late")
    world.tick(1)
    assert world.is_open(run, "late")


# ---- halts


@pytest.mark.parametrize("kind", STANDING)
@pytest.mark.parametrize("on_halt", ["stop", "finish"])
def test_a_limit_stands_while_a_halt_stops_its_step_and_goes_on_with_what_was_left(kind: str, on_halt: str) -> None:
    world = standing(kind, Limits(total=edge_limit()), on_halt=on_halt)
    run = world.start("p")
    world.tick(400)
    world.do(run, Pause())
    world.tick(5_000)
    assert isinstance(world.newest(run, "x"), type(world.ended(run, "x")) if on_halt == "finish" else object)
    if on_halt == "finish":
        assert world.ended(run, "x").status == StepStatus.TIMED_OUT
        world.do(run, Resume())
        assert world.is_open(run, "late")
        return
    assert world.is_open(run, "x")
    world.do(run, Resume())
    world.tick(599)
    assert world.is_open(run, "x")
    world.do(run, Pause())
    world.tick(10)
    world.do(run, Resume())
    assert not world.is_open(run, "late")
    world.tick(1)
    assert world.is_open(run, "late")


def test_an_instant_is_moved_by_no_halt() -> None:
    graph = Graph().wait(
        "w", outside(), limits=Limits(attempt=Limit(0, "edge", "late", at=look(lambda c: c.now + 1_000))), on_halt="stop"
    )
    world = World(graph.work("late").build())
    run, other = world.start("p"), world.start("p")
    world.do(run, Pause())
    world.do(other, Pause())
    world.tick(500)
    world.do(other, Resume())
    world.tick(499)
    assert world.is_open(other, "w")
    world.tick(1)
    assert world.is_open(other, "late")
    world.tick(5_000)
    world.do(run, Resume())
    world.tick(0)
    assert world.is_open(run, "late")


@pytest.mark.parametrize("limit", [Limits(idle=Limit(1_000, "fail")), Limits(attempt=Limit(1_000, "fail"))])
def test_a_lease_stands_too_while_a_halt_stops_its_step(limit: Limits) -> None:
    world = World(Graph().work("x", limits=limit, on_halt="stop").build())
    run = world.start("p")
    world.claim(run, "x")
    world.tick(400)
    world.do(run, Pause())
    over = next(signal for _, _, _, signal in world.due())
    world.now += 5_000
    world.do(run, over)
    assert world.is_open(run, "x")
    world.do(run, Resume())
    world.do(run, over)
    assert world.is_open(run, "x"), "the firing of before the halt says nothing"
    world.tick(599)
    assert world.is_open(run, "x")
    world.tick(1)
    assert world.status(run) == RunStatus.TIMED_OUT


def stopped_lease(limits: Limits, **more: Any) -> tuple[World, int]:
    """Work whose lease and limit came while its thread was halted, 400 ms after it was handed out."""
    world = World(Graph().work("x", limits=limits, on_halt="stop", **more).build())
    run = world.start("p")
    world.claim(run, "x")
    world.tick(400)
    world.do(run, Pause())
    world.tick(5_000)
    return world, run


LEASES = [
    Limits(idle=Limit(1_000, "fail")),
    Limits(attempt=Limit(1_000, "fail")),
    Limits(idle=Limit(1_000, "fail"), attempt=Limit(1_500, "fail")),
    Limits(idle=Limit(1_500, "fail"), attempt=Limit(1_000, "fail")),
]


@pytest.mark.parametrize("limits", LEASES)
@pytest.mark.parametrize("halts", [1, 3])
def test_a_lease_that_ends_while_its_step_is_halted_is_looked_at_no_more_and_goes_on_with_what_was_left(
    limits: Limits, halts: int
) -> None:
    world, run = stopped_lease(limits)
    for _ in range(halts - 1):
        assert world.due() == [] or world.due()[0][0] > 1 << 60, "nobody looks at it again"
        world.do(run, Resume())
        world.do(run, Pause())
        world.tick(5_000)
    assert all(due > 1 << 60 for due, *_ in world.due())
    world.do(run, Resume())
    world.tick(599)
    assert world.is_open(run, "x")
    world.tick(1)
    assert world.status(run) == RunStatus.TIMED_OUT


@pytest.mark.parametrize("limits", LEASES)
def test_a_lease_that_ended_while_its_step_was_halted_takes_reports_and_signs_of_life(limits: Limits) -> None:
    world, run = stopped_lease(limits)
    world.extend(run, world.opened(run, "x").n)
    world.do(run, Resume())
    world.report(run, "x", output="done")
    assert world.status(run) == RunStatus.COMPLETED


def test_an_attempt_after_a_lease_that_ended_in_a_halt_has_its_limit_as_it_was_decided() -> None:
    world, run = stopped_lease(Limits(attempt=Limit(1_000, "retry")), retry=Retry(3, as_new_step=False))
    world.report(run, "x", status=FAILED)
    world.do(run, Resume())
    row = world.claim(run, "x")
    assert row.started + row.limit == world.now + 1_000
    world.tick(999)
    assert world.opened(run, "x").attempt == 1
    world.tick(1)
    assert world.opened(run, "x").attempt == 2


def test_the_queue_limit_stands_while_a_halt_stops_its_step_and_begins_anew_with_an_attempt_in_the_same_step() -> None:
    limits = Limits(queue=Limit(1_000, "fail", message="not taken"))
    world = World(Graph().work("x", limits=limits, on_halt="stop", retry=Retry(1, as_new_step=False, delay=200)).build())
    run = world.start("p")
    world.tick(900)
    world.do(run, Pause())
    world.tick(900)
    world.do(run, Resume())
    world.tick(99)
    world.claim(run, "x")
    world.report(run, "x", status=FAILED)
    world.tick(1_199)
    assert world.is_open(run, "x")
    world.tick(1)
    assert world.reason(run) == "not taken"


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("time", ["limit", "arm"])
def test_a_time_that_comes_while_a_wait_is_halted_loses_to_an_event_that_is_there(time: str, keyed: bool) -> None:
    limits = Limits(attempt=edge_limit()) if time == "limit" else Limits()
    arms = [on_event("e", "z", key="7" if keyed else None), *([] if time == "limit" else [after(1_000, "late")])]
    world = World(Graph().wait("w", *arms, limits=limits).work("z").work("late").build())
    run, empty = world.start("p"), world.start("p")
    for each in (run, empty):
        world.do(each, Pause())
    world.tick(500)
    if keyed:
        world.do(run, event("e", key="7", keep=True))
    else:
        world.post(run, "e")
    world.tick(5_000)
    assert world.is_open(run, "w")
    assert not world.is_open(empty, "w"), "where nothing is there, time goes on"
    world.do(run, Resume())
    assert world.is_open(run, "z")
    assert not world.held


def test_a_limit_that_left_it_to_an_event_is_due_when_another_step_has_taken_that() -> None:
    graph = Graph().fork("f", "w", "t").wait("w", on_event("e", "z"), limits=Limits(attempt=edge_limit()))
    graph.call("t", thread="v", awaits="nothing").wait("v", on_event("e", "y")).work("y").work("z").work("late")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    world.post(run, "e")
    world.tick(1_000)
    assert world.is_open(run, "w")
    world.do(run, Resume())
    taken = [slot for slot in ("y", "z") if world.is_open(run, slot)]
    assert len(taken) == 1
    world.tick(0)
    assert world.is_open(run, "late") == (taken == ["y"])


# ---- attempts of a wait in the same step


@pytest.mark.parametrize("delay", [0, 300])
def test_a_wait_that_is_tried_again_in_the_same_step_arms_all_of_it_again(delay: int) -> None:
    graph = Graph().body("", n=0)
    arms = (outside(), on_event("k", "z", key=look(lambda c: "1")), after(700, stays=True, n=ONCE))
    graph.wait("w", *arms, limits=Limits(attempt=Limit(1_000, "fail")), retry=Retry(2, as_new_step=False, delay=delay)).work("z")
    world = World(graph.build())
    run, other = world.start("p"), world.start("p")
    world.tick(800)
    assert world.var(run, "n") == 1
    for each in (run, other):
        world.report(each, "w", status=FAILED)
        assert world.opened(each, "w").attempt == 1
    if delay:
        assert not world.rows(other).keys, "between attempts nothing is waited for"
        world.post(other, "k")  # nobody's
        world.tick(delay)
    assert world.rows(other).keys
    world.tick(700)
    assert world.var(run, "n") == 2
    world.announce("k", "1")
    assert world.is_open(run, "z")
    assert world.is_open(other, "z")
    late = world.start("p")
    world.report(late, "w", status=FAILED)
    world.tick(delay + 999)
    assert world.status(late) == RunStatus.RUNNING
    world.tick(1)
    assert world.status(late) == RunStatus.TIMED_OUT


def test_an_attempt_that_is_due_while_the_thread_is_halted_begins_when_it_resumes() -> None:
    for on_halt, left in (("finish", 0), ("stop", 400)):
        graph = Graph().wait("w", outside(), after(1_000, "z"), retry=Retry(1, as_new_step=False, delay=500), on_halt=on_halt)
        world = World(graph.work("z").build())
        run = world.start("p")
        world.report(run, "w", status=FAILED)
        world.tick(100)
        world.do(run, Pause())
        world.tick(3_000)
        world.do(run, Resume())
        world.tick(left + 999)
        assert world.is_open(run, "w")
        world.tick(1)
        assert world.is_open(run, "z")


# ---- delivered twice


def twice(world: World, ms: int) -> None:
    """Lets time pass, and delivers every firing twice, and once more at the end."""
    until = world.now + ms
    fired: list[tuple[int, TimerFired]] = []
    while (due := world.due()) and due[0][0] <= until:
        when, run, n, signal = due[0]
        world.now = max(world.now, when)
        fired.append((run, signal))
        before = world.rows(run).timers.get((n, signal.arm))
        world.do(run, signal)
        if world.rows(run).timers.get((n, signal.arm)) == before:
            world.rows(run).timers.pop((n, signal.arm), None)
        settled = world.rows(run).snapshot()
        kept = world.rows(run).run.rev
        again = world.do(run, signal)
        assert isinstance(again, Transition)
        world.rows(run).run.rev = kept
        world.rows(run).run.updated = world.now
        assert world.rows(run).snapshot() == settled, f"{signal} counted twice"
    world.now = until
    for run, signal in fired:
        rev = world.rows(run).run.rev
        before_all = world.rows(run).snapshot()
        world.do(run, signal)
        world.rows(run).run.rev = rev
        world.rows(run).run.updated = world.now
        assert len(world.rows(run).snapshot()) == len(before_all)


def test_every_firing_counts_once_however_often_it_is_delivered() -> None:
    arms = (outside(), after(1_000, stays=True, every=500, n=ONCE), after(700, stays=True, n=ONCE, body="t"))
    waits = Graph().body("", n=0).wait("w", *arms, limits=Limits(total=Limit(900, "announce"))).work("t").build()
    works = Graph("q").work("x", limits=Limits(queue=Limit(300, "announce"), total=Limit(400, "announce"))).build()
    ends = Graph("r", deadline=Limit(800, "announce")).work("x").build()
    tries = Graph("s").wait(
        "w", outside(), limits=Limits(attempt=Limit(200, "retry")), retry=Retry(2, as_new_step=False, delay=50)
    )
    world = World(waits, works, ends, tries.build())
    run = world.start("p")
    for name in ("q", "r", "s"):
        world.start(name)
    twice(world, 3_100)
    assert world.var(run, "n") == 6, "five of the repeated one, one of the other"
    assert [fact.type for _, fact in world.announced].count("step.late") == 3
    assert [fact.type for _, fact in world.announced].count("run.late") == 1


def test_a_firing_that_is_folded_with_another_counts_once() -> None:
    world = World(Graph().body("", n=0).wait("w", outside(), after(1_000, stays=True, every=500, n=ONCE)).build())
    run = world.start("p")
    world.now += 1_000
    epoch, _ = world.rows(run).timers[1, "1"]
    world.fold(run, *(TimerFired(n=1, arm="1", epoch=epoch) for _ in range(3)))
    assert world.var(run, "n") == 1


@pytest.mark.parametrize("arm", ["idle", "limit"])
def test_a_limit_of_a_lease_that_is_announced_is_announced_once_a_hand_out(arm: str) -> None:
    limits = Limits(idle=Limit(1_000, "announce")) if arm == "idle" else Limits(attempt=Limit(1_000, "announce"))
    world = World(Graph().work("x", limits=limits).build())
    run = world.start("p")
    for polls in (1, 2):
        world.claim(run, "x")
        world.now += 1_000
        for _ in range(3):
            world.do(run, TimerFired(n=1, arm=arm, epoch=polls))
        assert [fact.type for _, fact in world.announced].count("step.late") == polls
        world.report(run, "x", status=None)


# ---- reminders and halts


@pytest.mark.parametrize("on_halt", ["stop", "finish"])
def test_a_reminder_that_was_given_is_not_given_again_after_a_halt(on_halt: str) -> None:
    graph = Graph().body("", n=0, m=0)
    arms = (
        after(1_000, stays=True, n=ONCE),
        after(2_000, stays=True, m=look(lambda c: c.var("m") + 1, "$m")),
        after(4_000, "late"),
    )
    world = World(graph.wait("w", outside(), *arms, on_halt=on_halt).work("late").build())
    run = world.start("p")
    world.tick(1_500)
    for _ in range(3):
        world.do(run, Pause())
        world.tick(100)
        world.do(run, Resume())
    assert (world.var(run, "n"), world.var(run, "m")) == (1, 0)
    world.tick(499 if on_halt == "stop" else 199)
    assert world.var(run, "m") == 0
    world.tick(1)
    assert (world.var(run, "n"), world.var(run, "m")) == (1, 1)
    world.tick(1_999)
    assert world.is_open(run, "w")
    world.tick(1)
    assert world.is_open(run, "late"), "of what is relative to now the rest counts"


def test_a_date_is_moved_by_no_halt() -> None:
    graph = Graph().wait("w", outside(), at_time(look(lambda c: c.now + 1_000), "late", fixed=True), on_halt="stop").work("late")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    world.tick(700)
    world.do(run, Resume())
    world.tick(299)
    assert world.is_open(run, "w")
    world.tick(1)
    assert world.is_open(run, "late")


def test_a_condition_that_stays_and_was_taken_is_not_taken_again_after_a_halt() -> None:
    from tests.kernel.graphs import when

    graph = Graph().body("", n=0, go=True).wait("w", outside(), when(lambda c: c.var("go"), "$go", stays=True, n=ONCE))
    world = World(graph.build())
    run = world.start("p")
    assert world.var(run, "n") == 1
    world.do(run, Pause())
    world.do(run, Resume())
    assert world.var(run, "n") == 1
    world.do(run, SetVars(changes={"go": False}))
    world.do(run, Pause())
    world.do(run, SetVars(changes={"go": True}))
    world.do(run, Resume())
    assert world.var(run, "n") == 2


def test_arms_after_a_condition_that_stays_and_holds_already_are_armed_too() -> None:
    from tests.kernel.graphs import when

    arms = (when(lambda c: True, stays=True, n=ONCE), on_event("k", "z", key="1"), after(1_000, "z"))
    world = World(Graph().body("", n=0).wait("w", *arms).work("z").build())
    run, other = world.start("p"), world.start("p")
    assert world.rows(run).keys
    world.do(run, event("k", key="1"))
    assert world.is_open(run, "z")
    world.tick(1_000)
    assert world.is_open(other, "z")


# ---- times that read variables


def test_a_time_that_reads_a_variable_moves_with_it() -> None:
    graph = Graph().body("", d=2_000_000, n=0).wait("w", outside(), at_time(var("d"), "z"), on_halt="stop").work("z")
    world = World(graph.build())
    run, past, never = (world.start("p") for _ in range(3))
    world.do(run, SetVars(changes={"d": 1_001_000}))
    world.do(past, SetVars(changes={"d": 999_000}))
    assert world.is_open(past, "z")
    world.do(never, SetVars(changes={"d": None}))
    assert not world.rows(never).timers
    world.do(run, SetVars(changes={"d": 1_001_000, "n": 5}))
    world.tick(999)
    assert world.is_open(run, "w")
    world.tick(1)
    assert world.is_open(run, "z")
    world.do(never, SetVars(changes={"d": world.now + 10}))
    world.tick(10)
    assert world.is_open(never, "z")


def test_a_reminder_whose_time_moves_is_given_at_the_new_time_and_not_again_for_the_old_one() -> None:
    arm = AtTime(at=var("d"), stays=True, assigns=at_time(0, n=ONCE).assigns)
    world = World(Graph().body("", d=1_001_000, n=0).wait("w", outside(), arm).build())
    run = world.start("p")
    world.tick(1_500)
    assert world.var(run, "n") == 1
    world.do(run, SetVars(changes={"d": 1_001_000}))
    world.tick(100)
    assert world.var(run, "n") == 1
    world.do(run, SetVars(changes={"d": 1_003_000}))
    world.tick(5_000)
    assert world.var(run, "n") == 2


@pytest.mark.parametrize("on_halt", ["stop", "finish"])
def test_a_time_that_moves_while_its_wait_is_halted_counts_from_the_resume_where_the_clock_stands(on_halt: str) -> None:
    at = look(lambda c: c.now + c.var("d"), "$d")
    world = World(Graph().body("", d=9_000).wait("w", outside(), at_time(at, "z"), on_halt=on_halt).work("z").build())
    run = world.start("p")
    world.do(run, Pause())
    world.tick(1_000)
    world.do(run, SetVars(changes={"d": 500}))
    world.tick(200)
    world.do(run, Resume())
    world.tick(499 if on_halt == "stop" else 299)
    assert world.is_open(run, "w")
    world.tick(1)
    assert world.is_open(run, "z")


@pytest.mark.parametrize("what", ["when", "at", "assign"])
def test_an_error_in_an_open_wait_is_its_failure_and_refuses_nobody_elses_signal(what: str) -> None:
    from tests.kernel.graphs import when

    def bad(scene: Any) -> Any:
        if scene.var("n") == 1:
            from pelton.kernel.expressions.base import ExpressionError

            raise ExpressionError("n is 1")
        return False if what == "when" else scene.now + 1_000

    arm = when(bad, "$n") if what == "when" else at_time(look(bad, "$n"), "z") if what == "at" else after(10, x=look(bad, "$n"))
    world = World(Graph().body("", n=0).wait("w", outside(), arm, on_failure=(Rule("edge", to="z"),)).work("z").build())
    run = world.start("p")
    world.do(run, SetVars(changes={"n": 1}))
    world.tick(10)
    assert world.is_open(run, "z")
    assert "n is 1" in world.ended(run, "w").reason


# ---- what an earlier version left behind


def test_open_steps_of_a_version_that_kept_no_times_go_on() -> None:
    graph = (
        Graph()
        .body("", n=0)
        .wait("w", outside(), after(1_000, stays=True, every=1_000, n=ONCE), limits=Limits(total=edge_limit(2_500)))
    )
    world = World(graph.work("late").build())
    run, halted = world.start("p"), world.start("p")
    for each in (run, halted):
        row = world.rows(each).open[1]
        row.times = None
        world.rows(each).timers = {(1, "1"): (0, world.now + 1_000), (1, "total"): (0, world.now + 2_500)}
    world.do(halted, Pause())
    world.do(halted, Resume())
    world.tick(2_000)
    assert (world.var(run, "n"), world.var(halted, "n")) == (2, 2)
    world.tick(500)
    assert world.is_open(run, "late")
    assert world.is_open(halted, "late")


def event(name: str, **more: Any) -> Any:
    from pelton.kernel.model.signals import EventArrived

    return EventArrived(id=1, name=name, **more)
