"""A signal that asks for more reads than it may: the step that reads too much fails, and nothing waits for ever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.graphs import Graph, after, edge, look, out, when
from tests.kernel.liveness import drive_to_the_end
from tests.kernel.random_graphs import Spec, act, actions, finish, program, world_of
from tests.kernel.test_properties import phases, quiet
from tests.kernel.world import World

from pelton.kernel.model.process import Retry, Rule
from pelton.kernel.model.reads import Spent
from pelton.kernel.model.signals import Pause, Report, Resume, Rewind, SetVars, Skip, Start, Terminate
from pelton.kernel.model.state import RunStatus, StepStatus
from pelton.kernel.model.transition import Refused, Transition

DEEP = 30
FAILED, COMPLETED = RunStatus.FAILED, RunStatus.COMPLETED


def deep(times: int = DEEP) -> Any:
    """An expression that reads one variable after the other: nobody knows the next before the last is there."""

    def get(scene: Any) -> Any:
        name = "v0"
        for _ in range(times):
            name = scene.var(name)
        return name

    return look(get)


def chain() -> dict[str, Any]:
    return {f"v{n}": f"v{n + 1}" for n in range(DEEP + 1)}


def started(graph: Graph, allowed: int = 5) -> tuple[World, int]:
    world = World(graph.body("", **chain()).build())
    world.most_rounds = 1_000
    run = world.start("p")
    world.allowed = allowed
    return world, run


def test_a_step_whose_input_reads_too_much_fails_and_says_so() -> None:
    world, run = started(Graph().work("a", "b").work("b", input=deep(), retry=Retry(3)))
    world.report(run, "a", 7)
    assert world.ended(run, "a").output == 7
    step = world.ended(run, "b")
    assert step.status == StepStatus.FAILED_FOR_GOOD
    assert "5 rounds of reads" in step.reason
    assert world.status(run) == FAILED
    assert step.reason in world.reason(run)


def test_the_rules_of_the_step_apply_to_that_failure() -> None:
    world, run = started(Graph().work("a", "b").work("b", input=deep(), on_failure=(Rule("edge", to="c"),)).work("c"))
    world.report(run, "a")
    world.settle()
    assert world.is_open(run, "c")
    world.report(run, "c", 3)
    assert (world.status(run), world.output(run)) == (COMPLETED, 3)


def test_a_guard_that_reads_too_much_fails_its_step_and_what_was_reported_is_kept() -> None:
    world, run = started(Graph().work("a", [edge("b", deep())]).work("b"))
    world.report(run, "a", 7)
    assert (world.ended(run, "a").status, world.ended(run, "a").output) == (StepStatus.FAILED_FOR_GOOD, 7)
    assert world.status(run) == FAILED


def test_a_condition_of_a_loop_that_reads_too_much_fails_the_loop() -> None:
    world, run = started(Graph().scope("l", "a", again=deep(), on_failure=(Rule("edge", to="c"),)).work("a").work("c"))
    world.report(run, "a", 7)
    world.settle()
    assert world.ended(run, "l").status == StepStatus.FAILED_FOR_GOOD
    assert world.is_open(run, "c")


def test_the_output_of_a_run_that_reads_too_much_fails_it() -> None:
    world, run = started(Graph(output=deep()).work("a"))
    world.report(run, "a", 7)
    assert world.status(run) == FAILED
    assert "rounds of reads" in world.reason(run)


def test_many_steps_that_read_a_little_each_are_continued_in_the_next_commit_and_none_fails() -> None:
    graph = Graph().work("a", "s0")
    for n in range(DEEP):
        graph.assign(f"s{n}", f"s{n + 1}", output=look(lambda c, n=n: c.var(f"v{n}")))  # type: ignore[misc]
    world, run = started(graph.work(f"s{DEEP}"))
    world.report(run, "a")
    world.settle()
    assert world.is_open(run, f"s{DEEP}")
    assert [world.ended(run, f"s{n}").output for n in range(DEEP)] == [f"v{n + 1}" for n in range(DEEP)]


def test_a_process_that_may_not_continue_fails_at_the_step_where_the_reads_are_spent() -> None:
    graph = Graph(out_of_fuel="fail").work("a", "s0")
    for n in range(DEEP):
        graph.assign(f"s{n}", f"s{n + 1}", output=look(lambda c, n=n: c.var(f"v{n}")))  # type: ignore[misc]
    world, run = started(graph.work(f"s{DEEP}"))
    world.report(run, "a")
    assert world.status(run) == FAILED
    assert "rounds of reads" in world.reason(run)


def test_a_time_whose_assignment_reads_too_much_fails_its_wait() -> None:
    world, run = started(Graph().wait("w", after(100, x=deep()), on_failure=(Rule("edge", to="c"),)).work("c"))
    world.tick(100)
    world.settle()
    assert world.ended(run, "w").status == StepStatus.FAILED_FOR_GOOD
    assert world.is_open(run, "c")


def test_a_condition_that_reads_too_much_fails_its_wait_and_not_the_report_that_wrote_the_variable() -> None:
    condition = deep()
    graph = Graph().fork("f", "a", "w", "j").work("a", [edge("", x=out("a"))]).join("j", "a", "w")
    graph.wait("w", when(lambda c: c.var("x") is not None and bool(condition.evaluate(c)), "$x"))
    world, run = started(graph)
    world.report(run, "a", 7)
    world.settle()
    assert world.ended(run, "a").output == 7
    assert world.ended(run, "w").status == StepStatus.FAILED_FOR_GOOD
    assert world.status(run) == FAILED


def test_a_parked_token_whose_way_on_reads_too_much_does_not_hold_up_the_resume() -> None:
    world, run = started(Graph().fork("f", "a", "b").work("a", [edge("c", deep())]).work("b").work("c"))
    world.do(run, Pause())
    world.report(run, "a", 7)
    world.do(run, Resume())
    world.settle()
    assert world.status(run) == FAILED


def test_an_operators_signal_is_refused_only_when_nothing_else_helps() -> None:
    world, run = started(Graph().work("a", "b").work("b", input=deep()))
    source = world.definitions[world.head(run).definition]
    from tests.kernel.memory import AllReads, NoReads

    from pelton.kernel.machine.advance import advance

    for signal, refused in ((Pause(), True), (SetVars(changes={"x": 1}), True), (Report(n=1), False)):
        facts = NoReads(AllReads(world, run, {}))
        facts.spent = Spent("more than 5 rounds of reads", last=True)
        while True:
            answer = advance(source, facts, signal, world.now)
            if isinstance(answer, Refused | Transition):
                break
            facts.fetch(answer.keys)
        assert isinstance(answer, Refused) == refused
        if isinstance(answer, Refused):
            assert answer.code == "too large"
        else:
            assert answer.run.status == FAILED


@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_terminate_works_with_hardly_any_reads(allowed: int) -> None:
    world, run = started(Graph(output=deep()).fork("f", "a", "b", "l").work("a").work("b").scope("l", "c").work("c"), allowed)
    world.do(run, Terminate(reason="fire"))
    assert (world.status(run), world.reason(run)) == (RunStatus.TERMINATED, "fire")


OPERATORS = (Pause, Resume, Rewind, Skip, SetVars, Start)


@examples(150, *quiet, phases=phases)
@given(program, st.booleans(), st.integers(1, 3), actions)
def test_with_hardly_any_reads_every_run_comes_to_an_end(
    blocks: Spec, interrupts: bool, allowed: int, history: list[tuple[int, int]]
) -> None:
    world, run = world_of(blocks, interrupts, both=False)
    world.most_rounds = 2_000
    world.allowed = allowed
    for kind, pick in history:
        act(world, run, kind, pick)
    finish(world)
    drive_to_the_end(world)
    assert world.status(run).ended
