"""Events that stay: what has been taken is still there, says by what, and comes once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kernel.graphs import Graph, on_event
from tests.kernel.world import World

from pelton.errors import Code
from pelton.kernel.model.signals import EventArrived, Pause, Resume


def stay(n: int, ident: str = "", body: Any = None, **more: Any) -> EventArrived:
    return EventArrived(id=n, name="e", body=body, ident=ident, keeps=True, **more)


def kept(world: World) -> list[tuple[str, int]]:
    """Ident, and by which step each was taken: 0 by an interrupt, -1 by none."""
    return [(event.ident, taken) for _, _, event, taken in world.kept]


def waiting(*names: str) -> tuple[World, int]:
    graph = Graph()
    for name, to in zip(names, [*names[1:], ""], strict=True):
        graph.wait(name, on_event("e"), to=to)
    world = World(graph.build())
    return world, world.start("p")


def test_an_event_that_stays_says_which_step_took_it_at_once_or_later() -> None:
    world, run = waiting("x", "y")
    world.do(run, Pause())
    world.do(run, stay(1, "held first", "a"))
    assert kept(world) == [("held first", -1)]
    world.do(run, Resume())
    world.do(run, stay(2, "at once", "b"))
    assert kept(world) == [("held first", world.ended(run, "x").n), ("at once", world.ended(run, "y").n)]
    assert (world.ended(run, "x").output, world.ended(run, "y").output) == ("a", "b")
    assert not world.held


@pytest.mark.parametrize("paused", [False, True])
def test_a_second_one_of_the_same_ident_is_refused_whether_the_first_was_taken_or_not(paused: bool) -> None:
    world, run = waiting("x", "y")
    if paused:
        world.do(run, Pause())
    world.do(run, stay(1, "one"))
    assert world.refuse(run, stay(2, "one")).code == Code.EXISTS
    world.do(run, EventArrived(id=3, name="other", ident="one", keeps=True))
    world.do(run, stay(4, "two"))
    assert [ident for ident, _ in kept(world)] == ["one", "one", "two"]


def test_without_an_ident_any_number_stay() -> None:
    world, run = waiting("x")
    for n in range(3):
        world.do(run, EventArrived(id=n, name="z", keeps=True))
    assert kept(world) == [("", -1)] * 3
    assert world.head(run).held == 3


def test_one_that_interrupts_says_that_no_step_took_it() -> None:
    graph = Graph().body("", interrupts=[("e", "b")]).work("a").work("b")
    world = World(graph.build())
    run = world.start("p")
    world.do(run, stay(1, "i"))
    assert kept(world) == [("i", 0)]


def test_an_arm_that_stays_takes_each_of_them_once() -> None:
    graph = Graph().wait("w", on_event("e", stays=True), on_event("end"))
    world = World(graph.build())
    run = world.start("p")
    for n in range(3):
        world.do(run, stay(n, str(n)))
    assert kept(world) == [(str(n), 1) for n in range(3)]


def test_one_with_a_key_or_with_an_ident_alone_is_refused() -> None:
    world, run = waiting("x")
    assert world.refuse(run, stay(1, "i", key="k")).code == Code.INVALID
    assert world.refuse(run, EventArrived(id=1, name="e", ident="i")).code == Code.INVALID
