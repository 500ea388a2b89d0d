"""Random forks that are passed several times, by several tokens, in loops and threads: each passage has a join of its own."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, event, given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.kernel.graphs import Graph, edge, look
from tests.kernel.world import World

from pelton.kernel.model.process import Edge, Fragment, Process, Retry
from pelton.kernel.model.signals import Pause, Resume, Rewind
from pelton.kernel.model.state import OpenStep, RunStatus, State, StepStatus

FAILED = int(StepStatus.FAILED)
MOST_REPORTS = 400

branch = st.integers(1, 3)  # steps before the join has what it waits for
shape = st.tuples(
    st.lists(branch, min_size=1, max_size=3),
    st.sampled_from(["all", "all", "first", "any", "count"]),
    st.sampled_from(["leave", "halt"]),
    st.sampled_from(["static", "silent", "dynamic"]),
    st.booleans(),  # the first branch is itself a fork
    st.integers(1, 2),  # tokens that come to the fork
    st.integers(1, 3),  # passages of each
    st.sampled_from(["", "", "loop", "threads"]),
)
history = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=30)


def chain(graph: Graph, name: str, length: int) -> str:
    """Steps one after another. Answers the last."""
    for index in range(length):
        following = f"{name}{index + 1}" if index + 1 < length else ""
        graph.work(f"{name}{index}", following, queue="q", retry=Retry(3))
    return f"{name}{length - 1}"


def branches(graph: Graph, lengths: list[int], nested: bool) -> tuple[list[str], list[str]]:
    """First nodes of the branches, and what the join waits for."""
    heads, ends = [], []
    for index, length in enumerate(lengths):
        name = f"b{index}."
        if nested and not index:
            inner = [chain(graph, f"n{each}.", length) for each in range(2)]
            graph.fork("g", "n0.0", "n1.0", "k").join("k", *inner, to="after").work("after", queue="q", retry=Retry(3))
            heads.append("g")
            ends.append("after")
        else:
            ends.append(chain(graph, name, length))
            heads.append(f"{name}0")
    return heads, ends


def build(spec: Any) -> Process:
    lengths, rule, losers, kind, nested, tokens, passages, around = spec

    def make(name: str, value: Any) -> Fragment:
        made = Graph()
        heads, ends = branches(made, value, nested)
        return Fragment(nodes=made.nodes, branches=(*heads, "j"), joins={"j": tuple(ends)})

    graph = Graph(fragment=make).body("", **{f"left{token}": passages for token in range(tokens)})
    if around == "threads":
        graph.scope("s", "start", "z", items=[1, 2], parallel=True).work("z", queue="q", retry=Retry(3))
    elif around == "loop":
        graph.scope("s", "start", "z", again=look(lambda c: c.iteration < 2)).work("z", queue="q", retry=Retry(3))
    graph.fork("start", *(f"t{token}" for token in range(tokens)))
    for token in range(tokens):
        graph.work(f"t{token}", "f", queue="q", retry=Retry(3))
    ends: list[str] = []
    if kind == "dynamic":
        graph.fork("f", dynamic=lengths)
    else:
        heads, ends = branches(graph, lengths, nested)
        graph.fork("f", *heads, "j", trace=kind == "static")
    graph.join("j", *ends, rule=rule, count=2, losers=losers, to="again")
    return graph.work("again", to=[Edge("f", look(lambda c: c.value == "more")), edge("")], queue="q", retry=Retry(3)).build()


def works(world: World, run: int) -> list[OpenStep]:
    return sorted((row for row in world.rows(run).open.values() if row.state == State.WORK), key=lambda row: row.n)


def passed(world: World, run: int, slot: str) -> int:
    """How often a step was completed."""
    return sum(row.slot == slot and row.status == StepStatus.COMPLETED for row in world.rows(run).ended.values())


@examples(150, HealthCheck.data_too_large)
@given(shape, history, st.booleans())
def test_each_passage_through_a_fork_is_joined_once(spec: Any, story: list[tuple[int, int]], both: bool) -> None:
    *_, kind, _, tokens, passages, around = spec
    world = World(build(spec), both=both)
    run = world.start("p")
    more = tokens * (passages - 1) * (2 if around else 1)
    reports = 0

    def report(pick: int, status: int | None = None) -> None:
        nonlocal more, reports
        rows = works(world, run)
        if not rows:
            return
        row = rows[pick % len(rows)]
        reports += 1
        if status is not None and row.attempt < 2:
            world.report(run, row.n, status=status)
            return
        again = row.slot == "again" and more > 0
        more -= again
        world.report(run, row.n, "more" if again else "enough")

    for action, pick in story:
        if RunStatus(world.head(run).status).ended:
            break
        if action == 0 and world.status(run) == RunStatus.RUNNING:
            world.do(run, Pause())
        elif action == 1 and world.status(run) == RunStatus.PAUSED:
            world.do(run, Resume())
        else:
            report(pick, FAILED if action == 2 else None)
    if world.status(run) == RunStatus.PAUSED:
        world.do(run, Resume())
    while not RunStatus(world.head(run).status).ended:
        assert works(world, run), f"nothing can be done any more: {[row.slot for row in world.rows(run).open.values()]}"
        report(reports)
        assert reports < MOST_REPORTS
    assert world.status(run) == RunStatus.COMPLETED
    if kind != "silent" or tokens == 1:  # the marks of silent forks are numbers, which tokens that come together share
        assert (
            passed(world, run, "j")
            == passed(world, run, "again")
            == tokens * (2 if around else 1) + total(tokens, passages, around)
        )
    event(f"{kind} {around}")


def total(tokens: int, passages: int, around: str) -> int:
    """Passages over the back edge."""
    return tokens * (passages - 1) * (2 if around else 1)


@examples(60, HealthCheck.data_too_large)
@given(shape, history)
def test_a_run_that_fails_in_a_fork_and_is_retried_goes_through_it(spec: Any, story: list[tuple[int, int]]) -> None:
    *rest, _, _, around = spec
    world = World(build((*rest, 1, 2, "" if around == "threads" else around)), both=False)
    run = world.start("p")
    more = 1
    for _, pick in [*story, *((0, index) for index in range(60))]:
        if world.status(run) == RunStatus.FAILED:
            world.do(run, Rewind(to="failed"))
            world.settle()
        rows = works(world, run)
        if not rows:
            break
        row = rows[pick % len(rows)]
        if pick % 7 == 3:
            world.report(run, row.n, status=int(StepStatus.FAILED_FOR_GOOD))
        else:
            again = row.slot == "again" and more > 0
            more -= again
            world.report(run, row.n, "more" if again else "enough")
    for _ in range(MOST_REPORTS):
        if world.status(run) == RunStatus.FAILED:
            world.do(run, Rewind(to="failed"))
            world.settle()
        rows = works(world, run)
        if not rows:
            break
        world.report(run, rows[0].n, "enough")
    assert world.status(run) == RunStatus.COMPLETED, [row.slot for row in world.rows(run).open.values()]
