"""Random processes whose runs fail, are paused or terminated, and are taken back: they come to an end, and do nothing twice.

After each rewind the rest of the story is good: every step that opens is done. What is then asked is liveness (the run ends),
that no place in the process was passed twice, and that nothing but a failure that still counts makes the run fail.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, note
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.random_graphs import Compiler, Spec, send
from tests.kernel.world import World

from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import Pause, Report, Rescue, Resume, Rewind, Terminate
from pelton.kernel.model.state import END, START, OpenStep, RunStatus, State, Step, StepStatus

RULES = ["", "", "", "continue", "defer", "defer", "edge", "body"]


def program(threads: bool) -> st.SearchStrategy[Spec]:
    rule = st.sampled_from(RULES)
    leaf = st.one_of(
        st.tuples(st.just("work"), st.integers(0, 1), st.booleans(), rule, st.sampled_from(["finish", "stop"]), st.just("")),
        st.tuples(st.just("work"), st.just(0), st.just(True), rule, st.just("finish"), st.just("")),
        st.tuples(st.just("assign")),
    )

    def compound(inner: st.SearchStrategy[Spec]) -> st.SearchStrategy[Spec]:
        body = st.lists(inner, min_size=1, max_size=3).map(tuple)
        kinds = [
            st.tuples(
                st.just("fork"),
                st.lists(body, min_size=1, max_size=3).map(tuple),
                st.sampled_from(["all", "all", "first", "count"]),
                st.booleans(),
            ),
            st.tuples(st.just("loop"), st.integers(0, 2), body, rule, st.just(0), st.booleans()),
            st.tuples(st.just("items"), st.integers(0, 3), body, rule, st.booleans() if threads else st.just(False)),
            st.tuples(st.just("choice"), body, body, st.booleans()),
        ]
        return st.one_of(*kinds, *([st.tuples(st.just("thread"), body, st.booleans(), rule)] if threads else []))

    return st.lists(st.recursive(leaf, compound, max_leaves=7), min_size=1, max_size=4).map(tuple)


story = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 99)), max_size=12)
rewinds = st.lists(st.tuples(st.integers(0, 99), story), min_size=1, max_size=3)
phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
quiet = [HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.too_slow]


def built(blocks: Spec) -> Process:
    compiler = Compiler(False, False)
    compiler.graph.fields["deadline"] = None
    entry = compiler.sequence(blocks, "")
    compiler.graph.bodies[entry] = compiler.graph.bodies.pop("")
    compiler.graph.entry = entry
    return compiler.graph.build()


def open_work(world: World, run: int) -> list[OpenStep]:
    return [row for _, row in sorted(world.rows(run).open.items()) if row.state == State.WORK]


def happen(world: World, run: int, events: list[tuple[int, int]]) -> None:
    """Work is done well or fails, threads are rescued, and the run is paused, resumed or terminated."""
    for kind, pick in events:
        rows = open_work(world, run)
        if kind == 10:
            no = pick % world.head(run).threads
            send(world, run, Rescue(thread=no, skip=pick % 3 == 0, strict=False))
            continue
        if world.status(run).ended:
            return
        if kind < 8 and rows:
            row = rows[pick % len(rows)]
            send(world, run, Report(n=row.n, status=StepStatus.FAILED if kind < 4 else StepStatus.COMPLETED, reason=f"r{pick}"))
        elif kind == 8:
            send(world, run, Resume() if world.status(run) == RunStatus.PAUSED else Pause())
        elif kind == 9 and pick % 4 == 0:
            send(world, run, Terminate(reason="enough"))


def take_back(world: World, run: int, pick: int) -> bool:
    """Whether the run was taken back."""
    steps = [n for n, step in sorted(world.rows(run).ended.items()) if step.slot not in {START, END} and world.rows(run).row(n)]
    era = world.head(run).era
    if pick % 2 and steps:
        world.do(run, Rewind(to="step", n=steps[pick % len(steps)]))
        world.settle()
    else:
        world.send(run, Rewind(to="failed", strict=False))
        world.settle()
    return world.head(run).era > era


def do_all_well(world: World, run: int) -> None:
    if world.status(run) == RunStatus.PAUSED:
        send(world, run, Resume())
    for _ in range(600):
        rows = open_work(world, run)
        if not rows:
            break
        send(world, run, Report(n=rows[0].n, strict=False))


def check(world: World, run: int) -> None:
    rows = world.rows(run)
    assert world.status(run).ended, f"nothing moves any more: {list(rows.open.values())}, {list(rows.threads.values())}"
    passed: Counter[Any] = Counter()
    for step in rows.steps():
        if isinstance(step, Step) and StepStatus(step.status).successful and step.slot not in {START, END}:
            passed[step.slot, step.scope, step.it] += 1
    assert not [place for place, times in passed.items() if times > 1], f"passed twice: {passed}"
    if world.status(run) not in (RunStatus.COMPLETED, RunStatus.TERMINATED):
        standing = [step for step in rows.steps() if isinstance(step, Step) and not StepStatus(step.status).successful]
        assert [step for step in standing if step.slot != END], "failed for nothing"


def story_of(blocks: Spec, begin: list[tuple[int, int]], rewound: list[tuple[int, list[tuple[int, int]]]]) -> None:
    world = World(built(blocks), both=False)
    world.most_rounds = 60
    run = world.start("p", {"x": 1})
    happen(world, run, begin)
    for pick, then in rewound:
        if not world.status(run).ended:
            send(world, run, Terminate(reason="over"))
        if take_back(world, run, pick):
            note(f"trail {world.trail(run)}")
            happen(world, run, then)
    if not world.status(run).ended:
        do_all_well(world, run)
    check(world, run)


@examples(150, *quiet, phases=phases)
@given(program(threads=False), story, rewinds)
def test_what_is_taken_back_comes_to_an_end_and_does_nothing_twice(blocks: Spec, begin: Any, rewound: Any) -> None:
    story_of(blocks, begin, rewound)


@examples(150, *quiet, phases=phases)
@given(program(threads=True), story, rewinds)
def test_threads_that_are_taken_back_come_to_an_end_and_do_nothing_twice(blocks: Spec, begin: Any, rewound: Any) -> None:
    story_of(blocks, begin, rewound)
