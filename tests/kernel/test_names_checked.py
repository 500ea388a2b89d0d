"""A step that finds a run by its name: what could never work is refused with the definition, or fails as a value."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.kernel.graphs import Graph, look
from tests.kernel.world import World

from pelton.kernel.expressions.base import Invalid
from pelton.kernel.model.process import Fragment, Process
from pelton.kernel.model.signals import Merge, Start, Terminate
from pelton.kernel.model.state import RunStatus

STOP = Terminate(reason="enough")
START = Start(key=1, ns="a", definition=1, input=None)


def finder(process: Any = "other", key: Any = "x", **more: Any) -> Graph:
    return Graph().find("f", process, key, **more)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"does": "signal"}, "node 'f' signals a run and has no signal"),
        ({"does": "copy"}, "node 'f' does 'copy'; it can be one of read, signal, start"),
        ({"does": "signal", "signal": "stop"}, "the signal is 'stop', which no run that goes on can receive"),
        ({"does": "signal", "signal": START}, "which no run that goes on can receive"),
        ({"does": "start", "process": ""}, "the process '' names no run; give a text of 1 to 1024 characters"),
        ({"does": "start", "key": ""}, "the key '' names no run"),
        ({"key": "x" * 1025}, "names no run"),
        ({"key": ["x"]}, "the key ['x'] names no run"),
        ({"key": True}, "the key True names no run"),
        ({"does": "read", "signal": STOP}, "node 'f' does 'read', for which 'signal' means nothing"),
        ({"does": "start", "signal": STOP}, "does 'start', for which 'signal' means nothing"),
        ({"does": "signal", "signal": STOP, "given": 1}, "does 'signal', for which 'given' means nothing"),
        ({"meta": look(lambda scene: None)}, "does 'read', for which 'meta' means nothing"),
    ],
)
def test_what_can_never_work_is_refused_with_the_definition(more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        finder(**more).build()
    with pytest.raises(Invalid) as invalid:
        Fragment(nodes=finder(**more).nodes, branches=("f",)).finish()
    assert why in invalid.value.message


def test_what_can_work_is_taken() -> None:
    computed = look(lambda scene: None)
    for more in (
        {"does": "signal", "signal": STOP},
        {"does": "signal", "signal": Merge(), "key": 7},
        {"does": "signal", "signal": computed},
        {"does": "start", "given": 1, "meta": computed},
        {"process": computed, "key": computed},
    ):
        assert isinstance(finder(**more).build(), Process)


@pytest.mark.parametrize("value", [None, "", True, ["x"], {"a": 1}, 1.5, "x" * 1025])
@pytest.mark.parametrize("does", ["read", "start"])
def test_what_is_no_name_is_not_accepted(value: Any, does: Any) -> None:
    """A name that is missing is not the name "None"."""
    for more in ({"key": look(lambda scene: value)}, {"process": look(lambda scene: value)}):
        world = World(finder(does=does, **more).build())
        run = world.start("p")
        assert world.status(run) == RunStatus.FAILED
        failed = world.ended(run, "f").failure
        assert (failed, world.ended(run, "f").content["code"]) == ("not accepted", "invalid")
        assert "a name is a text of 1 to 1024 characters" in world.reason(run)


@pytest.mark.parametrize("bad", [{"priority": "high"}, {"correlation": {"a": 1}}, "soon"])
def test_what_no_start_can_have_fails_the_step(bad: Any) -> None:
    """However a run is started; it breaks nothing else."""
    meta = look(lambda scene: bad)
    graphs = finder("p", "x", does="start", meta=meta), Graph().call("f", "p", meta=meta, awaits="nothing")
    for graph in graphs:
        world = World(graph.build())
        run = world.start("p")
        assert world.status(run) == RunStatus.FAILED
        assert "a run cannot be started with" in world.reason(run)
        assert list(world.runs) == [run]
