"""Forks whose branches are made while the run is in progress: each passage through one has nodes of its own, kept by its step."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, edge, look, out
from tests.kernel.world import World

from pelton.errors import Code
from pelton.kernel.expressions.base import Invalid
from pelton.kernel.machine.draft import UNMARKED
from pelton.kernel.machine.tokens.outputs import output_of
from pelton.kernel.model.process import Fragment, Process, Retry, Rule
from pelton.kernel.model.signals import Pause, Resume, Rewind, Upgrade
from pelton.kernel.model.state import FRAGMENTED, Bit, OpenStep, RunStatus, State, Step, StepStatus

FAILED = int(StepStatus.FAILED)


def fragment_of(name: str, value: Any) -> Fragment:
    """Branches by name, with the value as the queue they go to; {"fork": ...}, {"loop": ...}, {"threads": ...}, {"then": ...} are
    branches that hold more. The join that follows is `j` of the process for `f`, and a node of the fragment for others."""
    if not isinstance(value, dict):
        raise Invalid(f"{value!r} has no branches", 0)
    graph = Graph()
    ends = []
    for slot, each in value.items():
        ends.append(slot)
        if not isinstance(each, dict):
            graph.work(slot, queue=str(each), retry=Retry(1))
        elif "fork" in each:
            graph.fork(slot, dynamic=each["fork"]).join(f"{slot}-j")
            ends[-1] = f"{slot}-j"
        elif "loop" in each:
            graph.scope(slot, f"{slot}-in", items=[1, 2]).work(f"{slot}-in", queue=str(each["loop"]))
        elif "threads" in each:
            graph.scope(slot, f"{slot}-in", items=[1, 2], parallel=True).work(f"{slot}-in", queue=str(each["threads"]))
        elif "handled" in each:
            graph.work(slot, queue=str(each["handled"]), on_failure=(Rule("body", to=f"{slot}-h"),)).work(f"{slot}-h")
        else:
            graph.work(slot, f"{slot}-2").work(f"{slot}-2", queue=str(each["then"]), input=out(slot))
            ends[-1] = f"{slot}-2"
    join = "j" if name == "f" else f"{name}-j"
    return Fragment(nodes=graph.nodes, branches=(*value, join), joins={join: tuple(ends)})


def graph_of(dynamic: Any = None, **join: Any) -> Graph:
    graph = Graph(fragment=fragment_of).fork("f", dynamic=dynamic or look(lambda c: c.input))
    return graph.join("j", **{"to": "z", **join})


def plain() -> Process:
    return graph_of().work("z", input=out("j")).build()


def opened(world: World, run: int, slot: str) -> list[OpenStep]:
    return sorted((r for r in world.rows(run).open.values() if r.slot == slot and r.n > 0), key=lambda row: row.n)


def joined(world: World, run: int, n: int) -> Any:
    """The output of a step, as a view assembles it."""
    from tests.kernel.memory import AllReads

    from pelton.kernel.machine.draft import Draft

    head = world.head(run)
    row = world.rows(run).row(n)
    assert row is not None
    return output_of(Draft(world.definitions[head.definition], AllReads(world, run, {}), head, world.now), row)


def joins(world: World, run: int) -> list[Any]:
    return [joined(world, run, row.n) for row in world.rows(run).steps() if row.slot == "j"]


def test_each_thread_has_branches_of_its_own() -> None:
    graph = Graph(fragment=fragment_of).scope("l", "f", "z", items=[{"a": "p", "b": "p"}, {"a": "q", "c": "q"}], parallel=True)
    graph.fork("f", dynamic=look(lambda c: c.var("INPUT"), "$INPUT")).join("j", to="y").work("y").work("z")
    world = World(graph.build())
    run = world.start("p")
    first, second = opened(world, run, "a")
    assert (first.queue, second.queue) == ("p", "q")
    world.report(run, second.n, "a of 2")
    world.report(run, first.n, "a of 1")
    world.report(run, "b", "b of 1")
    assert [row.thread for row in opened(world, run, "y")] == [1]
    world.report(run, "c", "c of 2")
    assert joins(world, run) == [{"a": "a of 1", "b": "b of 1"}, {"a": "a of 2", "c": "c of 2"}]
    for row in opened(world, run, "y"):
        world.report(run, row.n)
    assert world.is_open(run, "z")


def looped(**more: Any) -> Graph:
    graph = Graph(fragment=fragment_of).scope("l", "f", "z", again=look(lambda c: c.iteration < 3), **more)
    names = look(lambda c: {"a": f"q{c.loop('l')}", f"x{c.loop('l')}": "q"}, "l")
    return graph.fork("f", dynamic=names).join("j").work("z", input=out("a"))


def test_each_iteration_has_branches_of_its_own_and_keeps_their_outputs() -> None:
    world = World(looped().build())
    run = world.start("p")
    for it in (1, 2, 3):
        assert world.opened(run, "a").queue == f"q{it}"
        world.report(run, "a", it)
        world.report(run, f"x{it}", it * 10)
    assert joins(world, run) == [{"a": 1, "x1": 10}, {"a": 2, "x2": 20}, {"a": 3, "x3": 30}]
    members = joined(world, run, world.ended(run, "l").n)
    assert members["2"]["j"] == {"a": 2, "x2": 20}
    assert (members["1"]["a"], members["3"]["x3"]) == (1, 30), "what the fork made belongs to the loop's output"


def test_branches_of_dropped_iterations_are_dropped() -> None:
    world = World(looped(keep=1).build())
    run = world.start("p")
    for it in (1, 2, 3):
        world.report(run, "a")
        world.report(run, f"x{it}")
    assert len(world.rows(run).fragments) <= 2


def test_each_of_two_tokens_in_one_fork_has_branches_of_its_own() -> None:
    graph = Graph(fragment=fragment_of).fork("s", "p", "q").work("p", "f").work("q", "f")
    graph.fork("f", dynamic=look(lambda c: {"a": c.var("who"), c.var("who"): "x"}, "$who")).join("j", to="z").work("z")
    graph.nodes["p"] = Graph().work("p", edge("f", who="from p")).nodes["p"]
    graph.nodes["q"] = Graph().work("q", edge("f", who="from q")).nodes["q"]
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "p")
    world.report(run, "q")
    first, second = opened(world, run, "a")
    assert (first.queue, second.queue) == ("from p", "from q")
    world.report(run, "from q", "q")
    world.report(run, first.n, "a of p")
    assert not opened(world, run, "z")
    world.report(run, second.n, "a of q")
    assert len(opened(world, run, "z")) == 1
    world.report(run, "from p", "p")
    assert len(opened(world, run, "z")) == 2
    assert joins(world, run) == [{"a": "a of p", "from p": "p"}, {"a": "a of q", "from q": "q"}]


def test_a_step_sees_what_its_own_branches_yielded() -> None:
    """Two passages at the same time, and one inside another, have branches of the same names."""
    graph = Graph(fragment=fragment_of).fork("s", "p", "q").work("p", "f").work("q", "f")
    graph.fork("f", dynamic={"a": {"then": "x"}}).join("j", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "p")
    world.report(run, "q")
    first, second = opened(world, run, "a")
    world.report(run, first.n, 1)
    world.report(run, second.n, 2)
    assert [row.input for row in opened(world, run, "a-2")] == [1, 2]
    world = World(plain())
    run = world.start("p", {"a": {"then": "x"}, "g": {"fork": {"a": {"then": "y"}}}})
    outer, inner = opened(world, run, "a")
    world.report(run, inner.n, "inner")
    world.report(run, outer.n, "outer")
    assert [row.input for row in opened(world, run, "a-2")] == ["inner", "outer"]
    world = World(plain())
    run = world.start("p", {"a": {"then": "x"}, "g": {"fork": {"a": {"then": "y"}}}})
    outer, inner = opened(world, run, "a")
    world.report(run, outer.n, "outer")
    world.report(run, inner.n, "inner")
    assert [row.input for row in opened(world, run, "a-2")] == ["outer", "inner"]


def test_a_second_pass_over_a_back_edge_has_branches_of_its_own() -> None:
    graph = graph_of(look(lambda c: {"a": "later" if c.newest("again") else "first"}, "again"), to="again")
    graph.work("again", to=[edge("f", lambda c: c.value == "more"), edge("z")]).work("z")
    world = World(graph.build())
    run = world.start("p")
    for queue, last in (("first", "more"), ("later", "done")):
        assert world.opened(run, "a").queue == queue
        world.report(run, "a")
        world.report(run, "again", last)
    assert world.is_open(run, "z")


def test_branches_may_fork_again_and_again() -> None:
    value = {"a": "1", "g": {"fork": {"a": "2", "h": {"fork": {"a": "3", "b": "3"}}}}}
    world = World(plain())
    run = world.start("p", value)
    assert [row.queue for row in opened(world, run, "a")] == ["1", "2", "3"]
    for row in opened(world, run, "a"):
        world.report(run, row.n, row.queue)
    assert world.opened(run, "h-j").left == 1
    world.report(run, "b", "b")
    assert world.is_open(run, "z")
    assert joins(world, run) == [{"a": "1", "g-j": {"a": "2", "h-j": {"a": "3", "b": "b"}}}]


@pytest.mark.parametrize("inside", ["loop", "threads"])
def test_branches_may_hold_loops_and_threads(inside: str) -> None:
    world = World(plain())
    run = world.start("p", {"a": "q", "s": {inside: "inner"}})
    world.report(run, "a")
    for _ in range(2):
        assert opened(world, run, "s-in")[0].queue == "inner"
        world.report(run, opened(world, run, "s-in")[0].n, 7)
    assert world.is_open(run, "z")
    if inside == "loop":
        assert joins(world, run) == [{"s": {"iteration": 2, "1": {"s-in": 7}, "2": {"s-in": 7}}}]


def test_a_branch_is_tried_again_goes_on_and_is_handled_in_its_own_nodes() -> None:
    world = World(plain())
    run = world.start("p", {"a": "q", "b": {"then": "next"}, "c": {"handled": "q"}})
    world.report(run, "a", status=FAILED)
    assert world.opened(run, "a").attempt == 1
    world.report(run, "b")
    assert world.opened(run, "b-2").queue == "next"
    world.do(run, Pause())
    world.report(run, "a")
    world.report(run, "b-2")
    world.do(run, Resume())
    world.report(run, "c", status=FAILED)
    world.report(run, "c-h")
    assert world.is_open(run, "z")


def test_what_cannot_be_made_fails_the_fork() -> None:
    world = World(plain())
    run = world.start("p", ["no", "branches"])
    assert world.status(run) == RunStatus.FAILED
    assert "has no branches" in world.reason(run)


def test_a_wide_fork_opens_by_fuel_and_a_report_costs_what_it_costs_in_a_static_one() -> None:
    slots = [f"t{i}" for i in range(1_000)]
    static = Graph("static").fork("f", *slots, "j").join("j", *slots, to="z").work("z")
    for slot in slots:
        static.work(slot, queue="q")
    costs = []
    for process, given in ((static.build(), None), (plain(), dict.fromkeys(slots, "q"))):
        world = World(process, thorough=False, both=False)
        run = world.start(process, given)
        assert world.head(run).open == 1_001
        for slot in slots[:3]:
            world.report(run, slot)
        costs.append(world.costs[-1])
        assert world.opened(run, "j").left == 997
    (read, written, rounds), mine = costs
    assert mine.read <= read + 1, "its nodes are one read more"
    assert (mine.written, mine.rounds) == (written, rounds + 1)


def test_a_process_is_compiled_once_for_all_signals() -> None:
    made = []

    def make(name: str, value: Any) -> Fragment:
        made.append(value)
        return fragment_of(name, value)

    graph = Graph(fragment=make).fork("f", dynamic=look(lambda c: c.input)).join("j", to="z").work("z")
    world = World(graph.build())
    for _ in range(2):
        run = world.start("p", {"a": "q", "b": "q"})
        world.report(run, "a")
        world.report(run, "b")
    assert len(made) == 1


def test_only_the_branches_that_the_join_waits_for_lose() -> None:
    world = World(graph_of(rule="first", losers="halt").work("z").build())
    run = world.start("p", {"a": "q", "b": {"then": "q"}, "s": {"loop": "q"}, "g": {"fork": {"x": "q"}}})
    world.report(run, "a")
    assert [row.slot for row in world.rows(run).open.values()] == ["z"]


# ---- operators


def test_failed_branches_are_retried_each_in_its_own_nodes() -> None:
    world = World(looped().build())
    run = world.start("p")
    world.report(run, "a", 1)
    world.report(run, "x1", 1)
    world.report(run, "x2", 2)
    for _ in range(2):
        world.report(run, "a", status=FAILED)
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    world.settle()
    assert world.opened(run, "a").queue == "q2"
    world.report(run, "a", 2)
    world.report(run, "a", 3)
    world.report(run, "x3", 3)
    assert joins(world, run)[1] == {"a": 2, "x2": 2}
    assert world.is_open(run, "z")


def test_a_fork_that_is_run_again_makes_its_branches_anew() -> None:
    given = look(lambda c: c.step.input if c.step is not None else None)
    graph = Graph(fragment=fragment_of).fork("f", dynamic=given, input=look(lambda c: c.input)).join("j", to="z").work("z")
    world = World(graph.build())
    run = world.start("p", {"a": "old", "b": "old"})
    world.report(run, "a")
    world.report(run, "b")
    world.report(run, "z")
    fork = world.ended(run, "f").n
    world.do(run, Rewind(to="step", n=fork, step_input={"a": "new", "c": "new"}))
    world.settle()
    assert world.opened(run, "a").queue == "new"
    world.report(run, "a", 1)
    world.report(run, "c", 2)
    assert world.is_open(run, "z")
    assert joins(world, run) == [{"a": 1, "c": 2}]


def test_a_run_goes_back_to_a_step_among_its_branches() -> None:
    world = World(plain())
    run = world.start("p", {"a": "q", "b": {"then": "next"}})
    world.report(run, "a", 1)
    world.report(run, "b")
    world.report(run, "b-2", 2)
    world.report(run, "z")
    world.do(run, Rewind(to="step", n=world.ended(run, "b").n))
    world.settle()
    world.report(run, "b")
    assert world.opened(run, "b-2").queue == "next"
    world.report(run, "b-2", 3)
    assert world.is_open(run, "z")
    assert joins(world, run) == [{"a": 1, "b-2": 3}]


def test_a_run_with_branches_that_it_made_is_not_upgraded_before_they_have_ended() -> None:
    world = World(plain())
    run = world.start("p", {"a": "q", "b": "q"})
    newer = plain()
    newer.version = 2
    newer.nodes["a"] = Graph().work("a").nodes["a"]
    number = world.define(newer)
    world.report(run, "b", "b")
    refused = world.refuse(run, Upgrade(definition=number))
    assert refused.code == Code.INVALID
    assert "'a'" in refused.detail
    assert "'f'" in refused.detail
    world.report(run, "a", "a")
    world.do(run, Upgrade(definition=number))
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED
    assert joins(world, run) == [{"a": "a", "b": "b"}]


# ---- runs of earlier versions of Pelton


def unmark(world: World, run: int) -> None:
    """What the run's rows said before they named forks and fragments."""
    rows = world.rows(run)
    found: list[OpenStep | Step] = [*rows.open.values(), *rows.ended.values()]
    for row in found:
        row.fork = row.fragment = 0
        row.bits &= ~Bit.DYNAMIC
        if row.state == State.JOIN:
            row.k = 0
        if row.n < 0 or row.state == State.JOIN:
            row.child = 0
    rows.run.flags = (rows.run.flags & ~FRAGMENTED) | UNMARKED
    rows.fragments = {n: (n, node, value, -1) for n, (_, node, value, _) in rows.fragments.items()}


