"""Forks and joins whose tokens meet again: several tokens in one node, joins passed twice, tokens that parked on their way."""

from __future__ import annotations

from tests.kernel.graphs import Graph, edge, look, out, var
from tests.kernel.world import World

from pelton.kernel.model.process import Fork, Retry, Rule
from pelton.kernel.model.signals import Pause, Resume, Rewind, Terminate
from pelton.kernel.model.state import RunStatus, StepStatus

FAILED = int(StepStatus.FAILED)


def numbers(world: World, run: int, slot: str) -> list[int]:
    """Of the open steps of a slot."""
    return sorted(row.n for row in world.rows(run).open.values() if row.slot == slot and row.n > 0)


def fail(world: World, run: int, slot: str | int) -> None:
    world.report(run, slot, status=FAILED, reason="as reported")


# ---- tokens that parked on leaving


def two_ways() -> Graph:
    """a and b both lead to c, whose guards and assignments look at what c yielded."""
    graph = Graph().body("", seen=None).fork("f", "a", "b").work("a", "c").work("b", "c")
    left = edge("left", lambda c: c.value == "l", seen=look(lambda c: c.value))
    right = edge("right", lambda c: c.step.output == "r", seen=look(lambda c: [c.var("seen"), c.value], "$seen"))
    return graph.work("c", to=[left, right]).work("left").work("right")


def test_tokens_that_parked_on_leaving_one_node_leave_each_with_its_own_step() -> None:
    for first, second in (("l", "r"), ("r", "l")):
        world = World(two_ways().build())
        run = world.start("p")
        world.report(run, "a")
        world.report(run, "b")
        older, newer = numbers(world, run, "c")
        world.do(run, Pause())
        world.report(run, older, first)
        world.report(run, newer, second)
        world.do(run, Resume())
        assert sorted(slot for slot in world.trail(run) if slot in ("left", "right")) == ["left", "right"]
        assert world.var(run, "seen") == (["l", "r"] if first == "l" else "l")


def test_a_token_that_parked_on_leaving_is_not_taken_for_the_one_that_still_works() -> None:
    world = World(two_ways().build())
    run = world.start("p")
    world.report(run, "a")
    world.report(run, "b")
    older, newer = numbers(world, run, "c")
    world.do(run, Pause())
    world.report(run, older, "l")
    world.do(run, Resume())
    assert world.is_open(run, "left")
    assert world.newest(run, "right") is None
    world.report(run, newer, "r")
    assert world.is_open(run, "right")


def test_a_token_that_parked_twice_still_knows_its_step() -> None:
    world = World(two_ways().build())
    run = world.start("p")
    world.report(run, "a")
    world.report(run, "b")
    older, newer = numbers(world, run, "c")
    world.do(run, Pause())
    world.report(run, older, "l")
    world.do(run, Resume())
    world.do(run, Pause())
    world.report(run, newer, "r")
    world.do(run, Resume())
    world.report(run, "left")
    world.report(run, "right")
    assert world.status(run) == RunStatus.COMPLETED


def test_tokens_that_a_handler_held_up_leave_without_assignments_each_with_its_own_step() -> None:
    graph = Graph().body("", seen=None).fork("f", "a", "b")
    graph.work("a", edge("c", came="a")).work("b", edge("c", came="b"))
    left = edge("left", lambda c: c.step.input == "a", seen=1)
    right = edge("right", lambda c: c.step.input == "b", seen=2)
    graph.work("c", to=[left, right], input=var("came"), on_failure=(Rule("body", to="h"),))
    graph.work("left").work("right").work("h")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a")
    world.report(run, "b")
    older, newer = numbers(world, run, "c")
    fail(world, run, older)
    fail(world, run, newer)
    for n in numbers(world, run, "h"):
        world.report(run, n)
    assert world.var(run, "seen") is None
    assert sorted(slot for slot in world.trail(run) if slot in ("left", "right")) == ["left", "right"]


def test_a_parked_token_keeps_its_attempt_and_its_place_when_it_enters() -> None:
    graph = Graph().fork("f", "a", "b", "j").work("a", retry=Retry(1)).work("b").join("j", "a", "b", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, Pause())
    fail(world, run, "a")
    world.report(run, "b")
    world.do(run, Resume())
    assert world.opened(run, "a").attempt == 1
    world.report(run, "a")
    assert world.is_open(run, "z")


# ---- a second pass through fork and join


def rounds(rule: str = "all", losers: str = "leave", count: int = 0, **more: object) -> Graph:
    """f: a, x -> b, j; then again over a back edge, for as long as `again` reports "more"."""
    graph = Graph().fork("f", "a", "x", "j").work("a").work("x", "b").work("b", **more)  # type: ignore[arg-type]
    graph.join("j", "a", "b", rule=rule, losers=losers, count=count, to="again")
    return graph.work("again", to=[edge("f", lambda c: c.value == "more"), edge("z")]).work("z", input=out("b"))


def test_a_join_passed_a_second_time_waits_for_its_own_branches() -> None:
    world = World(rounds().build())
    run = world.start("p")
    for last in ("more", "more", "done"):
        world.report(run, "a")
        assert world.opened(run, "j").left == 1
        world.report(run, "x")
        assert not world.is_open(run, "again")
        world.report(run, "b", last)
        world.report(run, "again", last)
    assert world.opened(run, "z").input == "done"


