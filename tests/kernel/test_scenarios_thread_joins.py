"""Joins on threads: rules, failures before and after the join opens, handlers of failed threads, ends that wait for threads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.graphs import Graph, look, on_event, out, var
from tests.kernel.world import World

from pelton.kernel.expressions.base import ExpressionError
from pelton.kernel.model.process import Rule
from pelton.kernel.model.signals import Pause, Resume
from pelton.kernel.model.state import Failure, OpenStep, RunStatus, StepStatus, ThreadStatus

FAILED = int(StepStatus.FAILED)
# What may become of a thread: it completes, it fails, its failure is forgiven, its handler completes, its handler fails.
OUTCOMES = "SFCHX"
RULES = (Rule("continue", kinds=frozenset({"soft"})), Rule("body", names=frozenset({"handled"}), to="h"))


def group(total: int = 2, /, *, gate: bool = False, **more: Any) -> Graph:
    """So many threads, and a join `j` on all of them: at once, or behind the work `g`."""
    graph = Graph()
    following = [f"c{index}" for index in range(1, total)] + ["g" if gate else "j"]
    for index, to in enumerate(following):
        graph.call(f"c{index}", thread="t", awaits="nothing", to=to)
    graph.work("g", "j").work("t", "e").end("e", output=out("t")).work("h", input=var("INPUT")).work("z")
    return graph.join("j", threads=look(lambda c: list(range(1, total + 1))), to="z", **more)


def works(world: World, run: int, slot: str = "t") -> dict[int, int]:
    """The open work of a slot by thread."""
    return {row.thread: row.n for row in world.claimable(run) if row.slot == slot}


def end(world: World, run: int, no: int, outcome: str) -> None:
    world.now += 1
    n = works(world, run)[no]
    if outcome == "S":
        world.report(run, n, f"of {no}")
        return
    name, kind = {"F": ("plain", "technical"), "C": ("slight", "soft")}.get(outcome, ("handled", "technical"))
    world.report(run, n, status=FAILED, failure=Failure(name, kind, f"thread {no}", {"no": no}))


def handle(world: World, run: int, outcomes: dict[int, str]) -> None:
    """What handlers are open end as they are to."""
    for handler, n in sorted(works(world, run, "h").items()):
        no = world.rows(run).threads[handler].handled
        if world.rows(run).open.get(n) is None:
            continue  # it went with the join
        failure = Failure("late", "technical", f"handler of {no}")
        more: dict[str, Any] = {"status": FAILED, "failure": failure} if outcomes[no] == "X" else {}
        world.now += 1
        world.report(run, n, **more)


def state(world: World, run: int) -> str:
    row = world.newest(run, "j")
    if row is None or isinstance(row, OpenStep):
        return "open"
    return StepStatus(row.status).name


def expected(rule: str, want: int, seen: str, total: int) -> str:
    """The state of a join after these outcomes, one after another."""
    good = soft = bad = 0
    want = {"all": total, "count": min(want, total)}.get(rule, min(1, total))
    for outcome in seen:
        good += outcome in "SH"
        soft += outcome == "C"
        bad += outcome in "FX"
        done = "COMPLETED_WITH_ERRORS" if soft else "COMPLETED"
        enough = good if rule == "any" else good + soft
        if enough >= want:
            return done
        if rule == "first" and bad:
            return "FAILED"
        pending = total - good - soft - bad
        if pending + enough < want:
            return "FAILED" if bad else done
    return "open"


@examples(200)
@given(
    st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=4),
    st.sampled_from(["all", "any", "first", "count"]),
    st.integers(1, 3),
    st.integers(0, 4),
    st.booleans(),
)
def test_a_join_ends_as_its_rule_says_whatever_ended_before_it_opened(
    outcomes: list[str], rule: str, count: int, before: int, halt: bool
) -> None:
    total = len(outcomes)
    losers: Any = "halt" if halt else "leave"
    kind: Any = rule
    rules = (Rule("edge", to="z"),)
    graph = group(total, gate=True, rule=kind, count=count, losers=losers, per_thread=RULES, on_failure=rules)
    world = World(graph.build(), both=False)
    run = world.start("p")
    by_thread = dict(enumerate(outcomes, 1))
    early = list(by_thread)[:before]
    for no in early:
        end(world, run, no, by_thread[no])
    world.report(run, "g")
    # Those whose failure is handled come after the others, since their handlers begin only now.
    order = [no for no in early if by_thread[no] not in "HX"]
    assert state(world, run) == expected(rule, count, "".join(by_thread[no] for no in order), total)
    order += [no for no in early if by_thread[no] in "HX"]
    handle(world, run, by_thread)
    assert state(world, run) == expected(rule, count, "".join(by_thread[no] for no in order), total)
    for no in list(by_thread)[before:]:
        if no in works(world, run):
            end(world, run, no, by_thread[no])
            handle(world, run, by_thread)
        order.append(no)
        assert state(world, run) == expected(rule, count, "".join(by_thread[no] for no in order), total)
    assert state(world, run) != "open"
    assert not works(world, run, "h"), "a handler outlives its join"
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


# ---- rules, one by one


def test_any_thread_is_enough_although_others_fail() -> None:
    world = World(group(3, rule="any").build())
    run = world.start("p")
    end(world, run, 1, "F")
    assert world.is_open(run, "j")
    end(world, run, 3, "S")
    assert world.ended(run, "j").output == {"3": "of 3"}


def test_any_of_threads_that_all_fail_fails_with_the_last_failure() -> None:
    world = World(group(2, rule="any").build())
    run = world.start("p")
    end(world, run, 2, "F")
    end(world, run, 1, "F")
    assert world.status(run) == RunStatus.FAILED
    assert world.reason(run) == "thread 1"


def test_the_first_thread_that_ended_decides_although_the_join_opens_later() -> None:
    world = World(group(2, gate=True, rule="first").build())
    run = world.start("p")
    end(world, run, 2, "F")
    end(world, run, 1, "S")
    world.report(run, "g")
    assert world.reason(run) == "thread 2"


def test_a_join_on_no_thread_completes() -> None:
    graph = Graph().join("j", threads=look(lambda c: None), rule="any", to="z").work("z")
    world = World(graph.build())
    assert world.is_open(world.start("p"), "z")


@pytest.mark.parametrize("value", ["x", [1.5], [True], ["1"], {"a": 1}, [0], [7]])
def test_what_no_join_can_wait_for_fails_it(value: Any) -> None:
    graph = Graph().call("c", thread="t", awaits="nothing", to="j").work("t").work("y")
    graph.join("j", threads=look(lambda c: value), on_failure=(Rule("edge", to="y"),))
    world = World(graph.build())
    run = world.start("p")
    assert world.is_open(run, "y")


def test_a_thread_that_another_join_stops_has_failed_for_this_one() -> None:
    graph = Graph().call("c1", thread="t", awaits="nothing", to="c2").call("c2", thread="t", awaits="nothing", to="f")
    graph.fork("f", "one", "two").work("t").work("y")
    graph.join("one", threads=look(lambda c: [1, 2]), rule="first", losers="halt")
    graph.join("two", threads=look(lambda c: [2]), on_failure=(Rule("edge", kinds=frozenset({"cancelled"}), to="y"),))
    world = World(graph.build())
    run = world.start("p")
    world.report(run, works(world, run)[1])
    assert world.is_open(run, "y")


def test_a_thread_that_loses_fails_the_call_that_it_was_for() -> None:
    graph = Graph().fork("f", "c", "d").call("c", thread="t", on_failure=(Rule("edge", to="y"),))
    graph.call("d", thread="t", awaits="nothing", to="j").work("t").work("y")
    graph.join("j", threads=look(lambda c: [1, 2]), rule="first", losers="halt")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, works(world, run)[2])
    assert world.is_open(run, "y")


# ---- handlers of failed threads


def test_the_handler_of_a_thread_that_failed_before_the_join_opened_runs() -> None:
    world = World(group(1, gate=True, per_thread=(Rule("body", to="h"),)).build())
    run = world.start("p")
    end(world, run, 1, "F")
    world.report(run, "g")
    assert world.opened(run, "h").input == {"no": 1}
    world.report(run, "h")
    assert world.is_open(run, "z")


def test_a_handler_of_a_thread_that_fails_fails_the_join_with_its_failure() -> None:
    rules = (Rule("edge", names=frozenset({"late"}), to="y"),)
    world = World(group(2, per_thread=(Rule("body", to="h"),), on_failure=rules).work("y").build())
    run = world.start("p")
    end(world, run, 1, "F")
    handle(world, run, {1: "X"})
    assert world.is_open(run, "y")
    assert world.ended(run, "j").failure == "late"


def test_a_handler_whose_variables_cannot_be_evaluated_fails_the_join() -> None:
    graph = group(1, per_thread=(Rule("body", to="h"),), on_failure=(Rule("edge", names=frozenset({"expression"}), to="y"),))
    graph.work("y").body("h", x=look(broken))
    world = World(graph.build())
    run = world.start("p")
    end(world, run, 1, "F")
    assert world.is_open(run, "y")
    assert len(world.rows(run).threads) == 2


def broken(scene: Any) -> Any:
    raise ExpressionError("broken")


def test_a_handler_of_a_failed_thread_sees_its_variables() -> None:
    graph = Graph().call("c", thread="t", awaits="nothing", to="j").body("t", mine=5).work("t").work("z")
    graph.join("j", threads=look(lambda c: [1]), to="z", per_thread=(Rule("body", to="h"),)).work("h", input=var("mine"))
    world = World(graph.build())
    run = world.start("p")
    end(world, run, 1, "F")
    assert world.opened(run, "h").input == 5


def test_handlers_of_failed_threads_stop_when_the_join_has_its_winner() -> None:
    world = World(group(2, rule="any", per_thread=(Rule("body", to="h"),)).build())
    run = world.start("p")
    end(world, run, 1, "F")
    assert works(world, run, "h")
    end(world, run, 2, "S")
    assert not works(world, run, "h")
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_handlers_of_failed_threads_stop_when_the_joining_thread_fails() -> None:
    graph = Graph().call("c", thread="t", to="z", on_failure=(Rule("edge", to="y"),)).work("y").work("z")
    graph.fork("t", "s", "b").call("s", thread="u", awaits="nothing", to="j").work("u").work("b").work("h")
    graph.join("j", threads=look(lambda c: [2]), per_thread=(Rule("body", to="h"),))
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "u", status=FAILED)
    assert works(world, run, "h")
    world.report(run, "b", status=FAILED)
    assert not works(world, run, "h")
    world.report(run, "y")
    assert world.status(run) == RunStatus.COMPLETED


def test_handlers_of_failed_threads_go_with_the_scope_of_the_join() -> None:
    graph = Graph().scope("s", "f", again=look(lambda c: False), on_failure=(Rule("edge", to="y"),)).work("y")
    graph.fork("f", "c", "b").call("c", thread="t", awaits="nothing", to="j").work("t").work("b").work("h")
    graph.join("j", threads=look(lambda c: [1]), per_thread=(Rule("body", to="h"),))
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "t", status=FAILED)
    world.report(run, "b", status=FAILED)
    assert not works(world, run, "h")
    world.report(run, "y")
    assert world.status(run) == RunStatus.COMPLETED


def test_handlers_of_failed_threads_are_interrupted_with_the_joining_thread() -> None:
    graph = group(1, per_thread=(Rule("body", to="h"),)).body("", interrupts=[("ring", "i")]).work("i")
    world = World(graph.build())
    run = world.start("p")
    end(world, run, 1, "F")
    world.post(run, "ring")
    assert not works(world, run, "i"), "the handler's work is let finish first"
    world.report(run, "h")
    assert works(world, run, "i")
    world.report(run, "i")
    assert world.is_open(run, "z")


# ---- failures as values


@pytest.mark.parametrize("gate", [False, True])
def test_a_rule_sees_name_kind_and_content_whenever_the_join_opens(gate: bool) -> None:
    rules = (Rule("body", names=frozenset({"slight"}), kinds=frozenset({"soft"}), to="k"),)
    world = World(group(1, gate=gate, on_failure=rules).work("k", input=var("INPUT")).build())
    run = world.start("p")
    end(world, run, 1, "C")
    if gate:
        world.report(run, "g")
    step = world.ended(run, "j")
    assert (step.failure, step.kind, step.content, step.reason) == ("slight", "soft", {"no": 1}, "thread 1")
    assert world.opened(run, "k").input == {"no": 1}
    failed = world.rows(run).threads[1]
    assert (failed.failure, failed.kind, failed.content, failed.dealt) == ("slight", "soft", {"no": 1}, True)


# ---- ends that wait for threads


def ending(*, gate: bool, join: bool = False, **more: Any) -> World:
    """Two threads, an optional join on the first, and an end that waits for both; `gate`: behind a piece of work."""
    graph = Graph().call("c1", thread="t", awaits="nothing", to="c2")
    graph.call("c2", thread="t", awaits="nothing", to="j" if join else "g" if gate else "e")
    graph.join("j", threads=look(lambda c: [1]), to="g" if gate else "e", **more)
    rules = (Rule("edge", kinds=frozenset({"soft"}), to="y"),)
    graph.work("g", "e").end("e", threads=True, on_failure=rules).work("t").work("y").work("h")
    return World(graph.build())


@pytest.mark.parametrize("gate", [False, True])
def test_a_thread_that_failed_fails_the_end_that_waits_for_it_with_its_failure(gate: bool) -> None:
    world = ending(gate=gate)
    run = world.start("p")
    end(world, run, 1, "C")
    end(world, run, 2, "S")
    if gate:
        world.report(run, "g")
    step = world.ended(run, "e")
    assert (step.failure, step.kind, step.content) == ("slight", "soft", {"no": 1})
    assert world.is_open(run, "y")
    world.report(run, "y")
    assert world.status(run) == RunStatus.COMPLETED


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("deal", ["continue", "body", "on_failure"])
def test_a_failure_that_a_join_dealt_with_does_not_count_at_the_end(gate: bool, deal: str) -> None:
    more: dict[str, Any] = {"per_thread": (Rule(deal, to="h" if deal == "body" else ""),)}  # type: ignore[arg-type]
    if deal == "on_failure":
        more = {"on_failure": (Rule("edge", to="e"),)}
    world = ending(gate=gate, join=True, **more)
    run = world.start("p")
    end(world, run, 1, "F")
    if deal == "body":
        world.report(run, "h")
    end(world, run, 2, "S")
    if gate and deal != "on_failure":
        world.report(run, "g")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_failure_that_the_call_of_the_thread_dealt_with_does_not_count_at_the_end() -> None:
    graph = Graph().call("c", thread="t", to="e", on_failure=(Rule("edge", to="e"),)).end("e", threads=True).work("t")
    world = World(graph.build())
    run = world.start("p")
    end(world, run, 1, "F")
    assert world.status(run) == RunStatus.COMPLETED


def test_an_end_after_an_end_that_failed_counts_a_failure_once() -> None:
    graph = Graph().call("c", thread="t", awaits="nothing", to="e").end("e", threads=True, on_failure=(Rule("edge", to="e2"),))
    world = World(graph.end("e2", threads=True).work("t").build())
    run = world.start("p")
    end(world, run, 1, "F")
    assert world.status(run) == RunStatus.COMPLETED


def test_two_ends_of_a_thread_both_wait() -> None:
    graph = Graph().call("c", thread="t", awaits="nothing", to="f").fork("f", "e1", "e2").end("e1", threads=True)
    world = World(graph.end("e2", threads=True).work("t").build())
    run = world.start("p")
    assert world.is_open(run, "e1")
    assert world.is_open(run, "e2")
    end(world, run, 1, "S")
    assert world.status(run) == RunStatus.COMPLETED


def test_an_end_that_is_not_recorded_waits_too() -> None:
    graph = Graph().call("c", thread="t", awaits="nothing", to="e").end("e", threads=True, trace=False).work("t")
    world = World(graph.build())
    run = world.start("p")
    assert world.is_open(run, "e")
    end(world, run, 1, "F")
    assert world.status(run) == RunStatus.FAILED


def test_an_end_that_waits_is_cancelled_by_a_halt_and_waits_again() -> None:
    graph = Graph().body("", interrupts=[("ring", "i")]).call("c", thread="t", awaits="nothing", to="e").work("t").work("i")
    world = World(graph.end("e", threads=True, on_halt="cancel").build())
    run = world.start("p")
    world.post(run, "ring")
    end(world, run, 1, "S")
    world.report(run, "i")
    assert world.status(run) == RunStatus.COMPLETED


# ---- width


@pytest.mark.parametrize("rule", ["all", "any"])
def test_the_end_of_a_thread_reads_and_writes_as_much_whatever_the_width_of_the_join(rule: Any) -> None:
    costs = []
    for count in (10, 100):
        graph = Graph().scope("s", "c", "j", items=look(lambda c: list(range(c.input)))).call("c", thread="t", awaits="nothing")
        graph.join("j", threads=look(lambda c: list(range(1, c.input + 1))), rule=rule).work("t")
        world = World(graph.build(), thorough=False, both=False)
        run = world.start("p", count)
        end(world, run, 3, "F" if rule == "any" else "S")
        costs.append((world.costs[-1].rounds, world.costs[-1].written))
    (rounds, written), wide = costs
    assert wide <= (rounds + 1, written), costs  # a narrow run is read whole


def test_many_threads_of_a_join_are_looked_at_in_a_few_rounds() -> None:
    rounds = []
    for count in (10, 100):
        graph = Graph().scope("s", "c", "j", items=look(lambda c: list(range(c.input)))).call("c", thread="t", awaits="nothing")
        graph.join("j", threads=look(lambda c: list(range(1, c.input + 1))), rule="first", losers="halt", to="w")
        world = World(graph.work("t").wait("w", on_event("go")).build(), thorough=False, both=False)
        run = world.start("p", count)
        end(world, run, 1, "S")
        assert world.is_open(run, "w")
        assert not works(world, run)
        rounds.append(world.costs[-1].rounds)
    assert rounds[1] <= rounds[0] + 1, rounds  # a narrow run is read whole


def test_a_pause_of_a_run_whose_join_waits() -> None:
    world = World(group(2).build())
    run = world.start("p")
    world.do(run, Pause())
    end(world, run, 1, "S")
    end(world, run, 2, "S")
    assert world.rows(run).threads[1].status != ThreadStatus.COMPLETED
    world.do(run, Resume())
    assert world.is_open(run, "z")
