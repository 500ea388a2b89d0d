"""Attempts of a step of work: what is kept of each, and that a single one costs nothing."""

from __future__ import annotations

from typing import Any

from tests.kernel.graphs import Graph, look, say
from tests.kernel.world import World

from pelton.kernel.machine.tokens.attempts import ATTEMPT_TEXT, MOST_ATTEMPTS, as_attempt
from pelton.kernel.model.process import Limit, Limits, Retry, Rule
from pelton.kernel.model.signals import Rewind
from pelton.kernel.model.state import Failure, StepAttempt, StepStatus
from pelton.kernel.model.transition import KeepAttempt
from pelton.runtime.api import outcome_of

FORGIVE = (Rule("continue"),)


def again(count: int = 3, delay: int = 0, **more: Any) -> tuple[World, int]:
    world = World(Graph().work("x", retry=Retry(count, delay=delay, as_new_step=False), **more).build())
    return world, world.start("p")


def kept(world: World, run: int) -> list[StepAttempt]:
    return [attempt for key, attempt in sorted(world.attempts.items()) if key[0] == run]


def test_one_attempt_has_no_row_but_the_step_s_own() -> None:
    world, run = again()
    world.claim(run, "x", "w\n1.2")
    answer = world.report(run, "x", 1, log="well")
    assert not any(isinstance(effect, KeepAttempt) for effect in answer.effects)
    assert not world.attempts
    step = world.ended(run, "x")
    attempt = as_attempt(step)
    assert (attempt.number, attempt.worker, attempt.status, attempt.log) == (0, "w\n1.2", StepStatus.COMPLETED, "well")
    assert (attempt.scheduled, attempt.started, attempt.ended) == (step.opened, step.started, step.ended)
    assert outcome_of(attempt, world.now) == "done"


def test_a_step_that_was_neither_retried_nor_logged_remembers_nothing() -> None:
    world, run = again()
    world.claim(run, "x")
    assert world.opened(run, "x").tries is None
    world.report(run, "x", 1)
    assert world.ended(run, "x").tries is None
    assert world.head(run).flags == 0


def test_each_attempt_that_another_follows_says_when_who_and_how() -> None:
    limits = Limits(idle=Limit(100, "retry"), attempt=Limit(1_000, "retry"))
    world, run = again(delay=50, limits=limits)
    begin = world.now
    world.claim(run, "x", "v")
    content = {"code": 7}
    world.report(run, "x", status=StepStatus.FAILED, failure=Failure("broken", "business", "no", content), log="one\ntwo")
    assert outcome_of(as_attempt(world.opened(run, "x")), world.now) == "pending"
    world.tick(50)
    assert outcome_of(as_attempt(world.opened(run, "x")), world.now) == "scheduled"
    world.claim(run, "x", "w")
    assert outcome_of(as_attempt(world.opened(run, "x")), world.now) == "running"
    world.tick(100)  # no sign of life
    world.tick(50)
    world.claim(run, "x", "w")
    for _ in range(20):
        world.tick(50)
        if world.opened(run, "x").attempt == 2:
            world.extend(run, world.opened(run, "x").n)
    first, second, third = kept(world, run)
    assert [outcome_of(attempt, world.now) for attempt in (first, second, third)] == ["failed", "lost", "timed out"]
    assert [attempt.number for attempt in (first, second, third)] == [0, 1, 2]
    assert (first.scheduled, first.started, first.ended) == (begin, begin, begin)
    assert (second.scheduled, second.started, second.ended) == (begin, begin + 50, begin + 150)
    assert (first.worker, first.failure, first.kind, first.message, first.content) == ("v", "broken", "business", "no", content)
    assert (first.log, second.log) == ("one\ntwo", "")
    world.tick(50)
    world.claim(run, "x", "u")
    world.report(run, "x", "out", log="at last")
    last = as_attempt(world.ended(run, "x"))
    assert (last.number, last.worker, last.log, last.lost) == (3, "u", "at last", False)
    assert last.scheduled == third.ended


def test_what_is_kept_is_bounded_in_number_and_size() -> None:
    world, run = again(MOST_ATTEMPTS + 50)
    for _ in range(MOST_ATTEMPTS + 20):
        failure = Failure("f", "technical", "m" * 2 * ATTEMPT_TEXT, ["c" * 10_000])
        world.report(run, "x", status=StepStatus.FAILED, failure=failure, log="l" * 2 * ATTEMPT_TEXT)
    numbers = [attempt.number for attempt in kept(world, run)]
    assert numbers == list(range(21, MOST_ATTEMPTS + 20))  # with the present one a hundred
    attempt = kept(world, run)[0]
    assert (len(attempt.message), len(attempt.log), attempt.content) == (ATTEMPT_TEXT, ATTEMPT_TEXT, None)


def test_an_attempt_that_is_a_step_of_its_own_writes_no_row_more() -> None:
    world = World(Graph().work("x", retry=Retry(2)).build())
    run = world.start("p")
    world.report(run, "x", status=StepStatus.FAILED, reason="no")
    world.report(run, "x", 1)
    assert not world.attempts
    step = world.ended(run, "x")
    assert step.previous
    before = world.rows(run).ended[step.previous]
    assert outcome_of(as_attempt(before), world.now) == "failed"
    assert as_attempt(before).message == "no"


def test_cancelled_and_forgiven_attempts_say_so() -> None:
    world, run = again(0)
    world.report(run, "x", status=StepStatus.CANCELED, reason="enough")
    assert outcome_of(as_attempt(world.ended(run, "x")), world.now) == "cancelled"
    graph = Graph().work("x", on_failure=FORGIVE)
    world = World(graph.build())
    run = world.start("p")
    world.report(run, "x", status=StepStatus.FAILED, reason="no")
    assert world.ended(run, "x").status == StepStatus.COMPLETED_WITH_ERRORS
    assert outcome_of(as_attempt(world.ended(run, "x")), world.now) == "failed"


def test_the_attempts_of_steps_that_a_loop_forgets_go_with_them() -> None:
    graph = Graph().scope("l", "x", again=look(lambda scene: scene.iteration < 3), keep=say(1))
    graph.work("x", retry=Retry(1, as_new_step=False))
    world = World(graph.build())
    run = world.start("p")
    for _ in range(3):
        world.report(run, "x", status=StepStatus.FAILED)
        world.report(run, "x", 1)
    assert {key[1] for key in world.attempts} <= set(world.rows(run).ended)


def test_a_step_that_a_rewind_enters_again_counts_from_the_start() -> None:
    world, run = again(1)
    for _ in range(2):
        world.report(run, "x", status=StepStatus.FAILED, reason="first era")
    n = world.ended(run, "x").n
    world.do(run, Rewind(to="step", n=n))
    row = world.opened(run, "x")
    assert (row.attempt, row.tries) == (0, None)
    world.report(run, "x", status=StepStatus.FAILED, reason="second era")
    assert [attempt.message for attempt in kept(world, run) if attempt.n == row.n] == ["second era"]