def test_a_branch_that_lost_an_earlier_pass_counts_in_no_later_one() -> None:
    """The first pass leaves x behind, which reaches b only when the second pass has begun."""
    world = World(rounds("first").build())
    run = world.start("p")
    late = numbers(world, run, "x")[0]
    world.report(run, "a")
    world.report(run, "again", "more")
    assert world.is_open(run, "j")
    world.report(run, late)
    world.report(run, "b", "of the first pass")
    assert world.is_open(run, "j"), "the late branch of the first pass has won the second"
    world.report(run, "x")
    world.report(run, "b", "of the second pass")
    assert world.is_open(run, "again")


def test_another_attempt_of_a_branch_that_lost_counts_in_no_later_pass() -> None:
    world = World(rounds("first", retry=Retry(2)).build())
    run = world.start("p")
    world.report(run, "x")
    late = numbers(world, run, "b")[0]
    world.report(run, "a")
    world.report(run, "again", "more")
    fail(world, run, late)
    world.report(run, numbers(world, run, "b")[-1])
    assert world.is_open(run, "j")
    world.report(run, "a")
    assert world.is_open(run, "again")


def test_a_step_in_place_of_a_branch_that_lost_does_not_hide_the_one_of_this_pass() -> None:
    world = World(rounds("all").build())
    run = world.start("p")
    world.do(run, Pause())
    world.report(run, "a")
    world.report(run, "x")
    world.do(run, Resume())
    world.report(run, "b")
    world.report(run, "again", "more")
    world.report(run, "x")
    world.report(run, "b")
    assert world.opened(run, "j").left == 1
    world.report(run, "a")
    assert world.is_open(run, "again")


def test_a_join_whose_fork_ran_out_of_fuel_knows_its_pass() -> None:
    slots = [f"t{index}" for index in range(600)]
    graph = Graph().fork("f", *slots, "j")
    for slot in slots:
        graph.work(slot)
    graph.join("j", *slots, rule="first", to="again").work("again", to=[edge("f", lambda c: c.value == "more"), edge("z")]).work(
        "z"
    )
    world = World(graph.build(), thorough=False)
    run = world.start("p")
    world.report(run, "t1")
    world.report(run, "again", "more")
    assert world.is_open(run, "j")
    late = numbers(world, run, "t7")[0]
    world.report(run, late)
    assert world.is_open(run, "j")
    world.report(run, "t599")
    assert world.is_open(run, "again")


def test_a_join_that_was_halted_on_its_way_knows_its_pass() -> None:
    world = World(rounds("first").build())
    run = world.start("p")
    world.report(run, "a")
    world.do(run, Pause())
    world.report(run, "again", "more")
    world.do(run, Resume())
    assert world.is_open(run, "j")
    assert world.opened(run, "j").left == 1


def test_nested_forks_count_in_the_joins_around_them() -> None:
    """The inner fork's branches end in slots that the outer join awaits, some through the inner join, some not."""
    graph = Graph().fork("f", "g", "c", "j").fork("g", "a", "b", "k").work("a").work("b").work("c")
    graph.join("k", "b", to="d").work("d").join("j", "a", "c", "d", to="again")
    graph.work("again", to=[edge("f", lambda c: c.value == "more"), edge("z")]).work("z")
    for trace in (True, False):
        graph.nodes["g"] = Fork(name="g", branches=("a", "b", "k"), trace=trace)
        world = World(graph.build())
        run = world.start("p")
        for last in ("more", "done"):
            world.report(run, "a")
            world.report(run, "c")
            assert world.opened(run, "j").left == 1
            world.report(run, "b")
            assert world.opened(run, "j").left == 1
            world.report(run, "d")
            world.report(run, "again", last)
        assert world.is_open(run, "z")


def test_two_tokens_in_one_fork_have_a_join_each() -> None:
    """p and q both lead to the fork: each opens branches and a join of its own, in the same place."""
    graph = Graph().fork("s", "p", "q").work("p", "f").work("q", "f")
    graph.fork("f", "a", "b", "j").work("a").work("b").join("j", "a", "b", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "p")
    world.report(run, "q")
    (first_a, second_a), (first_b, second_b) = numbers(world, run, "a"), numbers(world, run, "b")
    world.report(run, second_a)
    world.report(run, first_a)
    assert numbers(world, run, "z") == []
    world.report(run, first_b)
    assert len(numbers(world, run, "z")) == 1
    world.report(run, second_b)
    assert len(numbers(world, run, "z")) == 2


def test_a_retried_run_counts_the_branches_of_its_own_pass() -> None:
    world = World(rounds("all").build())
    run = world.start("p")
    world.report(run, "a")
    world.report(run, "x")
    world.report(run, "b")
    world.report(run, "again", "more")
    world.report(run, "a")
    fail(world, run, "x")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    world.settle()
    assert world.opened(run, "j").left == 1, "b of the first pass is counted in the second"
    world.report(run, "x")
    world.report(run, "b")
    assert world.is_open(run, "again")


def test_a_run_that_goes_back_to_its_second_fork_counts_anew() -> None:
    world = World(rounds("all").build())
    run = world.start("p")
    for last in ("more", "done"):
        world.report(run, "a")
        world.report(run, "x")
        world.report(run, "b")
        world.report(run, "again", last)
    world.do(run, Terminate())
    second = max(step.n for step in world.rows(run).ended.values() if step.slot == "f")
    world.do(run, Rewind(to="step", n=second))
    world.settle()
    assert world.opened(run, "j").left == 2
    for slot in ("x", "a", "b"):
        world.report(run, slot)
    assert world.is_open(run, "again")
