"""What one signal costs does not grow with the width of the run: rows read and written, and rounds of needs, counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tests.kernel.graphs import Graph, after, look, on_event, on_trigger, outside, when
from tests.kernel.known import on
from tests.kernel.world import Cost, World

from pelton.kernel.model.process import Fragment, Process, Rule
from pelton.kernel.model.signals import EventArrived, Pause, Report, Resume, SetVars, Signal, Trigger
from pelton.kernel.model.state import RunStatus

WIDTHS = (10, 100, 1_000)
MOST_ROWS = 60
MOST_ROUNDS = 10


class Case(NamedTuple):
    """`before`: signals that lead up to the one that is measured; both get the world and the run."""

    graph: Callable[[int], Graph]
    signal: Callable[[World, int], Signal]
    before: tuple[Signal, ...] = ()


def threads(wide: int, graph: Graph) -> Graph:
    """So many threads side by side, each at node "x" of the graph."""
    given = Graph().body("", n=0).scope("all", "x", items=look(lambda c: list(range(wide))), parallel=True)
    given.nodes |= graph.nodes
    given.bodies |= graph.bodies
    return given


def started(wide: int, to: str, graph: Graph) -> Graph:
    """Threads that are started one after another, each at node "x" of the graph, and then node `to`."""
    given = Graph().scope("start", "call", to, items=look(lambda c: list(range(wide)))).call("call", thread="x", awaits="nothing")
    given.nodes |= graph.nodes
    return given


def joined(wide: int, graph: Graph, **more: Any) -> Graph:
    """The same with threads that are started one after another, and a join on them."""
    given = (
        Graph().scope("start", "call", "meet", items=look(lambda c: list(range(wide)))).call("call", thread="x", awaits="nothing")
    )
    given.join("meet", threads=look(lambda c: list(range(1, wide + 1))), **more)
    given.nodes |= graph.nodes
    return given


def forked(wide: int) -> Graph:
    """One thread, with so many branches."""
    names = [f"x{index}" for index in range(wide)]
    graph = Graph().fork("f", *names, "j")
    for name in names:
        graph.work(name)
    return graph.join("j", *names)


def dynamic(wide: int) -> Graph:
    def fragment(name: str, value: Any) -> Fragment:
        graph = Graph()
        for slot in value:
            graph.work(slot)
        return Fragment(nodes=graph.nodes, branches=(*value, "j"), joins={"j": tuple(value)})

    graph = Graph(fragment=fragment).fork("f", dynamic=look(lambda c: [f"x{index}" for index in range(wide)]))
    return graph.join("j", to="end").work("end")


def beside(wide: int, graph: Graph) -> Graph:
    """Node "one" of the graph beside so many waits for something else, in threads of their own."""
    given = Graph().body("", n=0).fork("f", "all", "one")
    given.scope("all", "x", items=look(lambda c: list(range(wide))), parallel=True)
    given.wait("x", on_event("other"), on_trigger("another"), outside())
    given.nodes |= graph.nodes
    return given


def middle(world: World, run: int, slot: str) -> int:
    """The number of one of the steps of a slot (or whose slot begins so)."""
    found = [n for n, row in sorted(world.rows(run).open.items()) if row.slot.startswith(slot)]
    return found[len(found) // 2]


def end_of_one(world: World, run: int, slot: str = "x") -> Report:
    return Report(n=middle(world, run, slot))


def failure_of_one(world: World, run: int) -> Report:
    return Report(n=middle(world, run, "x"), status=4)


def event_to_one(world: World, run: int) -> EventArrived:
    return EventArrived(id=1, name="e", thread=world.rows(run).open[middle(world, run, "x")].thread)


def keyed(wide: int) -> Graph:
    return threads(wide, Graph().wait("x", on_event("k", key=look(lambda c: c.var("INDEX")))))


CASES: dict[str, Case] = {
    "an event to one of many waits": Case(lambda wide: threads(wide, Graph().wait("x", on_event("e"))), event_to_one),
    "an event with a key to one of many waits": Case(keyed, lambda world, run: EventArrived(id=1, name="k", key="5")),
    "an event that one wait takes, beside many others": Case(
        lambda wide: beside(wide, Graph().wait("one", on_event("e"))), lambda world, run: EventArrived(id=1, name="e")
    ),
    "an event that nobody waits for": Case(
        lambda wide: threads(wide, Graph().wait("x", on_event("e"))), lambda world, run: EventArrived(id=1, name="nobody")
    ),
    "a trigger, beside many other waits": Case(
        lambda wide: beside(wide, Graph().wait("one", on_trigger("t"))), lambda world, run: Trigger(name="t")
    ),
    "a variable that one wait reads, beside many others": Case(
        lambda wide: beside(wide, Graph().wait("one", when(lambda c: c.var("n") == 1, "$n"))),
        lambda world, run: SetVars(changes={"n": 1}),
    ),
    "a variable that nothing reads": Case(
        lambda wide: threads(wide, Graph().wait("x", when(lambda c: c.var("n") == 1, "$n"))),
        lambda world, run: SetVars(changes={"other": 1}),
    ),
    "a report in one of many threads": Case(lambda wide: threads(wide, Graph().work("x", "y").work("y")), end_of_one),
    "the end of one of many threads": Case(lambda wide: threads(wide, Graph().work("x")), end_of_one),
    "the end of one of many threads that are joined": Case(lambda wide: joined(wide, Graph().work("x")), end_of_one),
    "the failure of one of many threads that are joined, which is forgiven": Case(
        lambda wide: joined(wide, Graph().work("x"), per_thread=(Rule("continue"),)), failure_of_one
    ),
    "the end of one of many threads that an end waits for": Case(
        lambda wide: started(wide, "late", Graph().work("x")).end("late", threads=True), end_of_one
    ),
    "a report in a thread of many branches that halts": Case(forked, end_of_one, (Pause(),)),
    "a report in one of many threads that halt": Case(
        lambda wide: threads(wide, Graph().work("x", "y").work("y")), end_of_one, (Pause(),)
    ),
    "a report in a fork of many branches": Case(forked, end_of_one),
    "a report in a dynamic fork of many branches": Case(dynamic, end_of_one),
    "the time of one of many waits": Case(
        lambda wide: threads(wide, Graph().wait("x", after(1_000, stays=True, every=1_000), on_event("e"))),
        lambda world, run: world.due()[5][3],
    ),
    "a pause of one of many threads": Case(lambda wide: threads(wide, Graph().work("x")), lambda world, run: Pause(thread=5)),
}


def cost_of(world: World, run: int, signal: Signal) -> Cost:
    """Of the signal alone, without what it causes in other transitions."""
    at = len(world.costs)
    world.do(run, signal)
    return world.costs[at]


def world_of(graph: Graph) -> tuple[World, int]:
    process: Process = graph.build()
    world = World(process, thorough=False, both=False)
    world.most_rounds = 5_000
    return world, world.start(process)


@pytest.mark.parametrize("name", [name for name in CASES if on(name)])
def test_a_signal_costs_the_same_in_a_wide_run(name: str) -> None:
    case = CASES[name]
    costs = []
    for wide in WIDTHS:
        world, run = world_of(case.graph(wide))
        for signal in case.before:
            world.do(run, signal)
        costs.append(cost_of(world, run, case.signal(world, run)))
    narrow, *_, widest = costs
    assert widest.read <= narrow.read + 2, f"rows read: {costs}"
    assert widest.written <= narrow.written + 2, f"rows written: {costs}"
    assert widest.rounds <= narrow.rounds, f"rounds: {costs}"
    assert widest.read + widest.written <= MOST_ROWS
    assert widest.rounds <= MOST_ROUNDS


WIDE: dict[str, Callable[[int], Graph]] = {
    "threads": lambda wide: threads(wide, Graph().work("x", on_halt="stop")),
    "threads that are let finish": lambda wide: threads(wide, Graph().work("x")),
    "threads whose waits read a variable": lambda wide: threads(
        wide, Graph().wait("x", on_event("e"), when(lambda c: c.var("n") == 1, "$n"), on_halt="stop")
    ),
    "threads that wait for a time": lambda wide: threads(wide, Graph().wait("x", after(1_000), on_event("e"), on_halt="stop")),
    "branches": forked,
}


@pytest.mark.parametrize("name", [name for name in WIDE if on("pause and resume of " + name)])
def test_pause_and_resume_cost_as_much_as_the_run_is_wide(name: str) -> None:
    costs: dict[str, list[Cost]] = {"pause": [], "resume": []}
    for wide in WIDTHS:
        world, run = world_of(WIDE[name](wide))
        costs["pause"].append(cost_of(world, run, Pause()))
        costs["resume"].append(cost_of(world, run, Resume()))
        assert world.status(run) == RunStatus.RUNNING
    for narrow, *_, widest in costs.values():
        assert widest.read <= narrow.read * WIDTHS[-1] / WIDTHS[0], costs
        assert widest.written <= narrow.written * WIDTHS[-1] / WIDTHS[0], costs
        assert widest.rounds <= min(narrow.rounds, MOST_ROUNDS), costs


def test_setting_a_variable_that_many_waits_read_takes_few_rounds() -> None:
    rounds = []
    for wide in WIDTHS:
        world, run = world_of(threads(wide, Graph().wait("x", when(lambda c: c.var("n") == 1, "$n"))))
        rounds.append(cost_of(world, run, SetVars(changes={"n": 1})).rounds)
        assert world.status(run) == RunStatus.COMPLETED
    assert max(rounds) <= MOST_ROUNDS, rounds


def test_the_branches_of_a_dynamic_fork_are_compiled_once() -> None:
    compiled: list[str] = []
    graph = dynamic(100)
    make = graph.fields["fragment"]

    def counted(name: str, value: Any) -> Fragment:
        compiled.append(name)
        fragment: Fragment = make(name, value)
        return fragment

    graph.fields["fragment"] = counted
    world, run = world_of(graph)
    for index in range(50):
        world.report(run, f"x{index}")
    assert len(compiled) <= 2, "once when the fork opens, and once for the reports at most"


# ---- fuel and halts


def test_a_token_that_parked_for_fuel_moves_on_behind_any_number_that_a_halt_keeps() -> None:
    """Thread 1 of two opens 1,500 branches that end while it is halted; then thread 2 runs out of fuel and is continued."""
    wide = 1_500
    names = [f"x{index}" for index in range(wide)]
    graph = Graph().scope("all", "c", items=look(lambda c: ["many", "long"]), parallel=True)
    graph.choice("c", look(lambda c: c.var("INPUT")), {"many": "f", "long": "begin"})
    graph.fork("f", *names)
    for name in names:
        graph.work(name, "after", on_halt="stop")
    graph.work("after").work("begin", "a", on_halt="stop")
    for name, to in (("a", "b"), ("b", "c2"), ("c2", "done")):
        graph.assign(name, to, fuel=400)
    graph.work("done")
    world, run = world_of(graph)
    world.settle()
    world.do(run, Pause(thread=1))
    for name in names:
        world.report(run, name)
    assert sum(row.n < 0 for row in world.rows(run).open.values()) == wide
    world.report(run, "begin")
    world.settle()
    assert world.is_open(run, "done")
    assert max(cost.read for cost in world.costs[-3:]) <= MOST_ROWS
    world.do(run, Resume(thread=1))
    world.settle()
    assert sum(row.slot == "after" for row in world.rows(run).open.values()) == wide


def test_what_parked_for_fuel_in_a_thread_that_is_halted_meanwhile_moves_when_the_halt_ends() -> None:
    graph = Graph().scope("all", "a", items=look(lambda c: [1, 2]), parallel=True)
    graph.assign("a", "b", fuel=10_000).assign("b", "done", fuel=10_000).work("done")
    world = World(graph.build())
    run = world.start("p", settle=False)
    world.do(run, Pause(thread=1))
    world.settle()
    world.settle()
    assert [row.thread for row in world.rows(run).open.values() if row.slot == "done"] == [2]
    world.do(run, Resume(thread=1))
    world.settle()
    assert sorted(row.thread for row in world.rows(run).open.values() if row.slot == "done") == [1, 2]
