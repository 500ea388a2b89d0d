"""Scopes: a step that owns a body, its iterations, and the failures inside it."""

from __future__ import annotations

from typing import Any

from pelton.kernel.expressions.base import Expression
from pelton.kernel.machine.draft import Draft, StepFailed, StepFailure, Token
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.flow import finish, holds
from pelton.kernel.machine.tokens.lifecycle import failure_of
from pelton.kernel.machine.tokens.outputs import kept_iterations
from pelton.kernel.machine.tokens.threads import start_thread, take_back
from pelton.kernel.model.process import Scope
from pelton.kernel.model.state import Bit, Failure, OpenStep, StepStatus
from pelton.kernel.model.transition import Purge

MOST_PARALLEL = 1_000  # items of a parallel scope, each a thread


def open_scope(draft: Draft, node: Scope, row: OpenStep) -> None:
    row.started = draft.now
    if node.items is not None:
        row.waits = items_of(draft, node.items, row)
    draft.add(row)
    if node.parallel:
        open_parallel(draft, node, row)
    elif node.items is not None or node.check_first:
        next_iteration(draft, node, row)
    else:
        iterate(draft, node, row)


def items_of(draft: Draft, items: Expression, row: OpenStep) -> list[Any]:
    found = evaluate(items, Scene(draft, row, row.input, row.thread))
    if not isinstance(found, list):
        raise StepFailure(
            Failure("expression", "technical", f"the items of {row.slot!r} must be a list, not {kind_of(found)}", None, False)
        )
    return found


def kind_of(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a text", dict: "an object"}
    return names.get(type(value), "a list")


def open_parallel(draft: Draft, node: Scope, row: OpenStep) -> None:
    items = row.waits or []
    if len(items) > MOST_PARALLEL:
        raise StepFailure(
            Failure(
                "expression",
                "technical",
                f"{node.name!r} has {len(items)} items; at most {MOST_PARALLEL} run at once",
                None,
                False,
            )
        )
    row.k = row.left = len(items)
    if not items:
        finish(draft, row, None)
    first = draft.head.threads
    try:
        for index, item in enumerate(items):
            given = {"INPUT": item, "INDEX": index}
            start_thread(draft, node.body, row.thread, row.n, variables=given, fragment=row.fragment)
    except StepFailure:
        take_back(draft, row.thread, first)
        row.left = 0
        raise


def scope_emptied(draft: Draft, n: int) -> None:
    """The last token inside is gone: another iteration, or the scope's end."""
    row = draft.open(n)
    if row is None or row.left:
        return
    row = draft.edit(row)
    node = draft.node_of(row)
    assert isinstance(node, Scope)
    if row.bits & Bit.DEFERRED_FAILED:
        cause = failure_of(draft.step(row.cause)) if row.cause else Failure("deferred")
        row.cause = 0
        failure = Failure(cause.name, cause.kind, row.reason, cause.content)
        draft.worklist.append(StepFailed(row.n, failure, int(StepStatus.FAILED)))
    elif node.parallel:
        finish(draft, row, None)
    else:
        try:
            next_iteration(draft, node, row)
        except StepFailure as error:
            draft.worklist.append(StepFailed(row.n, error.failure, int(StepStatus.FAILED_FOR_GOOD)))


def next_iteration(draft: Draft, node: Scope, row: OpenStep) -> None:
    if row.k and node.keep_last is not None:
        purge(draft, row)
    if node.items is not None:
        if row.waits is None:  # opened again by a rewind, which keeps the input only
            row.waits = items_of(draft, node.items, row)
        if row.k >= len(row.waits):
            finish(draft, row, None)
            return
    if iterations_done(draft, node, row):
        finish(draft, row, None)
    elif row.k >= node.most:
        reason = f"{node.name!r} has run {row.k} iterations, the most that it may"
        draft.worklist.append(
            StepFailed(row.n, Failure("too many iterations", "technical", reason, None, False), int(StepStatus.FAILED_FOR_GOOD))
        )
    else:
        iterate(draft, node, row)


def iterations_done(draft: Draft, node: Scope, row: OpenStep) -> bool:
    """Whether the condition says that enough iterations have been made."""
    if node.again is None:
        return node.items is None and row.k > 0
    if row.k == 0 and not node.check_first:
        return False
    if node.renewed is not None and row.k:
        row.input = evaluate(node.renewed, Scene(draft, row, row.input, row.thread, row.k))
    return not holds(evaluate(node.again, Scene(draft, row, row.input, row.thread, row.k)))


def iterate(draft: Draft, node: Scope, row: OpenStep) -> None:
    row.k += 1
    row.left = 1
    row.updated = draft.now
    if node.thread:
        item = {"INPUT": row.waits[row.k - 1]} if node.items is not None else {}
        start_thread(draft, node.body, row.thread, row.n, variables=item, fragment=row.fragment)
    else:
        draft.worklist.append(Token(node.body, row.thread, row.n, row.k, fragment=row.fragment))


def purge(draft: Draft, row: OpenStep) -> None:
    """Drops the steps of all but the last few iterations, those of this draft included. A draft has one Purge for a scope: each
    covers the one before."""
    keep = kept_iterations(draft, row)
    if not 0 < keep < row.k:
        return
    effects = draft.effects
    for index in range(len(effects) - 1, -1, -1):
        effect = effects[index]
        if isinstance(effect, Purge) and effect.scope == row.n:
            del effects[index]
            break
    effects.append(Purge(row.n, draft.head.next_n, row.n, row.k - keep + 1))
