"""Joins that do not wait for every branch, and end the ones that lost: whole branches, not only the steps that were awaited."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, edge, look, out, outside
from tests.kernel.world import World

from pelton.kernel.model.process import Process, Rule
from pelton.kernel.model.signals import Pause, Resume
from pelton.kernel.model.state import RunStatus, Step, StepStatus

FAILED = int(StepStatus.FAILED)


def race(rule: Any = "first", count: int = 0, losers: Any = "halt") -> Graph:
    """f: a, b1 -> b2 -> b, c1 -> c; the join awaits a, b and c."""
    graph = Graph().fork("f", "a", "b1", "c1", "j").work("a").work("b1", "b2").work("b2", "b").work("b").work("c1", "c").work("c")
    return graph.join("j", "a", "b", "c", rule=rule, count=count, losers=losers, to="z").work("z")


def open_slots(world: World, run: int) -> list[str]:
    return sorted(row.slot for row in world.rows(run).open.values())


@pytest.mark.parametrize("rule", ["first", "any"])
def test_losing_branches_end_before_they_reach_what_the_join_awaits(rule: str) -> None:
    world = World(race(rule).build())
    run = world.start("p")
    world.report(run, "b1")
    world.report(run, "a")
    assert open_slots(world, run) == ["z"]
    assert {world.ended(run, slot).status for slot in ("b2", "c1")} == {StepStatus.CANCELED}
    assert world.ended(run, "b1").status == StepStatus.COMPLETED
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_losers_that_are_left_work_on() -> None:
    world = World(race(losers="leave").build())
    run = world.start("p")
    world.report(run, "a")
    assert open_slots(world, run) == ["b1", "c1", "z"]


def test_a_count_leaves_what_has_ended_and_ends_the_rest() -> None:
    world = World(race("count", 2).build())
    run = world.start("p")
    world.report(run, "a", 1)
    world.report(run, "c1")
    assert open_slots(world, run) == ["b1", "c", "j"]
    world.report(run, "c", 3)
    assert open_slots(world, run) == ["z"]
    assert world.ended(run, "a").output == 1
    assert world.ended(run, "c").output == 3


def test_a_winner_goes_on_beyond_what_the_join_awaits() -> None:
    graph = Graph().fork("f", "a", "b1", "j").work("a", "after").work("after", "more").work("more").work("b1", "b").work("b")
    graph.join("j", "a", "b", rule="first", losers="halt", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a")
    assert open_slots(world, run) == ["after", "z"]
    world.report(run, "after")
    world.report(run, "more")
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_branch_that_the_join_does_not_await_stays() -> None:
    graph = Graph().fork("f", "a", "b1", "free", "j").work("a").work("b1", "b").work("b").work("free", "freely").work("freely")
    graph.join("j", "a", "b", rule="first", losers="halt", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a")
    assert open_slots(world, run) == ["free", "z"]


def nested(inside: str) -> Process:
    """A losing branch in which something is going on that opens rows of its own."""
    graph = Graph().fork("f", "a", "b1", "j").work("a")
    if inside == "fork":
        graph.fork("b1", "x", "y1", "side", "k").work("x").work("y1", "y").work("y").work("side").join("k", "x", "y", to="b")
    elif inside == "silent fork":
        graph.fork("b1", "x", "y1", "k", trace=False).work("x").work("y1", "y").work("y").join("k", "x", "y", to="b")
    elif inside == "scope":
        graph.scope("b1", "x", "b", again=look(lambda c: True)).fork("x", "u", "v", "k").work("u").work("v").join("k", "u", "v")
    elif inside == "threads":
        graph.scope("b1", "x", "b", items=[1, 2, 3], parallel=True).work("x")
    elif inside == "thread":
        graph.call("b1", thread="x", to="b").scope("x", "y", items=[1, 2], parallel=True).work("y")
    elif inside == "wait":
        graph.wait("b1", outside(), to="b")
    elif inside == "choice":
        graph.work("b1", "m").choice("m", look(lambda c: "x"), {"x": "x"}, "b", trace=False).work("x", "b")
    graph.work("b").join("j", "a", "b", rule="first", losers="halt", to="z").work("z")
    return graph.build()


@pytest.mark.parametrize("inside", ["fork", "silent fork", "scope", "threads", "thread", "wait", "choice"])
def test_everything_inside_a_losing_branch_ends(inside: str) -> None:
    world = World(nested(inside))
    run = world.start("p")
    if inside == "choice":
        world.report(run, "b1")
    world.report(run, "a")
    assert open_slots(world, run) == ["z"]
    world.report(run, "z")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_child_run_of_a_losing_branch_is_terminated() -> None:
    graph = Graph().fork("f", "a", "b1", "j").work("a").call("b1", "child", "b").work("b")
    graph.join("j", "a", "b", rule="first", losers="halt", to="z").work("z")
    world = World(Graph("child").work("w").build(), graph.build())
    run = world.start("p")
    world.report(run, "a")
    assert [world.status(child) for child in world.children(run)] == [RunStatus.TERMINATED]
    assert open_slots(world, run) == ["z"]


def test_a_losing_branch_that_parked_goes_no_further() -> None:
    for slot in ("b1", "b2"):
        world = World(race().build())
        run = world.start("p")
        if slot == "b2":
            world.report(run, "b1")
        world.do(run, Pause())
        world.report(run, slot)
        world.report(run, "a")
        world.do(run, Resume())
        assert open_slots(world, run) == ["z"], slot


def test_a_winner_that_parked_goes_on() -> None:
    graph = Graph().fork("f", "a", "b1", "j").work("a", "after").work("after").work("b1", "b").work("b")
    graph.join("j", "a", "b", rule="first", losers="halt", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    world.report(run, "a")
    world.do(run, Resume())
    assert open_slots(world, run) == ["after", "z"]


def test_a_branch_that_wins_while_it_opens_ends_the_ones_that_have_not_begun() -> None:
    graph = Graph().fork("f", "j", "a", "b1").assign("a", v=1).work("b1", "b").work("b")
    graph.join("j", "a", "b", rule="first", losers="halt", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    assert open_slots(world, run) == ["z"]


def test_a_race_inside_a_race_ends_only_its_own_losers() -> None:
    graph = Graph().fork("f", "g", "c1", "j").fork("g", "a1", "b1", "k").work("a1", "a").work("a").work("b1", "b").work("b")
    graph.join("k", "a", "b", rule="first", losers="halt", to="d1").work("d1", "d").work("d").work("c1", "c").work("c")
    graph.join("j", "c", "d", rule="first", losers="halt", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a1")
    world.report(run, "a")
    assert open_slots(world, run) == ["c1", "d1", "j"]
    world.report(run, "d1")
    world.report(run, "c1")
    world.report(run, "d")
    assert open_slots(world, run) == ["z"]
    run = world.start("p")
    world.report(run, "c1")
    world.report(run, "a1")
    world.report(run, "c")
    assert open_slots(world, run) == ["z"]


def test_races_in_each_iteration_and_in_each_thread_end_their_own_losers() -> None:
    graph = Graph().scope("l", "f", "z", items=[1, 2], parallel=True).work("z")
    graph.fork("f", "a", "b1", "j").work("a").work("b1", "b").work("b").join("j", "a", "b", rule="first", losers="halt")
    world = World(graph.build())
    run = world.start("p")
    first = min(row.n for row in world.rows(run).open.values() if row.slot == "a")
    world.report(run, first)
    assert open_slots(world, run) == ["a", "b1", "j", "l"]
    world.report(run, "a")
    assert open_slots(world, run) == ["z"]


def test_a_second_passage_ends_the_losers_of_its_own() -> None:
    """What the first pass left behind does not go with the second's losers."""
    graph = Graph().fork("f", "a", "b1", "j").work("a").work("b1", "b").work("b")
    graph.join("j", "a", "b", rule="first", losers="halt", to="again")
    graph.work("again", to=[edge("f", lambda c: c.value == "more"), edge("z")]).work("z", input=out("a"))
    world = World(graph.build())
    run = world.start("p")
    for last in ("more", "done"):
        world.report(run, "a", last)
        assert open_slots(world, run) == ["again"]
        world.report(run, "again", last)
    assert open_slots(world, run) == ["z"]
    lost = [step for step in world.rows(run).steps() if isinstance(step, Step) and step.slot == "b1"]
    assert [step.status for step in lost] == [StepStatus.CANCELED] * 2


