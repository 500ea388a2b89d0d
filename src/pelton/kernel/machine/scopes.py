"""Scopes: a step that owns a body, its iterations, and the failures inside it."""

from __future__ import annotations

from typing import Any

from pelton.kernel.expressions.base import Expression
from pelton.kernel.machine.draft import Failed, StepFailure, Token, Turn
from pelton.kernel.machine.flow import finish, holds
from pelton.kernel.machine.outputs import kept_iterations
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.threads import start_thread
from pelton.kernel.model.process import Scope
from pelton.kernel.model.state import Bit, Failure, OpenStep, StepStatus
from pelton.kernel.model.transition import Purge

MOST_PARALLEL = 1_000  # items of a parallel scope, each a thread


def open_scope(turn: Turn, node: Scope, row: OpenStep) -> None:
    row.started = turn.now
    if node.items is not None:
        row.waits = items_of(turn, node.items, row)
    turn.add(row)
    if node.parallel:
        open_parallel(turn, node, row)
    elif node.items is not None or node.check_first:
        go_on(turn, node, row)
    else:
        iterate(turn, node, row)


def items_of(turn: Turn, items: Expression, row: OpenStep) -> list[Any]:
    found = evaluate(items, Scene(turn, row, row.input, row.thread))
    if not isinstance(found, list):
        raise StepFailure(
            Failure("expression", "technical", f"the items of {row.slot!r} must be a list, not {kind(found)}", None, False)
        )
    return found


def kind(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a text", dict: "an object"}
    return names.get(type(value), "a list")


def open_parallel(turn: Turn, node: Scope, row: OpenStep) -> None:
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
        finish(turn, row, None)
    for index, item in enumerate(items):
        start_thread(turn, node.body, row.thread, row.n, variables={"INPUT": item, "INDEX": index})


def emptied(turn: Turn, n: int) -> None:
    """The last token inside is gone: another iteration, or the scope's end."""
    row = turn.open(n)
    if row is None or row.left:
        return
    row = turn.edit(row)
    node = turn.node(row.slot)
    assert isinstance(node, Scope)
    if row.bits & Bit.DEFERRED_FAILED:
        turn.agenda.append(Failed(row.n, Failure("deferred", "technical", row.reason), int(StepStatus.FAILED)))
    elif node.parallel:
        finish(turn, row, None)
    else:
        try:
            go_on(turn, node, row)
        except StepFailure as error:
            turn.agenda.append(Failed(row.n, error.failure, int(StepStatus.FAILED_FOR_GOOD)))


def go_on(turn: Turn, node: Scope, row: OpenStep) -> None:
    if row.k and node.keep_last is not None:
        purge(turn, row)
    if node.items is not None:
        if row.waits is None:  # opened again by a rewind, which keeps the input only
            row.waits = items_of(turn, node.items, row)
        if row.k >= len(row.waits):
            finish(turn, row, None)
            return
    if over(turn, node, row):
        finish(turn, row, None)
    elif row.k >= node.most:
        reason = f"{node.name!r} has run {row.k} iterations, the most that it may"
        turn.agenda.append(
            Failed(row.n, Failure("too many iterations", "technical", reason, None, False), int(StepStatus.FAILED_FOR_GOOD))
        )
    else:
        iterate(turn, node, row)


def over(turn: Turn, node: Scope, row: OpenStep) -> bool:
    """Whether the condition says that enough iterations have been made."""
    if node.again is None:
        return node.items is None and row.k > 0
    if row.k == 0 and not node.check_first:
        return False
    return not holds(evaluate(node.again, Scene(turn, row, row.input, row.thread, row.k)))


def iterate(turn: Turn, node: Scope, row: OpenStep) -> None:
    row.k += 1
    row.left = 1
    row.updated = turn.now
    if node.thread:
        item = {"INPUT": row.waits[row.k - 1]} if node.items is not None else {}
        start_thread(turn, node.body, row.thread, row.n, variables=item)
    else:
        turn.agenda.append(Token(node.body, row.thread, row.n, row.k))


def purge(turn: Turn, row: OpenStep) -> None:
    """Drops what the iterations before the last few left, this turn's own included. A turn says it once for a scope: each time
    covers the time before."""
    keep = kept_iterations(turn, row)
    if not 0 < keep < row.k:
        return
    effects = turn.effects
    for index in range(len(effects) - 1, -1, -1):
        effect = effects[index]
        if isinstance(effect, Purge) and effect.scope == row.n:
            del effects[index]
            break
    effects.append(Purge(row.n, turn.head.next_n, row.n, row.k - keep + 1))
