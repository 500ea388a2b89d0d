"""What a retry and a rerun do to what a failed step had led to, to tokens in transit, and to long loops."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.kernel.graphs import Graph, look, outside
from tests.kernel.world import World

from pelton.kernel.model.process import Edge, Retry, Rule
from pelton.kernel.model.signals import Pause, Report, Resume, Rewind, Terminate
from pelton.kernel.model.state import Bit, OpenStep, RunStatus, State, Step, StepStatus

FAILED = StepStatus.FAILED
DEFER = (Rule("defer"),)


def failed(world: World, run: int, *slots: str) -> None:
    for slot in slots:
        world.report(run, slot, status=FAILED, reason=f"{slot} failed")


def open_slots(world: World, run: int) -> list[str]:
    return [row.slot for _, row in sorted(world.rows(run).open.items())]


def all_well(world: World, run: int) -> RunStatus:
    for _ in range(100):
        rows = [row for row in world.rows(run).open.values() if row.state in (State.WORK, State.WAIT)]
        if not rows:
            break
        world.report(run, min(row.n for row in rows))
    return world.status(run)


def times(world: World, run: int, slot: str) -> int:
    return world.trail(run).count(slot)


# ---- failures that were put off


def test_a_retry_does_not_repeat_what_followed_a_failure_that_was_put_off() -> None:
    world = World(Graph().work("a", "b", on_failure=DEFER).work("b").build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "b", "made")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["a"]
    world.report(run, "a")
    assert world.status(run) == RunStatus.COMPLETED
    assert (times(world, run, "a"), times(world, run, "b")) == (2, 1)


def test_several_failures_that_were_put_off_are_all_retried() -> None:
    graph = Graph().work("a", "b", on_failure=DEFER).work("b", "c", on_failure=DEFER).work("c")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "a", "b")
    world.report(run, "c")
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["a", "b"]
    failed(world, run, "a")
    world.report(run, "b")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["a"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert [times(world, run, slot) for slot in "abc"] == [3, 2, 1]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_retried_step_may_itself_be_tried_again_without_repeating_what_followed(fresh: bool) -> None:
    graph = Graph().work("a", "b", on_failure=DEFER, retry=Retry(3, as_new_step=fresh)).work("b")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "a", "a", "a", "a")
    world.report(run, "b")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    world.report(run, "a")
    assert world.status(run) == RunStatus.COMPLETED
    assert times(world, run, "b") == 1


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_followed_and_failed_too_is_retried_once(end: str) -> None:
    world = World(Graph().work("a", "b", on_failure=DEFER).work("b", "c").work("c").build())
    run = world.start("p")
    failed(world, run, "a")
    if end == "failed":
        failed(world, run, "b")
    else:
        world.do(run, Terminate(reason="enough"))
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["a", "b"]
    world.report(run, "a")
    assert open_slots(world, run) == ["b"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "c") == 1


def test_a_failure_put_off_in_a_nested_scope_is_retried_there_alone() -> None:
    graph = Graph().scope("l", "m", "after", again=look(lambda c: c.iteration < 2)).scope("m", "a")
    graph.work("a", "b", on_failure=DEFER).work("b").work("after")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a")
    world.report(run, "b")
    failed(world, run, "a")
    world.report(run, "b")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["l", "m", "a"]
    world.report(run, "a")
    assert open_slots(world, run) == ["after"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "b") == 2


def test_a_scope_whose_failure_was_put_off_goes_on_inside_and_no_further() -> None:
    graph = Graph().scope("l", "a", "b", on_failure=DEFER).work("a").work("b")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "b")
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["l", "a"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "b") == 1


def test_a_join_counts_the_retry_of_a_failure_that_was_put_off() -> None:
    graph = Graph().fork("f", "a", "b", "j").work("a", "x", on_failure=DEFER).work("x").work("b").join("j", "a", "b", to="end")
    world = World(graph.work("end").build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "x")
    world.report(run, "b")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    assert sorted(open_slots(world, run)) == ["a", "j"]
    world.report(run, "a")
    assert open_slots(world, run) == ["end"]
    assert times(world, run, "x") == 1


@pytest.mark.parametrize("kind", ["continue", "edge", "body"])
def test_a_retry_leaves_alone_a_failure_that_was_dealt_with(kind: str) -> None:
    rules = (Rule("continue") if kind == "continue" else Rule(kind, to="h"),)  # type: ignore[arg-type]
    graph = Graph().work("a", "b", on_failure=rules).work("h", "b" if kind == "edge" else "").work("b")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "a")
    if kind != "continue":
        world.report(run, "h")
    failed(world, run, "b")
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["b"]
    assert all_well(world, run) == RunStatus.COMPLETED


def test_a_loser_that_a_join_has_dropped_is_not_retried() -> None:
    graph = Graph().fork("f", "a", "b", "j").work("a").work("b").join("j", "a", "b", to="end", rule="first", losers="halt")
    world = World(graph.work("end").build())
    run = world.start("p")
    world.report(run, "a")
    failed(world, run, "end")
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["end"]


def test_a_failure_put_off_where_the_path_came_by_again_is_retried() -> None:
    graph = Graph().body("", n=0).work("a", "c", on_failure=DEFER)
    graph.assign("c", "d", n=look(lambda c: c.var("n") + 1, "$n")).choice("d", look(lambda c: c.var("n"), "$n"), {"1": "a"})
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "a")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    world.report(run, "a")
    assert world.status(run) == RunStatus.COMPLETED


def test_a_rerun_of_a_retry_does_not_repeat_what_had_followed_either() -> None:
    world = World(Graph().work("a", "b", on_failure=DEFER).work("b").build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "b")
    world.do(run, Rewind(to="failed"))
    world.report(run, "a")
    world.do(run, Rewind(to="step", n=world.ended(run, "a").n))
    assert open_slots(world, run) == ["a"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "b") == 1


def test_two_tokens_that_had_come_to_one_node_both_have_another_attempt() -> None:
    graph = Graph().fork("f", "a", "b").work("a", "c").work("b", "c").work("c", "d").work("d")
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "a")
    world.report(run, "b")
    failed(world, run, "c")
    assert world.status(run) == RunStatus.FAILED
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["c", "c"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "d") == 2


# ---- reruns beside failures that stand


def test_a_failure_that_was_put_off_before_a_rerun_still_counts() -> None:
    world = World(Graph().work("a", "b", on_failure=DEFER).work("b").build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "b")
    world.do(run, Rewind(to="step", n=world.ended(run, "b").n))
    assert open_slots(world, run) == ["b"]
    world.report(run, "b")
    assert world.status(run) == RunStatus.FAILED
    assert world.reason(run) == "a failed"


@pytest.mark.parametrize("kind", ["edge", "body", "defer", "continue"])
def test_a_rerun_finds_the_token_of_a_failed_step_whose_way_on_it_takes_back(kind: str) -> None:
    rules = (Rule(kind, to="h") if kind in ("edge", "body") else Rule(kind),)  # type: ignore[arg-type]
    graph = Graph().fork("f", "a", "c", "j").work("a", "x", on_failure=rules).work("c").work("x")
    graph.work("h", "x" if kind == "edge" else "").join("j", "c", "x")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "a")
    for slot in {"edge": "hxc", "body": "chx"}.get(kind, "xc"):
        world.report(run, slot)
    assert world.status(run) == (RunStatus.FAILED if kind == "defer" else RunStatus.COMPLETED)
    world.do(run, Rewind(to="step", n=world.ended(run, "c").n))
    assert all_well(world, run) == (RunStatus.FAILED if kind == "defer" else RunStatus.COMPLETED)
    assert world.ended(run, "x").status == StepStatus.COMPLETED


@pytest.mark.parametrize("inside", ["loop", "loop in a loop", "loop in a thread", "handler in a handler", "items"])
@pytest.mark.parametrize("which", range(3))
def test_a_rerun_in_the_handler_of_any_iteration_goes_on_in_that_iteration(inside: str, which: int) -> None:
    graph = Graph().work("x", on_failure=(Rule("body", to="h"),)).work("h").work("end")
    three = look(lambda c: c.iteration < 3)
    if inside == "handler in a handler":
        graph = Graph().work("x", on_failure=(Rule("body", to="g"),)).work("g", on_failure=(Rule("body", to="h"),))
        graph = graph.work("h").work("end")
    if inside == "items":
        graph.scope("l", "x", "end", items=look(lambda c: [1, 2, 3]))
    else:
        graph.scope("l", "x", "" if inside in {"loop in a loop", "loop in a thread"} else "end", again=three)
    if inside == "loop in a loop":
        graph.scope("o", "l", "end", again=look(lambda c: c.iteration < 1))
    elif inside == "loop in a thread":
        graph.call("o", thread="l", to="end")
    graph.entry = "o" if inside in {"loop in a loop", "loop in a thread"} else "l"
    world = World(graph.build())
    run = world.start("p")
    for _ in range(3):
        failed(world, run, "x")
        if inside == "handler in a handler":
            failed(world, run, "g")
        world.report(run, "h")
    world.report(run, "end")
    assert world.status(run) == RunStatus.COMPLETED
    targets = [n for n, step in sorted(world.rows(run).ended.items()) if step.slot == "h"]
    world.do(run, Rewind(to="step", n=targets[which]))
    assert open_slots(world, run)[-1] == "h"
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "h") == which + 1
    assert times(world, run, "x") == 3


def test_a_rerun_tries_again_what_had_its_retry_taken_back() -> None:
    graph = Graph().fork("f", "a", "b", "j").work("a", retry=Retry(1)).work("b").join("j", "a", "b")
    world = World(graph.build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "a")
    world.report(run, "b")
    world.do(run, Rewind(to="step", n=world.ended(run, "b").n))
    assert set(open_slots(world, run)) == {"a", "b", "j"}
    assert all_well(world, run) == RunStatus.COMPLETED


def test_a_rerun_selects_again_where_a_choice_led_to_what_it_takes_back() -> None:
    graph = Graph().fork("f", "c", "x", "j").choice("c", look(lambda c: "1"), {"1": "y", "2": "z"}).work("y").work("z").work("x")
    world = World(graph.join("j", "x", "y").build())
    run = world.start("p")
    world.report(run, "y")
    world.report(run, "x")
    assert world.status(run) == RunStatus.COMPLETED
    world.do(run, Rewind(to="step", n=world.ended(run, "x").n))
    assert all_well(world, run) == RunStatus.COMPLETED
    assert world.trail(run).count("y") == 1


def test_a_rerun_leaves_a_wait_by_the_arm_that_was_taken() -> None:
    graph = Graph().fork("f", "w", "x", "j").wait("w", outside("y", stays=False), to="z").work("y").work("z").work("x")
    world = World(graph.join("j", "x", "y").build())
    run = world.start("p")
    world.report(run, "w")
    world.report(run, "y")
    world.report(run, "x")
    world.do(run, Rewind(to="step", n=world.ended(run, "x").n))
    assert set(open_slots(world, run)) == {"x", "y", "j"}
    assert all_well(world, run) == RunStatus.COMPLETED


def test_a_rerun_enters_every_branch_of_a_silent_fork_again() -> None:
    graph = Graph().work("a", "f").fork("f", "b", "c", "j", trace=False).work("b").work("c").join("j", "b", "c")
    world = World(graph.build())
    run = world.start("p")
    for slot in "abc":
        world.report(run, slot)
    world.do(run, Rewind(to="step", n=world.ended(run, "b").n))
    assert set(open_slots(world, run)) == {"b", "c", "j"}
    assert all_well(world, run) == RunStatus.COMPLETED


def test_a_rerun_beside_a_loop_begins_the_iterations_that_it_takes_back_again() -> None:
    graph = Graph().fork("f", "l", "b", "j").scope("l", "x", again=look(lambda c: c.iteration < 3)).work("x").work("b")
    world = World(graph.join("j", "l", "b").build())
    run = world.start("p")
    for slot in "xxxb":
        world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED
    world.do(run, Rewind(to="step", n=world.ended(run, "b").n))
    assert world.opened(run, "l").k == 1
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "x") == 3


def test_a_rerun_beside_a_loser_lets_it_race_again() -> None:
    graph = Graph().fork("f", "b", "a", "j").work("a").work("b").join("j", "a", "b", to="end", rule="first", losers="halt")
    world = World(graph.work("end").build())
    run = world.start("p")
    world.report(run, "a")
    world.report(run, "end")
    world.do(run, Rewind(to="step", n=world.ended(run, "a").n))
    assert set(open_slots(world, run)) == {"a", "b", "j"}
    world.report(run, "b")
    assert open_slots(world, run) == ["end"]


def test_a_retry_goes_on_with_tokens_that_stood_while_the_run_was_paused() -> None:
    world = World(Graph().work("a", "b").work("b").build())
    run = world.start("p")
    world.do(run, Pause())
    world.report(run, "a")
    world.do(run, Terminate(reason="enough"))
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["b"]


def test_a_retry_goes_on_with_an_attempt_that_had_not_begun() -> None:
    world = World(Graph().work("a", "b", retry=Retry(1)).work("b").build())
    run = world.start("p")
    world.do(run, Pause())
    failed(world, run, "a")
    world.do(run, Terminate(reason="enough"))
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["a"]
    assert all_well(world, run) == RunStatus.COMPLETED


def test_rewinds_pauses_and_ends_that_arrive_together_follow_one_another() -> None:
    world = World(Graph().work("a", "b", on_failure=DEFER).work("b").build())
    run = world.start("p")
    failed(world, run, "a")
    n = world.opened(run, "b").n
    world.fold(
        run,
        Report(n=n),
        Rewind(to="failed"),
        Pause(),
        Terminate(reason="enough"),
        Rewind(to="step", n=n),
        Terminate(reason="enough"),
        Rewind(to="failed"),
        Pause(),
        Resume(),
    )
    assert sorted(open_slots(world, run)) == ["a", "b"]
    assert all_well(world, run) == RunStatus.COMPLETED
    assert times(world, run, "b") == 2


@pytest.mark.parametrize("action", ["continue", "defer"])
def test_the_token_of_a_forgiven_failure_as_written_is_found_again(action: str) -> None:
    graph = Graph().fork("f", "bad", "j").fail("bad", on_failure=(Rule(action),), next=(Edge("last"),))  # type: ignore[arg-type]
    graph.assign("last").join("j", "last", to="z").work("z")
    world = World(graph.build())
    run = world.start("p")
    assert world.trail(run) == ["f", "bad", "j", "last", "z"]
    world.do(run, Terminate())
    world.do(run, Rewind(to="step", n=world.ended(run, "j").n))
    assert isinstance(world.ended(run, "last"), Step)
    assert isinstance(world.newest(run, "z"), OpenStep)


# ---- cost


def costs(rounds: int, rewind: str) -> tuple[int, int]:
    graph = Graph(output=look(lambda c: None)).scope("l", "a", "end", again=look(lambda c: c.iteration < rounds))
    graph.work("a", "b").assign("b").work("end")
    world = World(graph.build(), thorough=False, both=False)
    run = world.start("p")
    for _ in range(rounds - 1):
        world.report(run, "a")
    if rewind == "failed":
        failed(world, run, "a")
        signal = Rewind(to="failed")
    else:
        world.report(run, "a")
        world.report(run, "end")
        signal = Rewind(to="step", n=2 if rewind == "early" else world.ended(run, "b").n)
    world.do(run, signal)
    cost = world.costs[-1]
    if rewind == "early":
        assert world.trail(run) == ["l", "a"]
        return cost.read, cost.rounds
    if rewind == "failed":
        world.report(run, "a")
    assert isinstance(world.newest(run, "end"), OpenStep)
    world.report(run, "end")
    assert world.status(run) == RunStatus.COMPLETED
    return cost.read, cost.rounds


@pytest.mark.parametrize("rewind", ["failed", "step", "early"])
def test_a_rewind_reads_the_same_after_10_and_after_1000_iterations(rewind: str) -> None:
    few, many = costs(10, rewind), costs(1_000, rewind)
    assert many == few
    assert many[0] <= 40


def wide(width: int, rewind: str) -> tuple[int, int]:
    """Rows read for a retry or a rerun of a run of so many threads, and the rounds in which."""
    graph = Graph(output=look(lambda c: None)).fork("f", "l", "b")
    graph.scope("l", "g", items=look(lambda c: list(range(width))), parallel=True)
    graph.fork("g", "x", "y", "j").work("x", "x2").assign("x2", "x3").work("x3").work("y").join("j", "y", "x3", to="k").work("k")
    world = World(graph.work("b").build(), thorough=False, both=False)
    world.most_rounds = 2_000  # of what continues after it, with nothing of the threads at hand
    run = world.start("p")
    for row in world.claimable(run):
        if row.slot == "x":
            world.report(run, row.n)
    if rewind == "step":
        world.report(run, "b")
    world.do(run, Terminate(reason="enough"))
    world.do(run, Rewind(to="failed") if rewind == "failed" else Rewind(to="step", n=world.ended(run, "b").n))
    cost = world.costs[-1]
    world.settle()
    names = Counter(row.slot for row in world.rows(run).open.values())
    assert (names["x" if rewind == "step" else "x3"], names["y"], names["j"]) == (width,) * 3
    return cost.read, cost.rounds


@pytest.mark.parametrize("rewind", ["failed", "step"])
def test_a_rewind_of_a_wide_run_reads_what_stood_in_it_in_few_rounds(rewind: str) -> None:
    (few, rounds), (many, more) = wide(10, rewind), wide(200, rewind)
    assert many <= few * 25
    assert more <= rounds + 2


def test_rows_that_do_not_say_that_a_failure_was_put_off_are_understood() -> None:
    """They were written before there was a bit for it."""
    world = World(Graph().work("a", "b", on_failure=DEFER).work("b").build())
    run = world.start("p")
    failed(world, run, "a")
    world.report(run, "b")
    step = world.ended(run, "a")
    step.bits &= ~int(Bit.PUT_OFF)
    world.do(run, Rewind(to="failed"))
    assert open_slots(world, run) == ["a"]
    world.report(run, "a")
    assert world.status(run) == RunStatus.COMPLETED
    assert times(world, run, "b") == 1


@pytest.mark.parametrize("target", ["b", "c", "x"])
def test_a_rerun_that_takes_back_the_retry_of_a_scope_goes_on_in_it(target: str) -> None:
    graph = Graph().fork("f", "s", "b", "j").scope("s", "x", retry=Retry(1)).work("x", "y").work("y").work("b", "c").work("c")
    world = World(graph.join("j", "s", "c", to="end").work("end").build())
    run = world.start("p")
    world.report(run, "b")
    failed(world, run, "x")
    for slot in ("c", "x", "y", "end"):
        world.report(run, slot)
    assert world.status(run) == RunStatus.COMPLETED
    steps = [row.n for row in world.rows(run).steps() if row.slot == target]
    world.do(run, Rewind(to="step", n=steps[0]))
    assert all_well(world, run) == RunStatus.COMPLETED
    assert world.ended(run, "end").status == StepStatus.COMPLETED
