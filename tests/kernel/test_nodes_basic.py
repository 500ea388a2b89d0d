"""What each kind of node does when a token enters it, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, after, at_time, edge, look, on_event, out, outside, var, when
from tests.kernel.world import World

from pelton.kernel.expressions.base import ExpressionError
from pelton.kernel.model.process import Limit, Limits, Retry, Rule
from pelton.kernel.model.signals import EventArrived, Report, RunNow, SetVars, Start, Terminate, TimerFired
from pelton.kernel.model.state import END, START, Failure, RunStatus, StartMeta, State, StepStatus
from pelton.kernel.model.transition import Note


def test_the_input_is_the_output_of_step_0_and_the_run_ends_with_a_last_step() -> None:
    world = World(Graph().work("a", "b", input=look(lambda c: {"x": c.input["x"]})).work("b", input=out("a")).build())
    run = world.start("p", {"x": 1}, meta=StartMeta(correlation="c", priority=3))
    start = world.ended(run, START)
    assert (start.n, start.output, start.input["correlation"]) == (0, {"x": 1}, "c")
    first = world.opened(run, "a")
    assert (first.n, first.state, first.queue, first.input) == (1, State.WORK, "a", {"x": 1})
    world.report(run, "a", {"y": 2})
    assert world.opened(run, "b").input == {"y": 2}
    world.report(run, "b", {"z": 3})
    assert world.status(run) == RunStatus.COMPLETED
    assert world.output(run) == {"z": 3}
    assert world.ended(run, END).n == 3
    assert world.trail(run) == ["a", "b"]
    assert world.head(run).open == 0


def test_a_start_of_a_run_that_exists_is_refused() -> None:
    process = Graph().work("a").build()
    world = World(process)
    run = world.start(process)
    assert world.refuse(run, Start(key=run, ns="test", definition=process.definition)).code == "exists"


@pytest.mark.parametrize(
    ("status", "ends"), [(StepStatus.FAILED, RunStatus.FAILED), (StepStatus.FAILED_FOR_GOOD, RunStatus.FAILED)]
)
def test_failed_work_fails_the_run(status: StepStatus, ends: RunStatus) -> None:
    world = World(Graph().work("a", "b").work("b").build())
    run = world.start("p")
    world.report(run, "a", {"partial": 1}, status=int(status), reason="no paper")
    step = world.ended(run, "a")
    assert (step.status, step.reason, step.output) == (status, "no paper", {"partial": 1})
    assert world.status(run) == ends
    assert world.reason(run) == "no paper"
    assert world.trail(run) == ["a"]


def test_reports_on_what_is_not_there_are_refused_or_noted() -> None:
    world = World(Graph().work("a", "b").work("b").build())
    run = world.start("p")
    assert world.refuse(run, Report(n=7)).code == "no step"
    assert world.refuse(run, Report(slot="nowhere")).code == "no step"
    world.report(run, "a")
    assert world.refuse(run, Report(n=1)).code == "step ended"
    before = world.rows(run).snapshot()
    world.do(run, Report(n=1, strict=False))
    assert world.notes
    world.report(run, "b")
    assert world.refuse(run, Report(n=2)).code in {"step ended", "ended"}
    assert world.refuse(run, EventArrived(id=1, name="e")).code == "ended"
    assert world.refuse(run, Terminate()).code == "ended"
    assert len(before) > 0


def test_a_late_report_of_an_earlier_attempt_changes_nothing() -> None:
    world = World(Graph().work("a", retry=Retry(2, as_new_step=False)).build())
    run = world.start("p")
    world.claim(run, "a")
    world.report(run, "a", status=int(StepStatus.FAILED), reason="once", attempt=0)
    row = world.opened(run, "a")
    assert (row.n, row.attempt, row.lease, row.worker) == (1, 1, 0, "")
    assert world.refuse(run, Report(n=1, attempt=0, output="late")).code in {"step ended", "no step"}
    world.do(run, Report(n=1, attempt=0, output="late", strict=False))
    assert world.opened(run, "a").attempt == 1
    world.report(run, "a", "good", attempt=1)
    assert world.output(run) == "good"


def test_still_at_it_keeps_the_step_and_offers_it_again() -> None:
    world = World(Graph().work("a").build())
    run = world.start("p")
    world.claim(run, "a")
    world.report(run, "a", {"seen": 1}, status=None, again_after=5_000, reason="waiting for the printer")
    row = world.opened(run, "a")
    assert (row.lease, row.due, row.output, row.attempt) == (0, world.now + 5_000, {"seen": 1}, 0)
    assert not world.claimable(run)
    world.do(run, RunNow())
    assert world.claimable(run)
    world.report(run, "a", keep_output=True)
    assert world.output(run) == {"seen": 1}


def test_work_that_is_delayed_is_not_handed_out_before() -> None:
    world = World(Graph().work("a", delay=3_000).build())
    run = world.start("p")
    assert not world.claimable(run)
    world.tick(3_000)
    assert world.claimable(run)


def test_the_queue_may_be_computed_and_the_output_shaped() -> None:
    graph = Graph().work(
        "a", queue=look(lambda c: f"q-{c.input}"), input=look(lambda c: 7), output=lambda given, said: [given, said]
    )
    world = World(graph.build())
    run = world.start("p", "x")
    assert world.opened(run, "a").queue == "q-x"
    world.report(run, "a", 8)
    assert world.output(run) == [7, 8]


@pytest.mark.parametrize(
    ("rule", "delays"),
    [
        (Retry(3, delay=1_000), [1_000, 1_000, 1_000]),
        (Retry(3, delay=1_000, logic="linear", factor=2), [2_000, 4_000, 6_000]),
        (Retry(3, delay=1_000, logic="exponential", factor=2), [1_000, 2_000, 4_000]),
        (Retry(3, delay=1_000, logic="exponential", factor=10, cap=5_000), [1_000, 5_000, 5_000]),
    ],
)
@pytest.mark.parametrize("fresh", [True, False])
def test_retries_and_their_delays(rule: Retry, delays: list[int], fresh: bool) -> None:
    rule = Retry(rule.count, rule.delay, rule.logic, rule.factor, rule.cap, 0, fresh)
    world = World(Graph().work("a", retry=rule, input=look(lambda c: c.now)).build())
    run = world.start("p")
    begun = world.now
    for attempt, delay in enumerate(delays):
        world.claim(run, "a")
        world.report(run, "a", status=int(StepStatus.FAILED), reason="no")
        row = world.opened(run, "a")
        assert row.attempt == attempt + 1
        assert row.due == world.now + delay
        assert row.n == (attempt + 2 if fresh else 1)
        assert row.first == begun
        if fresh:
            assert row.previous == attempt + 1
        world.tick(delay)
    world.report(run, "a", status=int(StepStatus.FAILED), reason="never")
    assert world.status(run) == RunStatus.FAILED
    assert len(world.trail(run)) == (4 if fresh else 1)


def test_jitter_is_bounded_and_the_same_when_asked_again() -> None:
    world = World(Graph().work("a", retry=Retry(50, delay=100, jitter=1_000, as_new_step=False)).build())
    run = world.start("p")
    waits = set()
    for _ in range(20):
        world.report(run, "a", status=int(StepStatus.FAILED))
        waits.add(world.opened(run, "a").due - world.now)
        world.tick(2_000)
    assert all(100 <= wait <= 1_100 for wait in waits)
    assert len(waits) > 10


def test_failed_for_good_and_not_retriable_are_not_tried_again() -> None:
    for more in ({"status": int(StepStatus.FAILED_FOR_GOOD)}, {"status": 4, "failure": Failure("x", retriable=False)}):
        world = World(Graph().work("a", retry=Retry(3)).build())
        run = world.start("p")
        world.report(run, "a", **more)
        assert world.status(run) == RunStatus.FAILED


def test_rules_are_tried_in_order_and_match_by_name_and_kind() -> None:
    graph = Graph().work(
        "a",
        "good",
        on_failure=(
            Rule("edge", names=frozenset({"paper"}), to="refill"),
            Rule("continue", kinds=frozenset({"business"})),
            Rule("edge", to="other"),
        ),
    )
    graph.work("good").work("refill").work("other")
    for failure, follows in (
        (Failure("paper", "technical"), "refill"),
        (Failure("paper", "business"), "refill"),
        (Failure("x", "business"), "good"),
        (Failure("x", "technical"), "other"),
    ):
        world = World(graph.build())
        run = world.start("p")
        world.report(run, "a", status=4, failure=failure)
        assert world.trail(run) == ["a", follows]
        expected = StepStatus.COMPLETED_WITH_ERRORS if follows == "good" else StepStatus.FAILED
        assert world.ended(run, "a").status == expected


def test_a_deferred_failure_fails_the_run_when_all_is_done() -> None:
    world = World(Graph().work("a", "b", on_failure=(Rule("defer"),)).work("b").build())
    run = world.start("p")
    world.report(run, "a", status=4, reason="put off")
    assert world.status(run) == RunStatus.RUNNING
    world.report(run, "b")
    assert world.status(run) == RunStatus.FAILED
    assert world.reason(run) == "put off"


def test_abort_ends_the_run_from_inside_a_scope() -> None:
    graph = Graph().scope("l", "a", "b", again=look(lambda c: False), on_failure=(Rule("continue"),))
    graph.work("a", on_failure=(Rule("abort"),)).work("b")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a", status=4, reason="stop everything")
    assert world.status(run) == RunStatus.FAILED
    assert not world.is_open(run, "l")


def test_choice_by_text_and_by_guards() -> None:
    graph = Graph().choice("c", look(lambda c: c.input), {"a": "x", "b": "y"}, "z", output=look(lambda c: {"chosen": c.value}))
    graph.work("x").work("y").work("z")
    for given, slot in (("a", "x"), ("b", "y"), ("q", "z"), (None, "z")):
        world = World(graph.build())
        run = world.start("p", given)
        assert world.trail(run) == ["c", slot]
    guards = Graph().branch(
        "c", edge("x", look(lambda c: c.input > 10)), edge("y", look(lambda c: c.input > 5), big=True), edge("z"), trace=False
    )
    guards.work("x").work("y").work("z")
    for number, slot in ((11, "x"), (6, "y"), (1, "z")):
        world = World(guards.build())
        run = world.start("p", number)
        assert world.trail(run) == [slot]
        assert world.var(run, "big") == (True if slot == "y" else None)


def test_no_open_edge_is_the_end_of_the_token() -> None:
    world = World(Graph().work("a", edge("b", look(lambda c: False))).work("b").build())
    run = world.start("p")
    world.report(run, "a", 5)
    assert world.status(run) == RunStatus.COMPLETED
    assert world.output(run) == 5


def test_assignments_of_an_edge_are_all_or_none() -> None:
    def explode(scene: Any) -> Any:
        raise ExpressionError("cannot divide")

    world = World(Graph().body("", v=1).work("a", edge("b", v=look(lambda c: 2), w=look(explode))).work("b").build())
    run = world.start("p")
    world.report(run, "a")
    assert world.var(run, "v") == 1
    assert world.var(run, "w") is None
    assert world.status(run) == RunStatus.FAILED
    assert "cannot divide" in world.reason(run)


def test_assign_sets_variables_and_leaves_an_output() -> None:
    graph = Graph().body("", n=1, kept="k")
    graph.assign("set", "more", n=look(lambda c: c.var("n") + 1, "$n"), output=look(lambda c: "done"))
    graph.assign("more", "w", merge=look(lambda c: {"a": c.var("n"), "b": [1]}, "$n"), trace=False).work("w", input=var("n"))
    world = World(graph.build())
    run = world.start("p")
    assert (world.var(run, "n"), world.var(run, "a"), world.var(run, "b"), world.var(run, "kept")) == (2, 2, [1], "k")
    assert world.opened(run, "w").input == 2
    assert world.ended(run, "set").output == "done"
    assert world.trail(run) == ["set", "w"]


def test_an_expression_that_fails_fails_its_step_and_rules_apply() -> None:
    def explode(scene: Any) -> Any:
        raise ExpressionError("no such member")

    graph = Graph().work("a", "b", input=look(explode), on_failure=(Rule("edge", names=frozenset({"expression"}), to="c"),))
    graph.work("b").work("c")
    world = World(graph.build())
    run = world.start("p")
    step = world.ended(run, "a")
    assert not StepStatus(step.status).successful
    assert "no such member" in step.reason
    assert world.is_open(run, "c")


def test_raise_is_a_failure_with_name_and_kind() -> None:
    graph = Graph().scope("s", "r", "after", on_failure=(Rule("edge", names=frozenset({"poor"}), to="c"),))
    graph.fail("r", look(lambda c: Failure("poor", "business", "no money", {"have": c.input}))).work("after").work("c")
    world = World(graph.build())
    run = world.start("p", 3)
    assert world.is_open(run, "c")
    assert world.trail(run) == ["s", "r", "c"]
    assert world.ended(run, "r").failure == "poor"


def test_emit_publishes_once_and_goes_on_or_awaits() -> None:
    graph = Graph().emit("tell", look(lambda c: "queue:x"), look(lambda c: {"n": c.input}), "ask")
    graph.emit("ask", "queue:y", "?", "b", awaits="outside").work("b", input=out("ask"))
    world = World(graph.build())
    run = world.start("p", 4)
    assert [(sent.sink, sent.body) for sent in world.sent] == [("queue:x", {"n": 4}), ("queue:y", "?")]
    assert world.ended(run, "tell").output == {"n": 4}
    row = world.opened(run, "ask")
    assert row.state == State.EMIT
    world.report(run, "ask", "!")
    assert world.opened(run, "b").input == "!"
    assert len(world.sent) == 2


def test_an_emit_decides_itself_whether_it_awaits() -> None:
    graph = Graph().emit("ask", "q:y", "?", "b", awaits=look(lambda c: c.input)).work("b")
    for awaits in (True, False):
        world = World(graph.build())
        run = world.start("p", awaits)
        assert world.is_open(run, "ask") is awaits
        assert world.is_open(run, "b") is not awaits


def test_an_end_may_end_the_whole_run_with_a_status() -> None:
    graph = Graph().fork("f", "a", "b", "j").work("a").work("b", "stop").join("j", "a", "b", to="z").work("z")
    graph.end("stop", run=True, status=int(RunStatus.TERMINATED), output=look(lambda c: "out"), reason="enough")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "b")
    assert world.status(run) == RunStatus.TERMINATED
    assert (world.output(run), world.reason(run)) == ("out", "enough")
    assert world.ended(run, "a").status == StepStatus.CANCELED
    assert not world.claimable(run)


def test_a_wait_leaves_by_the_arm_that_is_taken_first() -> None:
    graph = Graph().wait("w", outside("a"), after(5_000, "b"), on_event("go", "c")).work("a").work("b").work("c")
    world = World(graph.build())
    by_hand, by_time, by_event = (world.start("p") for _ in range(3))
    world.report(by_hand, "w", "hand")
    world.post(by_event, "go", {"x": 1})
    world.post(by_time, "stop", None)
    world.tick(4_999)
    assert world.is_open(by_time, "w")
    world.tick(1)
    for run, slot in ((by_hand, "a"), (by_time, "b"), (by_event, "c")):
        assert world.trail(run) == ["w", slot]
    assert world.ended(by_event, "w").output == {"x": 1}
    assert world.tick(60_000) == 0


def test_times_in_the_past_leave_at_once_and_never_is_never() -> None:
    graph = Graph().wait("w", at_time(look(lambda c: c.now - 1), "a"), outside()).work("a")
    world = World(graph.build())
    assert world.trail(world.start("p")) == ["w", "a"]
    world = World(Graph().wait("w", at_time(look(lambda c: None), "a"), outside()).work("a").build())
    run = world.start("p")
    assert world.tick(10**12) == 0
    assert world.is_open(run, "w")


def test_a_timer_of_another_epoch_or_of_a_step_that_has_ended_is_noted_only() -> None:
    world = World(Graph().wait("w", after(1_000), outside()).build())
    run = world.start("p")
    epoch, _ = world.rows(run).timers[1, "0"]
    world.do(run, TimerFired(n=1, arm="0", epoch=epoch + 1))
    assert world.is_open(run, "w")
    world.tick(1_000)
    assert world.status(run) == RunStatus.COMPLETED
    before = world.rows(run).ended.copy()
    world.do(run, TimerFired(n=1, arm="0", epoch=epoch))
    world.do(run, TimerFired(n=99, arm="0"))
    assert world.rows(run).ended == before


def test_a_condition_arm_looks_when_its_variables_are_written() -> None:
    looked: list[int] = []

    def ready(scene: Any) -> bool:
        looked.append(1)
        return bool(scene.var("n") and scene.var("n") > 2)

    graph = Graph().body("", n=0, other=0).wait("w", when(ready, "$n", to="a")).work("a")
    world = World(graph.build())
    run = world.start("p")
    count = len(looked)
    world.do(run, SetVars(changes={"other": 9}))
    assert len(looked) == count
    world.do(run, SetVars(changes={"n": 1}))
    assert len(looked) > count
    assert world.is_open(run, "w")
    world.do(run, SetVars(changes={"n": 3}))
    assert world.is_open(run, "a")
    world = World(Graph().body("", n=5).wait("w", when(ready, "$n", to="a")).work("a").build())
    assert world.trail(world.start("p")) == ["w", "a"]


def test_limits_of_work() -> None:
    queue = Limits(queue=Limit(1_000, "fail", message="not taken"))
    world = World(Graph().work("a", limits=queue).build())
    run = world.start("p")
    world.tick(999)
    assert world.is_open(run, "a")
    world.tick(1)
    assert world.ended(run, "a").status == StepStatus.TIMED_OUT
    assert world.status(run) == RunStatus.TIMED_OUT
    run = world.start("p")
    world.claim(run, "a")
    world.tick(5_000)
    assert world.is_open(run, "a"), "once handed out the queue limit is over"


def test_an_idle_worker_loses_its_lease_and_the_work_is_tried_again() -> None:
    limits = Limits(idle=Limit(1_000, "retry"), attempt=Limit(2_500, "retry"))
    world = World(Graph().work("a", limits=limits, retry=Retry(2)).build())
    run = world.start("p")
    world.claim(run, "a")
    world.tick(900)
    world.report(run, "a", status=None)
    world.claim(run, "a")
    world.tick(1_000)
    first, second = world.rows(run).row(1), world.opened(run, "a")
    assert first is not None
    assert (second.n, second.attempt, second.previous) == (2, 1, 1)
    world.claim(run, "a")
    world.tick(800)
    world.extend(run, 2)
    assert world.opened(run, "a").lease in {world.now + 1_000, world.now + 200}
    world.report(run, "a", "ok")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_limit_may_fail_the_run_lead_elsewhere_or_only_tell() -> None:
    graph = Graph().work("a", limits=Limits(queue=Limit(1_000, "edge", to="b"))).work("b")
    world = World(graph.build())
    run = world.start("p")
    world.tick(1_000)
    assert world.is_open(run, "b")
    assert world.refuse(run, Report(n=1)).code == "step ended"

    world = World(Graph().work("a", limits=Limits(queue=Limit(1_000, "announce"))).build())
    run = world.start("p")
    world.tick(1_000)
    assert world.is_open(run, "a")

    graph = Graph().scope("s", "a", on_failure=(Rule("continue"),)).work("a", limits=Limits(queue=Limit(1_000, "fail run")))
    world = World(graph.build())
    run = world.start("p")
    world.tick(1_000)
    assert world.status(run) == RunStatus.TIMED_OUT


def test_a_total_limit_spans_the_attempts() -> None:
    limits = Limits(total=Limit(2_500, "fail"))
    world = World(Graph().work("a", limits=limits, retry=Retry(100, delay=1_000)).build())
    run = world.start("p")
    for _ in range(2):
        world.report(run, "a", status=4)
        world.tick(1_000)
    assert world.is_open(run, "a")
    world.tick(1_000)
    assert world.status(run) == RunStatus.TIMED_OUT
    assert world.head(run).ended == 1_000_000 + 2_500


def test_the_deadline_of_a_run() -> None:
    process = Graph(deadline=Limit(10_000, "fail run", message="too slow")).work("a", "b").work("b").build()
    world = World(process)
    run, quick = world.start("p"), world.start("p")
    world.report(quick, "a")
    world.report(quick, "b")
    world.tick(10_000)
    assert world.status(run) == RunStatus.TIMED_OUT
    assert world.status(quick) == RunStatus.COMPLETED
    assert world.ended(run, "a").status == StepStatus.CANCELED


def test_expressions_that_need_scripts_are_answered_in_another_round() -> None:
    from pelton.kernel.expressions.base import Evaluation, Unanswered

    def ask(scene: Any) -> Any:
        question = Evaluation("jq", "double", str(scene.input), scene.now, scene.seed, 1_000)
        answer = scene.evaluated(question)
        if answer is None:
            raise Unanswered(question)
        if answer.failed:
            raise ExpressionError(answer.error)
        return answer.value

    world = World(Graph().work("a", input=look(ask)).build())
    world.scripts["double"] = lambda value: value * 2
    run = world.start("p", 21)
    assert world.opened(run, "a").input == 42

    def refuse(value: Any) -> Any:
        raise ValueError("too deep")

    world.scripts["double"] = refuse
    run = world.start("p", 21)
    assert world.status(run) == RunStatus.FAILED
    assert "too deep" in world.reason(run)


def test_tolerant_signals_leave_a_note() -> None:
    world = World(Graph().work("a").build())
    run = world.start("p")
    world.do(run, Report(n=12, strict=False))
    assert [note for key, note in world.notes if key == run and isinstance(note, Note)]