def test_a_run_whose_rows_do_not_name_their_fork_goes_on() -> None:
    world = World(graph_of(look(lambda c: c.input), to="more").work("more", edge("z")).work("z").build())
    run = world.start("p", {"a": "q", "b": {"then": "next"}, "c": {"handled": "q"}})
    world.report(run, "a", 1)
    unmark(world, run)
    world.report(run, "b", 2)
    world.report(run, "b-2", 2)
    world.report(run, "c", 3)
    assert world.is_open(run, "more")
    assert joins(world, run) == [{"a": 1, "b-2": 2, "c": 3}]
    world.report(run, "more")
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_loop_whose_first_iterations_do_not_name_their_fork_goes_on() -> None:
    world = World(looped().build())
    run = world.start("p")
    world.report(run, "a", 1)
    unmark(world, run)
    world.report(run, "x1", 1)
    for it in (2, 3):
        assert world.opened(run, "a").queue == f"q{it}"
        world.report(run, "a", it)
        world.report(run, f"x{it}", it)
    assert world.is_open(run, "z")
    assert joins(world, run)[1:] == [{"a": 2, "x2": 2}, {"a": 3, "x3": 3}]


def test_a_wide_fork_that_was_opening_goes_on_to_open() -> None:
    slots = [f"t{i}" for i in range(600)]
    world = World(plain(), thorough=False)
    run = world.start("p", dict.fromkeys(slots, "q"), settle=False)
    unmark(world, run)
    world.settle()
    for slot in slots:
        world.report(run, slot)
    assert world.is_open(run, "z")
