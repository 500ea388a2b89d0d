"""Outputs that are never stored: those of joins and of scopes are assembled from the steps that they own, when asked for.

Cost: as many reads as the join has branches, or the scope iterations times steps in its body; at most MOST of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pelton.kernel.machine.draft import Draft, StepFailure
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.flow import awaited, passage, steps_at
from pelton.kernel.model.process import Fork, Fragment, Join, Process, Scope, targets
from pelton.kernel.model.state import FRAGMENTED, OpenStep, State, Step

MOST = 10_000


def output_of(draft: Draft, row: OpenStep | Step) -> Any:
    """The output of any step."""
    if row.state == State.JOIN:
        return join_output(draft, row)
    if row.state == State.SCOPE:
        return scope_output(draft, row)
    return row.output


def join_output(draft: Draft, row: OpenStep | Step) -> dict[str, Any]:
    """The output of each awaited step, by slot; steps without output are left out."""
    node = draft.node_of(row)
    output: dict[str, Any] = {}
    if not isinstance(node, Join):
        return output
    slots = awaited(draft, node, row)
    for slot, step in zip(slots, passage(draft, row, slots), strict=True):
        if step is not None:
            value = output_of(draft, step)
            if value:
                output[slot] = value
    return output


def scope_output(draft: Draft, row: OpenStep | Step) -> dict[str, Any]:
    """{"iteration": k, "1": {slot: output}, ...}; what `keep_last` dropped is not in it."""
    slots = body_slots(draft.maker_of(row), row.slot)
    output: dict[str, Any] = {"iteration": row.k}
    try:
        keep = kept_iterations(draft, row)
    except StepFailure:
        keep = 0  # nothing was dropped either
    first = max(1, row.k - MOST // max(len(slots), 1), row.k - keep + 1 if keep else 1)
    for it in range(first, row.k + 1):
        found = steps_at(draft, [(slot, row.n, it) for slot in slots])
        steps = {slot: step for slot, step in zip(slots, found, strict=True) if step is not None}
        if draft.head.flags & FRAGMENTED:
            steps = with_made(draft, steps)
        members = {slot: output_of(draft, step) for slot, step in steps.items()}
        if members:
            output[str(it)] = members
    return output


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