def test_two_tokens_that_race_in_one_fork_end_the_losers_of_their_own() -> None:
    graph = Graph().fork("s", "p", "q").work("p", "f").work("q", "f")
    graph.fork("f", "a", "b1", "j").work("a").work("b1", "b").work("b")
    graph.join("j", "a", "b", rule="first", losers="halt", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "p")
    world.report(run, "q")
    first, second = sorted(row.n for row in world.rows(run).open.values() if row.slot == "a")
    world.report(run, first)
    assert open_slots(world, run) == ["a", "b1", "j", "z"]
    world.report(run, second)
    assert open_slots(world, run) == ["z", "z"]


def test_one_of_two_ways_of_a_branch_wins_and_the_other_is_ended() -> None:
    graph = Graph().fork("f", "g", "c", "j").fork("g", "a", "b1").work("a").work("b1", "b").work("b").work("c")
    graph.join("j", "a", "b", "c", rule="first", losers="halt", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a")
    assert open_slots(world, run) == ["z"]


def test_a_branch_whose_failure_leads_on_by_an_edge_is_part_of_the_race() -> None:
    graph = Graph().fork("f", "a", "b1", "j").work("a").work("b1", "b", on_failure=(Rule("edge", to="cure"),)).work("cure", "b")
    graph.work("b").join("j", "a", "b", rule="first", losers="halt", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "b1", status=FAILED)
    assert world.is_open(run, "cure")
    world.report(run, "a")
    assert open_slots(world, run) == ["z"]
