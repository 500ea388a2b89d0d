"""Tokens that are counted at a node over all runs of a process."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, outside, say
from tests.kernel.world import World

from pelton.kernel.model.process import Counted, Crossing, Process, Retry
from pelton.kernel.model.signals import Pause, Resume, Rewind, SetVars, Terminate, Upgrade
from pelton.kernel.model.state import StepStatus
from pelton.kernel.model.transition import Tally


def escalation() -> Process:
    return Graph("escalation").wait("seen", outside()).build()


def desk(at: int = 3, **more: Any) -> Process:
    crossing = Crossing(at, say({"name": "escalation", "version": None}), say({"start": "true"}), say({"start": "false"}))
    counted = {"desk": Counted(("amount", "text"), crossing), "check": Counted()}
    graph = Graph("desk", counted=counted, **more).assign("check", "desk").wait("desk", outside(), to="after")
    return graph.wait("after", outside()).build()


def begun(world: World) -> list[Any]:
    """The inputs of the escalations."""
    world.settle()
    return [rows.ended[0].output for rows in world.runs.values() if world.name_of(rows) == "escalation"]


def counts(world: World, node: str = "desk") -> tuple[int | float, int | float]:
    numbers = world.tallies.get(("desk", node), {})
    standing = numbers.get("standing", 0)
    assert standing == world.standing("desk", node)
    return standing, numbers.get("passed", 0)


def test_tokens_are_counted_where_they_stand_and_as_they_pass() -> None:
    world = World(escalation(), desk())
    runs = [world.start("desk") for _ in range(2)]
    assert counts(world) == (2, 2)
    world.report(runs[0], "desk")
    assert counts(world) == (1, 2)
    assert counts(world, "check") == (0, 2)
    world.do(runs[1], Terminate())
    assert counts(world) == (0, 2)


def test_a_mark_is_told_once_as_it_is_reached_and_as_it_is_left() -> None:
    world = World(escalation(), desk())
    runs = [world.start("desk") for _ in range(2)]
    assert begun(world) == []
    runs += [world.start("desk") for _ in range(2)]
    assert begun(world) == [{"start": "true"}]
    world.report(runs[0], "desk")
    assert begun(world) == [{"start": "true"}]
    world.report(runs[1], "desk")
    assert begun(world) == [{"start": "true"}, {"start": "false"}]
    world.start("desk")
    assert begun(world) == [{"start": "true"}, {"start": "false"}, {"start": "true"}]


def test_variables_are_added_up_as_a_token_enters() -> None:
    world = World()
    for version, amount in enumerate((2, 0.5, "7", True, 1 << 60, float("inf")), 1):
        graph = Graph("desk", version, counted={"desk": Counted(("amount", "none"))}).body("", amount=amount)
        world.define(graph.wait("desk", outside()).build())
        world.do(world.start("desk"), SetVars(changes={"amount": 100}))
    assert world.tallies["desk", "desk"]["amount"] == 2.5 + float(1 << 60)
    assert "none" not in world.tallies["desk", "desk"]


def test_a_token_of_a_paused_run_stands_where_it_is_and_enters_when_it_goes_on() -> None:
    graph = Graph("desk", counted={"desk": Counted()}).work("first", "desk").wait("desk", outside())
    world = World(graph.build())
    run = world.start("desk")
    world.do(run, Pause())
    world.report(run, "first")
    assert counts(world) == (0, 0)
    world.do(run, Resume())
    assert counts(world) == (1, 1)
    world.do(run, Pause())
    assert counts(world) == (1, 1)


def failed(world: World, run: int) -> None:
    world.report(run, "desk", status=StepStatus.FAILED, reason="no")


@pytest.mark.parametrize("retries", [0, 1])
def test_an_attempt_is_the_same_token_and_so_is_one_that_a_rewind_brings_back(retries: int) -> None:
    world = World(Graph("desk", counted={"desk": Counted()}).work("desk", retry=Retry(retries)).build())
    run = world.start("desk")
    for _ in range(retries + 1):
        assert counts(world) == (1, 1)
        failed(world, run)
    assert counts(world) == (0, 1)
    world.do(run, Rewind(to="failed"))
    assert counts(world) == (1, 1)


def test_a_version_that_counts_otherwise_lets_go_of_what_was_counted() -> None:
    world = World(escalation(), desk())
    run = world.start("desk")
    plain = Graph("desk", 2).assign("check", "desk").wait("desk", outside(), to="after").wait("after", outside()).build()
    number = world.define(plain)
    world.do(run, Upgrade(definition=number))
    world.report(run, "desk")
    assert counts(world) == (0, 1)


def test_a_process_that_counts_nothing_tells_nothing() -> None:
    world = World(Graph("plain").wait("desk", outside()).build())
    run = world.start("plain")
    change = world.report(run, "desk")
    assert not [effect for effect in change.effects if isinstance(effect, Tally)]
    assert world.tallies == {}


def test_what_cannot_be_started_stops_no_token() -> None:
    crossing = Crossing(1, say({"name": "nowhere", "version": None}), say(1))
    graph = Graph("desk", counted={"desk": Counted((), crossing)}).wait("desk", outside())
    world = World(graph.build())
    world.start("desk")
    assert counts(world) == (1, 1)
    assert [fact.data["reason"] for _, fact in world.announced if fact.type == "mark.failed"] == [
        "there is no process named 'nowhere'"
    ]


@pytest.mark.parametrize(("node", "at"), [("none", 1), ("desk", 0)])
def test_what_can_never_be_counted_is_refused(node: str, at: int) -> None:
    graph = Graph("desk", counted={node: Counted((), Crossing(at, say(None)))}).wait("desk", outside())
    with pytest.raises(ValueError, match=node):
        graph.build()
