"""Forks, joins, loops, fuel, calls, rewinds, skips, pauses: the behaviours that move tokens about."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, look, out, output, say
from tests.kernel.world import World

from pelton.kernel.machine.tokens.outputs import output_of
from pelton.kernel.model.process import FollowUp, Fragment, Limit, Process, Retry, Rule
from pelton.kernel.model.signals import Report, Rewind, Terminate
from pelton.kernel.model.state import RunStatus, State, StepStatus

FAILED = int(StepStatus.FAILED)


def fork(*, optional: str = "", deferred: str = "", rule: str = "all", count: int = 0, losers: str = "leave") -> Process:
    rules = {optional: (Rule("continue"),), deferred: (Rule("defer"),)}
    graph = Graph().fork("f", "x", "y", "z", "j")
    for slot in "xyz":
        graph.work(slot, on_failure=rules.get(slot, ()))
    graph.join("j", "x", "y", "z", to="end", rule=rule, count=count, losers=losers).work("end")
    return graph.build()


# ---- C1, C2


def test_numbers_are_given_in_the_order_of_activation() -> None:
    world = World(fork())
    run = world.start("p")
    assert world.trail(run) == ["f", "x", "y", "z", "j"]
    assert [row.n for row in world.rows(run).steps()] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("order", ["xyz", "zyx", "yzx"])
def test_a_join_waits_for_all(order: str) -> None:
    world = World(fork())
    run = world.start("p")
    for left, slot in zip((3, 2, 1), order, strict=True):
        assert world.opened(run, "j").left == left
        assert not world.is_open(run, "end")
        world.report(run, slot, {"by": slot})
    assert world.ended(run, "j").status == StepStatus.COMPLETED
    world.report(run, "end")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_failed_optional_branch_is_forgiven_with_errors() -> None:
    world = World(fork(optional="y"))
    run = world.start("p")
    world.report(run, "y", status=FAILED, reason="meh")
    assert world.ended(run, "y").status == StepStatus.COMPLETED_WITH_ERRORS
    world.report(run, "x")
    world.report(run, "z")
    assert world.ended(run, "j").status == StepStatus.COMPLETED_WITH_ERRORS
    assert world.is_open(run, "end")


def test_a_failed_deferred_branch_fails_the_join_when_all_have_ended() -> None:
    world = World(fork(deferred="x"))
    run = world.start("p")
    world.report(run, "x", status=FAILED, reason="late regret")
    assert world.status(run) == RunStatus.RUNNING
    world.report(run, "y")
    world.report(run, "z")
    join = world.ended(run, "j")
    assert (join.status, join.reason) == (StepStatus.FAILED, "late regret")
    assert world.status(run) == RunStatus.FAILED


def test_a_failure_that_nothing_forgives_cancels_the_other_branches() -> None:
    world = World(fork())
    run = world.start("p")
    world.report(run, "x", status=FAILED, reason="hard")
    assert world.status(run) == RunStatus.FAILED
    assert {slot: world.ended(run, slot).status for slot in "yzj"} == dict.fromkeys("yzj", StepStatus.CANCELED)


def test_a_retried_branch_is_not_final() -> None:
    graph = Graph().fork("f", "x", "y", "j").work("x", retry=Retry(1)).work("y").join("j", "x", "y", to="end").work("end")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "x", status=FAILED)
    assert world.opened(run, "j").left == 2
    world.report(run, "x")
    world.report(run, "y")
    assert world.is_open(run, "end")


def test_branches_that_end_before_the_join_opens_are_counted() -> None:
    graph = Graph().fork("f", "x", "y", "j").assign("x", v=1).work("y").join("j", "x", "y", to="end").work("end")
    world = World(graph.build())
    run = world.start("p")
    assert world.opened(run, "j").left == 1
    world.report(run, "y")
    assert world.is_open(run, "end")
    all_at_once = Graph().fork("f", "x", "y", "j").assign("x", v=1).assign("y", w=1).join("j", "x", "y", to="end").work("end")
    world = World(all_at_once.build())
    assert world.is_open(world.start("p"), "end")


@pytest.mark.parametrize(("rule", "count", "needs"), [("first", 0, 1), ("any", 0, 1), ("count", 2, 2), ("count", 9, 3)])
@pytest.mark.parametrize("losers", ["leave", "halt"])
def test_joins_that_wait_for_some(rule: str, count: int, needs: int, losers: str) -> None:
    world = World(fork(rule=rule, count=count, losers=losers))
    run = world.start("p")
    for slot in "zyx"[:needs]:
        assert not world.is_open(run, "end")
        world.report(run, slot)
    assert world.is_open(run, "end")
    rest = "zyx"[needs:]
    for slot in rest:
        assert world.is_open(run, slot) == (losers == "leave")
    world.report(run, "end")
    if losers == "leave":
        for slot in rest:
            assert world.status(run) == RunStatus.RUNNING
            world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED


def test_a_loser_goes_with_all_that_is_inside_it() -> None:
    graph = (
        Graph()
        .fork("f", "x", "s", "t", "j")
        .work("x")
        .scope("s", "i", again=look(lambda c: True))
        .call("t", thread="u")
        .work("i")
    )
    graph.work("u").join("j", "x", "s", "t", to="end", rule="first", losers="halt").work("end")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "x")
    assert [row.slot for row in world.rows(run).open.values()] == ["end"]
    world.report(run, "end")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_failure_that_has_a_way_of_its_own_is_none_for_the_join() -> None:
    graph = Graph().fork("f", "x", "y", "j").work("x", on_failure=(Rule("edge", to="mend"),)).work("mend").work("y")
    graph.join("j", "x", "y", to="end").work("end", "last").work("last")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "x", status=FAILED)
    world.report(run, "mend")
    world.report(run, "y")
    assert world.ended(run, "j").status == StepStatus.COMPLETED
    world.report(run, "end")
    world.report(run, "last", status=FAILED)
    world.do(run, Rewind(to="failed"))
    assert [row.slot for row in world.rows(run).open.values()] == ["last"]


def test_a_join_of_joins() -> None:
    graph = Graph().fork("f", "a", "g", "j").work("a").fork("g", "b", "c", "k").work("b").work("c")
    graph.join("k", "b", "c").join("j", "a", "k", to="end").work("end")
    world = World(graph.build())
    run = world.start("p")
    assert world.trail(run) == ["f", "a", "g", "j", "b", "c", "k"] or world.trail(run) == ["f", "a", "g", "b", "c", "k", "j"]
    for slot in "abc":
        assert not world.is_open(run, "end")
        world.report(run, slot)
    assert world.is_open(run, "end")


def test_a_joins_output_is_put_together_when_it_is_read() -> None:
    def joined(scene: Any) -> Any:
        row = scene.newest("j")
        return output_of(scene.draft, row) if row is not None else None

    graph = (
        Graph().fork("f", "x", "y", "j").work("x").work("y").join("j", "x", "y", to="end").work("end", input=look(joined, "j"))
    )
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "x", {"a": 1})
    world.report(run, "y", {"b": 2})
    assert world.ended(run, "j").output is None
    assert world.opened(run, "end").input == {"x": {"a": 1}, "y": {"b": 2}}


# ---- C3: loops


def loop(times: int, **more: Any) -> Graph:
    graph = Graph().scope("l", "a", "after", again=look(lambda c: c.iteration < times), **more)
    return graph.work("a", "b", input=look(lambda c: c.loop("l"), "l")).work("b").work("after")


def test_a_loop_counts_iterations_and_its_steps_carry_them() -> None:
    world = World(loop(3).build())
    run = world.start("p")
    for it in (1, 2, 3):
        row = world.opened(run, "a")
        assert (row.scope, row.it, row.input) == (1, it, it)
        world.report(run, "a", {"it": it})
        world.report(run, "b")
    scope = world.ended(run, "l")
    assert (scope.k, scope.state) == (3, State.SCOPE)
    assert world.is_open(run, "after")
    assert world.trail(run) == ["l", "a", "b", "a", "b", "a", "b", "after"]


def test_a_step_reads_an_earlier_iteration_by_number() -> None:
    graph = Graph().scope("l", "a", "after", again=look(lambda c: c.iteration < 4)).work("a")
    graph.work("after", input=look(lambda c: [output(c.newest("a", it)) for it in (1, 2, 3, 4, 5)] + [output(c.newest("a"))]))
    world = World(graph.build())
    run = world.start("p")
    for it in range(1, 5):
        world.report(run, "a", it)
    assert world.opened(run, "after").input == [1, 2, 3, 4, None, 4]


def test_check_first_may_run_the_body_not_at_all() -> None:
    world = World(loop(0, check_first=True).build())
    run = world.start("p")
    assert world.trail(run) == ["l", "after"]
    assert world.ended(run, "l").k == 0
    world = World(loop(0).build())
    assert world.trail(world.start("p")) == ["l", "a"]


def test_a_failed_inner_step_fails_the_loop_and_the_loops_own_rules_apply() -> None:
    graph = loop(3, on_failure=(Rule("continue"),))
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a")
    world.report(run, "b", status=FAILED, reason="inside")
    scope = world.ended(run, "l")
    assert scope.status == StepStatus.COMPLETED_WITH_ERRORS
    assert "inside" in scope.reason
    assert world.is_open(run, "after")


def test_a_loop_may_be_tried_again() -> None:
    world = World(loop(2, retry=Retry(1)).build())
    run = world.start("p")
    world.report(run, "a", status=FAILED)
    assert world.opened(run, "l").attempt == 1
    assert world.opened(run, "a").it == 1
    for slot in ("a", "b", "a", "b", "after"):
        world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED


def test_loops_in_loops_and_forks_in_them_count_by_their_own_iteration() -> None:
    graph = Graph().scope("o", "i", "end", again=look(lambda c: c.iteration < 2))
    graph.scope("i", "f", again=look(lambda c: c.iteration < 2))
    graph.fork("f", "x", "y", "j").work("x").work("y").join("j", "x", "y", to="t").work("t").work("end")
    world = World(graph.build())
    run = world.start("p")
    seen = []
    for _ in range(4):
        inner, row = world.opened(run, "i"), world.opened(run, "x")
        seen.append((inner.it, row.it))
        assert row.scope == inner.n
        assert world.opened(run, "j").left == 2
        world.report(run, "y")
        world.report(run, "x")
        world.report(run, "t")
    assert seen == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert world.is_open(run, "end")


def test_keep_last_drops_the_steps_of_older_iterations() -> None:
    graph = Graph().scope("l", "a", "after", again=look(lambda c: c.iteration < 10), keep=3).work("a").work("after")
    world = World(graph.build())
    run = world.start("p")
    for it in range(1, 11):
        world.report(run, "a", it)
        kept = [row for row in world.rows(run).ended.values() if row.slot == "a"]
        assert len(kept) <= 4
    assert sorted(row.it for row in world.rows(run).ended.values() if row.slot == "a") in ([8, 9, 10], [7, 8, 9, 10])
    assert world.is_open(run, "after")


def test_keep_last_holds_within_one_turn_too() -> None:
    """A loop of steps that end at once runs through in one turn: its iterations are numbered in that turn, and dropped in it."""
    graph = (
        Graph()
        .scope("l", "a", "after", again=look(lambda c: c.iteration < 2_000), keep=3)
        .assign("a", output="done")
        .work("after")
    )
    world = World(graph.build())
    run = world.start("p")
    assert sorted(row.it for row in world.rows(run).ended.values() if row.slot == "a") == [1_998, 1_999, 2_000]
    assert world.is_open(run, "after")


def test_a_loop_over_items() -> None:
    graph = Graph().scope("l", "a", "after", items=look(lambda c: c.input))
    graph.work("a", input=look(lambda c: c.item("l"), "l")).work("after")
    world = World(graph.build())
    run = world.start("p", ["p", "q", "r"])
    for value in ("p", "q", "r"):
        assert world.opened(run, "a").input == value
        world.report(run, "a", value)
    assert world.is_open(run, "after")
    run = world.start("p", [])
    assert world.trail(run) == ["l", "after"]


def test_the_input_of_a_loop_may_be_renewed_at_each_look_at_its_condition() -> None:
    """It sees the input until then, and what its body has done; before the first iteration there is nothing to renew."""

    def renewed(context: Any) -> Any:
        step = context.newest("a")
        return [*context.value, step.output]

    graph = Graph().scope(
        "l", "a", "after", again=look(lambda c: c.value[-1] != "stop"), renewed=look(renewed), input=say([0]), check_first=True
    )

    def of_loop(context: Any) -> Any:
        return context.newest("l").input

    graph.work("a", input=look(of_loop, "l")).work("after")
    world = World(graph.build())
    run = world.start("p")
    assert world.opened(run, "a").input == [0]
    world.report(run, "a", 1)
    assert world.opened(run, "a").input == [0, 1]
    world.report(run, "a", "stop")
    assert world.is_open(run, "after")
    assert world.ended(run, "l").input == [0, 1, "stop"]


def test_a_loop_has_a_most() -> None:
    graph = Graph().scope("l", "a", again=look(lambda c: True), most=3).work("a")
    world = World(graph.build())
    run = world.start("p")
    for _ in range(3):
        world.report(run, "a")
    assert world.status(run) == RunStatus.FAILED
    assert "3" in world.reason(run)


# ---- C4: dynamic forks


def fragment_of(name: str, value: Any) -> Fragment:
    graph = Graph()
    for slot in value:
        graph.work(slot)
    return Fragment(nodes=graph.nodes, branches=(*value, "j"), joins={"j": tuple(value)})


def test_a_dynamic_fork_compiles_its_branches_on_the_way() -> None:
    graph = Graph(fragment=fragment_of).fork("f", dynamic=look(lambda c: c.input)).join("j", to="end").work("end")
    world = World(graph.build())
    run = world.start("p", ["t1", "t2", "t3"])
    assert world.trail(run) == ["f", "t1", "t2", "t3", "j"]
    for slot in ("t2", "t3", "t1"):
        assert world.opened(run, "j").left
        world.report(run, slot)
    assert world.is_open(run, "end")
    run = world.start("p", [])
    assert world.is_open(run, "end")


def test_a_dynamic_fork_in_a_loop_makes_other_branches_each_time() -> None:
    graph = Graph(fragment=fragment_of).scope("l", "f", "end", again=look(lambda c: c.iteration < 2))
    graph.fork("f", dynamic=look(lambda c: [f"t{c.loop('l')}", "u"], "l")).join("j").work("end")
    world = World(graph.build())
    run = world.start("p")
    for it in (1, 2):
        world.report(run, f"t{it}")
        world.report(run, "u")
    assert world.is_open(run, "end")


# ---- C5: fuel


@pytest.mark.parametrize("others", [(), ("x",)])
def test_a_run_that_fails_as_its_fuel_runs_out_is_not_continued(others: tuple[str, ...]) -> None:
    graph = Graph().fork("f", "bad", "heavy", *others).fail("bad").assign("heavy", fuel=10_000).assign("x")
    world = World(graph.build())
    run = world.start("p", settle=False)
    assert world.status(run) == RunStatus.FAILED
    assert not world.later


def test_a_loop_of_only_synchronous_steps_yields_to_others() -> None:
    graph = Graph().body("", n=0).scope("l", "a", "end", again=look(lambda c: c.iteration < 2_000))
    graph.assign("a", n=look(lambda c: c.var("n") + 1, "$n")).work("end")
    world = World(graph.build(), thorough=False)
    run = world.start("p", settle=False)
    commits = 0
    while world.later:
        world.send(*world.later.popleft())
        commits += 1
    assert commits >= 2_000 // 512
    assert world.var(run, "n") == 2_000
    assert world.is_open(run, "end")
    assert max(cost.written for cost in world.costs) < 512 * 4


def test_a_loop_without_end_can_be_terminated_and_times_out() -> None:
    graph = Graph(deadline=Limit(1_000, "fail run")).scope("l", "a", again=look(lambda c: True)).assign("a", v=1)
    world = World(graph.build(), thorough=False)
    run = world.start("p", settle=False)
    for _ in range(3):
        world.send(*world.later.popleft())
    world.do(run, Terminate(reason="enough"))
    world.settle()
    assert world.status(run) == RunStatus.TERMINATED


def test_out_of_fuel_may_be_a_failure() -> None:
    graph = Graph(out_of_fuel="fail").assign("a", "b", v=1).assign("b", "a", v=2)
    world = World(graph.build(), thorough=False)
    run = world.start("p")
    assert world.status(run) == RunStatus.FAILED


def test_a_cycle_without_a_wait_has_a_limit_of_its_own() -> None:
    graph = Graph(most_transitions=50).assign("a", "b", v=1).assign("b", "a", v=2)
    world = World(graph.build(), thorough=False)
    run = world.start("p")
    assert world.status(run) == RunStatus.FAILED
    assert len(world.trail(run)) == 100


def test_a_fork_of_2000_branches_opens_by_fuel() -> None:
    slots = [f"t{i}" for i in range(2_000)]
    graph = Graph().fork("f", *slots, "j")
    for slot in slots:
        graph.work(slot, queue="q")
    graph.join("j", *slots, to="end").work("end")
    world = World(graph.build(), thorough=False, both=False)
    run = world.start("p", settle=False)
    assert world.costs[-1].written < 1_200
    world.settle()
    assert world.head(run).open == 2_001
    assert world.opened(run, "j").left == 2_000
    for slot in slots[::-1]:
        world.report(run, slot)
    assert world.is_open(run, "end")
    reports = world.costs[-2_000:-1]
    assert max(cost.read for cost in reports) <= 8
    assert max(cost.written for cost in reports) <= 6


def test_branches_that_end_while_the_fork_is_still_opening() -> None:
    slots = [f"t{i}" for i in range(1_200)]
    graph = Graph().fork("f", *slots, "j")
    for slot in slots:
        graph.work(slot, queue="q")
    graph.join("j", *slots, to="end").work("end")
    world = World(graph.build(), thorough=False)
    run = world.start("p", settle=False)
    for row in world.claimable(run):
        world.send(run, Report(n=row.n))
    world.settle()
    for row in world.claimable(run):
        world.send(run, Report(n=row.n))
    assert world.is_open(run, "end")


# ---- C7: calls


def family(depth: int = 3) -> list[Process]:
    """p0 calls p1 calls ... the last works."""
    made = []
    for level in range(depth):
        graph = Graph(f"p{level}")
        if level == depth - 1:
            graph.work("a", "b").work("b")
        else:
            graph.call("c", f"p{level + 1}", "d", input=look(lambda c: c.input)).work("d", input=out("c"))
        made.append(graph.build())
    return made


def test_a_call_starts_a_child_and_takes_its_output() -> None:
    world = World(*family(2))
    top = world.start("p0", {"x": 1})
    (child,) = world.children(top)
    head = world.head(child)
    assert (head.parent, head.root, head.hops) == (top, top, 1)
    assert world.ended(child, "$start").output == {"x": 1}
    assert world.opened(top, "c").child == child
    world.report(child, "a")
    world.report(child, "b", {"r": 1})
    assert world.ended(top, "c").output == {"r": 1}
    assert world.opened(top, "d").input == {"r": 1}


def test_a_failed_child_fails_the_call_and_so_on_to_the_top() -> None:
    world = World(*family(3))
    top = world.start("p0")
    (middle,) = world.children(top)
    (low,) = world.children(middle)
    world.report(low, "a", status=FAILED, reason="deep down")
    assert [world.status(run) for run in (low, middle, top)] == [RunStatus.FAILED] * 3
    assert "deep down" in world.reason(top)


def test_a_childs_retry_revives_its_parents_over_three_levels() -> None:
    world = World(*family(3))
    top = world.start("p0")
    (middle,) = world.children(top)
    (low,) = world.children(middle)
    call = world.opened(middle, "c").n
    world.report(low, "a", status=FAILED)
    world.do(low, Rewind(to="failed"))
    assert [world.status(run) for run in (low, middle, top)] == [RunStatus.RUNNING] * 3
    assert [world.head(run).era for run in (low, middle, top)] == [1, 1, 1]
    assert world.opened(middle, "c").n == call
    assert len(world.runs) == 3
    world.report(low, "a")
    world.report(low, "b", 5)
    world.report(middle, "d", 6)
    world.report(top, "d", 7)
    assert [world.status(run) for run in (low, middle, top)] == [RunStatus.COMPLETED] * 3


def test_a_parents_retry_starts_the_child_anew_or_revives_it() -> None:
    for children in (False, True):
        world = World(*family(2))
        top = world.start("p0")
        (low,) = world.children(top)
        world.report(low, "a")
        world.report(low, "b", status=FAILED)
        world.do(top, Rewind(to="failed", children=children))
        world.settle()
        assert world.status(top) == RunStatus.RUNNING
        assert len(world.children(top)) == (1 if children else 2)
        now = world.children(top)[-1]
        assert world.opened(top, "c").child == now
        assert world.is_open(now, "b") is children
        if not children:
            world.report(now, "a")
        world.report(now, "b", 1)
        world.report(top, "d", 2)
        assert world.status(top) == RunStatus.COMPLETED


def test_a_late_end_of_a_child_that_was_replaced_changes_nothing() -> None:
    world = World(*family(2))
    top = world.start("p0")
    (low,) = world.children(top)
    world.report(low, "a", status=FAILED)
    world.do(top, Rewind(to="failed"))
    world.settle()
    world.do(low, Rewind(to="failed"))
    world.settle()
    assert world.opened(top, "c").child != low
    world.report(low, "a")
    world.report(low, "b", "old")
    assert world.is_open(top, "c")


def test_a_call_that_awaits_nothing_or_a_definition_given_in_full() -> None:
    child = Graph("child").work("a").build()
    graph = Graph().call("c", "child", "b", awaits="nothing").work("b")
    world = World(graph.build(), child)
    top = world.start("p")
    assert world.is_open(top, "b")
    low = next(key for key in world.runs if key != top)
    world.report(top, "b")
    world.report(low, "a", status=FAILED)
    assert world.status(top) == RunStatus.COMPLETED

    graph = Graph().call("c", {"definition": {"slots": ["u"]}}, "b").work("b")
    world = World(graph.build())
    world.compiler = lambda body: Graph("inline").work(body["slots"][0]).build()
    top = world.start("p")
    (low,) = world.children(top)
    world.report(low, "u", 9)
    assert world.ended(top, "c").output == 9


def test_a_call_of_what_does_not_exist_fails() -> None:
    world = World(Graph().call("c", "nowhere", "b").work("b").build())
    run = world.start("p")
    assert world.status(run) == RunStatus.FAILED
    assert "nowhere" in world.reason(run)


def test_runs_that_call_themselves_come_to_an_end() -> None:
    world = World(Graph().call("c", "p").build(), thorough=False)
    run = world.start("p")
    assert world.status(run) == RunStatus.FAILED
    assert len(world.runs) <= 70


def test_sequels_start_another_process_with_this_end() -> None:
    sequel = FollowUp(
        frozenset({RunStatus.FAILED}),
        look(lambda c: {"name": "mourn", "version": None}),
        look(lambda c: {"why": c.end.reason if c.end else "", "of": c.run.key}),
    )
    world = World(Graph(follow_ups=(sequel,)).work("a").build(), Graph("mourn").work("m").build())
    run = world.start("p")
    world.report(run, "a", status=FAILED, reason="bad luck")
    other = max(world.runs)
    assert other != run
    assert world.ended(other, "$start").output == {"why": "bad luck", "of": run}
    run = world.start("p")
    count = len(world.runs)
    world.report(run, "a")
    assert len(world.runs) == count
