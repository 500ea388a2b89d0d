"""Outputs that are never stored: those of joins and of scopes are assembled from the steps that they own, when asked for.

Cost: one read for each scope, which covers all its iterations, and one for each branch of a join. An output is made of at most
MOST steps (a scope is not cut within an iteration) of MOST_BYTES together; where that is too little the oldest iterations are
left out. One iteration, or one step of one, is read alone (`part_of`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pelton.kernel.machine.draft import Draft, StepFailure
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.flow import awaited, passage, steps_at
from pelton.kernel.model.process import Fork, Fragment, Join, Process, Scope, targets
from pelton.kernel.model.reads import Iterations, IterationsKey, Missing
from pelton.kernel.model.state import FRAGMENTED, OpenStep, State, Step

MOST = 10_000  # steps
MOST_BYTES = 16 << 20


class Budget:
    """How many more steps an output may be assembled from."""

    __slots__ = ("steps",)

    def __init__(self, steps: int = MOST) -> None:
        self.steps = steps


def output_of(draft: Draft, row: OpenStep | Step) -> Any:
    """The output of any step. What is too large leaves out its oldest iterations; asked for at once is all that can be."""
    return assemble(draft, row, Budget(), MOST_BYTES)


def assemble(draft: Draft, row: OpenStep | Step, budget: Budget, size: int) -> Any:
    """`size`: bytes that the steps may have in the store."""
    if row.state == State.JOIN:
        return join_output(draft, row, budget, size)
    if row.state == State.SCOPE:
        return scope_output(draft, row, budget, size)
    return row.output


def join_output(draft: Draft, row: OpenStep | Step, budget: Budget, size: int) -> dict[str, Any]:
    """The output of each awaited step, by slot; steps without output are left out."""
    node = draft.node_of(row)
    if not isinstance(node, Join):
        return {}
    slots = awaited(draft, node, row)
    budget.steps -= len(slots)
    steps = passage(draft, row, slots)
    share = size // max(1, sum(step is not None and step.state == State.SCOPE for step in steps))
    values = for_each(steps, lambda step: assemble(draft, step, budget, share) if step is not None else None)
    return {slot: value for slot, value in zip(slots, values, strict=True) if value}


def scope_output(draft: Draft, row: OpenStep | Step, budget: Budget, size: int) -> dict[str, Any]:
    """{"iteration": k, "1": {slot: output}, ...}; what `keep_last` dropped is not in it."""
    maker = draft.maker_of(row)
    slots = body_slots(maker, row.slot)
    output: dict[str, Any] = {"iteration": row.k}
    if not slots or not row.k:
        return output
    try:
        keep = kept_iterations(draft, row)
    except StepFailure:
        keep = 0  # nothing was dropped either
    first = max(1, row.k - max(budget.steps, 0) // len(slots), row.k - keep + 1 if keep else 1)
    # Charged before anything is read, so that a trial which finds something missing asks for no more than is used in the end.
    deep = any(isinstance(maker.nodes[slot], Scope | Join) for slot in slots)
    if not deep:
        budget.steps -= (row.k + 1 - first) * len(slots)
    found = iterations(draft, IterationsKey(slots, row.n, first, row.k + 1, max(size, 0)))
    share = (size - found.size) // max(1, sum(step.state == State.SCOPE for step in found.steps))
    steps: dict[int, dict[str, OpenStep | Step]] = {}
    for step in found.steps:
        steps.setdefault(step.it, {})[step.slot] = step
    made: list[tuple[str, dict[str, Any]]] = []
    missing: list[Any] = []
    for it in range(row.k, found.first - 1, -1):  # the newest first, so that what is too much is the oldest
        if deep:
            if budget.steps <= 0 and it < row.k:
                break
            budget.steps -= len(slots)
        try:
            made.append((str(it), one_iteration(draft, slots, steps.get(it, {}), budget, share)))
        except Missing as more:
            missing += more.keys
    if missing:
        raise Missing(*dict.fromkeys(missing))
    output.update((name, values) for name, values in reversed(made) if values)
    return output


def one_iteration(
    draft: Draft, slots: tuple[str, ...], steps: Mapping[str, OpenStep | Step], budget: Budget, size: int
) -> dict[str, Any]:
    """The outputs of one iteration, by slot; those of what its dynamic forks made too."""
    there = {slot: steps[slot] for slot in slots if slot in steps}
    if draft.head.flags & FRAGMENTED:
        there = with_made(draft, there)
    values = for_each(list(there.values()), lambda step: assemble(draft, step, budget, size))
    return dict(zip(there, values, strict=True))


def with_made(draft: Draft, steps: Mapping[str, OpenStep | Step]) -> dict[str, OpenStep | Step]:
    """Steps of one iteration, by slot, and with each dynamic fork among them the steps that it made there, and its joins."""
    found: dict[str, OpenStep | Step] = {}
    for slot, step in steps.items():
        found[slot] = step
        node = draft.node_of(step)
        made = draft.fragment(step.n) if isinstance(node, Fork) and node.dynamic is not None else None
        if made is not None:
            nodes = made.fragment.nodes
            names = [name for name, node in nodes.items() if node.trace and name not in made.fragment.holders]
            names += [name for name in made.fragment.branches if name not in nodes]
            rows = steps_at(draft, [(name, step.scope, step.it) for name in names])
            mine = {row.slot: row for row in rows if row is not None and (row.fragment == step.n or row.slot not in nodes)}
            found |= {name: row for name, row in with_made(draft, mine).items() if name not in found}
    return found


def iterations(draft: Draft, key: IterationsKey) -> Iterations:
    """The newest steps of slots in a range of iterations of one scope, those of this draft included."""
    if draft.created or key.scope >= draft.first:
        found = Iterations(key.low, [], 0)
    elif draft.cut:
        places = [(slot, key.scope, it) for it in range(key.low, key.high) for slot in key.slots]
        return Iterations(key.low, [step for step in steps_at(draft, places) if step is not None], 0)
    else:
        found = draft.reads.answer(key)
    rows = {(row.slot, row.it): row for row in found.steps}
    if not draft.created:
        ranges = draft.ranges = draft.ranges if draft.ranges is not None else {}
        for it in range(found.first, key.high):
            for slot in key.slots:
                ranges[slot, key.scope, it] = rows.get((slot, it))
    for (slot, scope, it), row in draft.places.items():
        if scope == key.scope and found.first <= it < key.high and slot in key.slots:
            rows[slot, it] = row
    return Iterations(found.first, list(rows.values()), found.size)


def part_of(draft: Draft, row: OpenStep | Step, members: Sequence[str | int]) -> Any:
    """What stands at a path in a step's output, as `output_of` has it, with reads for that part alone. None where there is none.

    `members`: iteration and slot for each scope, a slot for each join on the way; nothing below what has an output of its own.
    """
    at: OpenStep | Step | None = row
    left = list(members)
    while left and at is not None:
        if at.state == State.SCOPE:
            it = number_of(left.pop(0))
            slots = body_slots(draft.maker_of(at), at.slot)
            if not 1 <= it <= at.k:
                return None
            if not left:
                there = {step.slot: step for step in iterations(draft, IterationsKey(slots, at.n, it, it + 1, 0)).steps}
                return one_iteration(draft, slots, there, Budget(), MOST_BYTES // len(slots)) or None
            slot = str(left.pop(0))
            if slot not in slots and draft.head.flags & FRAGMENTED:
                here = iterations(draft, IterationsKey(slots, at.n, it, it + 1, 0)).steps
                at = with_made(draft, {step.slot: step for step in here}).get(slot)
            else:
                at = draft.at(slot, at.n, it) if slot in slots else None
        elif at.state == State.JOIN:
            node = draft.node_of(at)
            slot = str(left.pop(0))
            known = isinstance(node, Join) and slot in awaited(draft, node, at)
            at = passage(draft, at, (slot,))[0] if known else None
        else:
            return None
    return output_of(draft, at) if at is not None else None


def number_of(member: str | int) -> int:
    """The iteration that a member of a scope's output is; 0 for none."""
    if isinstance(member, int):
        return member
    return int(member) if member.isascii() and member.isdecimal() and str(int(member)) == member else 0


def kept_iterations(draft: Draft, row: OpenStep | Step) -> int:
    """How many of a scope's newest iterations are kept; 0 = all. Raises StepFailure for an error of the author."""
    node = draft.node_of(row)
    if not isinstance(node, Scope) or node.keep_last is None:
        return 0
    keep = evaluate(node.keep_last, Scene(draft, row, row.input, row.thread, row.k))
    return keep if isinstance(keep, int) and keep > 0 else 0


def body_slots(process: Process | Fragment, scope: str) -> tuple[str, ...]:
    """The traced nodes of a scope's body, in the order of the graph; bodies of scopes inside it are those scopes' own."""
    node = process.nodes.get(scope)
    if not isinstance(node, Scope):
        return ()
    seen: dict[str, None] = {}
    pending = [node.body]
    while pending:
        name = pending.pop(0)
        if name in seen or name not in process.nodes:
            continue
        seen[name] = None
        inner = process.nodes[name]
        pending += [target for target in targets(inner) if not (isinstance(inner, Scope) and target == inner.body)]
    return tuple(name for name in seen if process.nodes[name].trace)
