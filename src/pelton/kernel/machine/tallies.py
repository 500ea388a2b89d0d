"""How many tokens stand at a node, and have passed it, over all runs of a process: what a draft changes of that.

The draft notes each token that enters or leaves a counted node. At its end the changes of each node become one effect; the store
adds it up, and sees a mark crossed, since it alone knows what the other runs do at the same time. What is to start then travels
with the effect. Cost: nothing for a process that counts nothing.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from pelton.kernel.machine.draft import Draft, StepFailure
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.lifecycle import find_definition
from pelton.kernel.model.process import Crossing
from pelton.kernel.model.reads import NewRunKey
from pelton.kernel.model.signals import Start
from pelton.kernel.model.state import Failure, OpenStep
from pelton.kernel.model.transition import Tally

EXACT = 1 << 53  # a larger number is added up as a float, as other programs read it
KEYS = 1_000_000  # apart from the numbers of the runs that a step itself starts


class NodeChange:
    """What has happened at one node."""

    def __init__(self) -> None:
        self.by = 0
        self.passed = 0
        self.sums: dict[str, int | float] = {}
        self.row: OpenStep | None = None  # the last that moved


def settle_tallies(draft: Draft) -> None:
    changes: dict[str, NodeChange] = {}
    for row, by, sums in draft.counts:
        change = changes.setdefault(row.slot, NodeChange())
        change.by += by
        change.row = row
        if by > 0 and not row.previous and row.n not in draft.reopened:
            change.passed += 1
        for name, number in sums:
            change.sums[name] = exact(change.sums.get(name, 0) + exact(number))
    for node, change in changes.items():
        counted = draft.process.counted.get(node)
        at, reached, fallen = 0, None, None
        crossing = counted.crossing if counted is not None else None
        if crossing is not None and change.by and change.row is not None:
            at = crossing.at
            if change.by > 0:
                reached = follow(draft, crossing, crossing.reached, change.row, -KEYS)
            else:
                fallen = follow(draft, crossing, crossing.fallen, change.row, -KEYS - 1)
        if change.by or change.passed:
            sums = tuple(change.sums.items())
            draft.effects.append(Tally(draft.process.name, node, change.by, change.passed, sums, at, reached, fallen))


def exact(number: float) -> int | float:
    """A number as it is added up; what is none (infinity) counts as 0."""
    if -EXACT <= number <= EXACT:
        return number
    try:
        found = float(number)
    except OverflowError:
        return 0
    return found if isfinite(found) else 0


def follow(draft: Draft, crossing: Crossing, value: Any, row: OpenStep, place: int) -> Start | None:
    """What the store starts if the mark is crossed. What cannot be started is announced: it stops no token."""
    if value is None:
        return None
    scene = Scene(draft, row, row.input, row.thread)
    try:
        target = evaluate(crossing.target, scene)
        if target is None:
            return None
        definition = find_definition(draft, target)
        if isinstance(definition, str):
            raise StepFailure(Failure("expression", "technical", definition, None, False))
        given = evaluate(value, scene)
    except StepFailure as error:
        draft.announce("mark.failed", row.n, {"node": row.slot, "mark": crossing.at, "reason": error.failure.message})
        return None
    head = draft.head
    key: int = draft.reads.answer(NewRunKey(row.n, place))
    return Start(
        strict=False,
        key=key,
        ns=head.ns,
        definition=definition,
        input=given,
        hops=head.hops + 1,
        origin=(head.key, row.n),
        ancestor=head.passes_on,
        trace=head.trace,
    )
