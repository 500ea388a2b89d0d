"""What blocks a run: a task that waits for someone outside, in the run itself or in the runs that it has called.

Bounded: a search covers at most MAX_LOOKED runs, at most MAX_DEPTH calls deep, breadth first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple

from pelton.kernel.model.process import Node
from pelton.kernel.model.state import Bit, OpenStep, RunStatus, State, Step
from pelton.languages.conductor.definitions.annotations import NodeAnnotations
from pelton.languages.conductor.model import LANGUAGE
from pelton.languages.conductor.runs.identifiers import split_reference
from pelton.runtime.api import Engine, RunView
from pelton.runtime.caller import Caller

MAX_DEPTH = 20  # of runs that call runs
MAX_LOOKED = 200  # runs looked at in one look


class Blocked(NamedTuple):
    run: RunView
    step: OpenStep | Step


Blocks = Callable[[RunView, list[OpenStep]], Awaitable[OpenStep | Step | None]]
"""The task of a run, whose open tasks are given, that is looked for."""


async def find_blocked(engine: Engine, caller: Caller, target: RunView, references: Collection[str]) -> Blocked | None:
    """The first task that blocks the run or one of the runs it has called: a wait without an end, or one of `references` that
    has ended."""

    async def blocks(current: RunView, rows: list[OpenStep]) -> OpenStep | Step | None:
        for reference in references:
            slot, iteration = split_reference(reference, current.process.nodes)
            found = await engine.newest(caller, current.run.key, slot, iteration)
            if isinstance(found, Step) and not found.bits & Bit.RETRIED:
                return found
        return _first_wait(current, rows, Bit.TIMED | Bit.AWAITS_THREADS)

    return await _search(engine, caller, target, blocks)


async def find_wait(engine: Engine, caller: Caller, target: RunView) -> Blocked | None:
    """The first open WAIT of the run, else of the runs that it has called; one that would end by itself counts too."""

    async def blocks(current: RunView, rows: list[OpenStep]) -> OpenStep | Step | None:
        return _first_wait(current, rows, Bit.AWAITS_THREADS)

    return await _search(engine, caller, target, blocks)


def _first_wait(current: RunView, rows: list[OpenStep], without: int) -> OpenStep | None:
    """What waits for a person is no such wait: a signal is not their answer."""
    people = {name for name, node in current.process.nodes.items() if shown(node) == "HUMAN"}
    return next((row for row in rows if row.state == State.WAIT and not row.bits & without and row.slot not in people), None)


def shown(node: Node) -> str:
    return node.annotations.shown if isinstance(node.annotations, NodeAnnotations) else ""


async def _search(engine: Engine, caller: Caller, target: RunView, blocks: Blocks) -> Blocked | None:
    pending: list[tuple[RunView, int]] = [(target, 0)]
    looked = 0
    while pending and looked < MAX_LOOKED:
        current, depth = pending.pop(0)
        looked += 1
        rows = [row for row in await engine.open_steps(current.run) if row.n > 0]
        found = await blocks(current, rows)
        if found is not None:
            return Blocked(current, found)
        if depth < MAX_DEPTH:
            pending += [(child, depth + 1) for child in await _children(engine, caller, rows)]
    return None


async def _children(engine: Engine, caller: Caller, rows: list[OpenStep]) -> list[RunView]:
    """The runs that these tasks have called and that are still running."""
    found = []
    for row in rows:
        if row.state == State.CALL and row.child > 0:
            child = await engine.view(caller, row.child)
            if child is not None and not RunStatus(child.run.status).ended and child.process.language == LANGUAGE:
                found.append(child)
    return found
