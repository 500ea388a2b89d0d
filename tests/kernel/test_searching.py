"""Variables that a run is found by."""

from __future__ import annotations

from tests.kernel.graphs import Graph, outside
from tests.kernel.world import World

from pelton.kernel.machine.searching import END, MOST, search_text
from pelton.kernel.model.process import Process
from pelton.kernel.model.signals import SetVars
from pelton.kernel.model.transition import MakeFindable, Transition


def asking() -> Process:
    return Graph("asking", searchable=frozenset({"color", "size"})).wait("ask", outside()).build()


def changes(world: World, run: int, **values: object) -> list[MakeFindable]:
    found = world.send(run, SetVars(changes=dict(values)))
    assert isinstance(found, Transition)
    return [effect for effect in found.effects if isinstance(effect, MakeFindable)]


def test_a_run_is_found_by_the_present_value_only() -> None:
    world = World(asking())
    run = world.start("asking")
    red, blue = search_text("red") + "0", search_text("blue") + "0"
    assert changes(world, run, color="red", other=1) == [MakeFindable("var:color", red, True)]
    assert changes(world, run, color="red") == []
    assert changes(world, run, color="blue") == [MakeFindable("var:color", red, False), MakeFindable("var:color", blue, True)]


def test_texts_and_other_values_are_told_apart_by_their_json() -> None:
    assert search_text("1") == search_text(1) == "1" + END
    assert search_text({"b": 1, "a": None}) == '{"a":null,"b":1}' + END
    assert len(search_text("x" * 1_000)) == MOST + len(END)
    assert search_text("a" + END + "b") == "a b" + END
