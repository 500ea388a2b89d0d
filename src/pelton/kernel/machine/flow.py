"""How tokens move: along edges, out of branches, into joins.

Nothing here calls a node's own logic: what is to be entered goes on the turn's agenda, so that a chain of any length costs no
recursion and can be cut by fuel between any two of its links.
"""

from __future__ import annotations

from typing import Any

from pelton.kernel.machine.draft import Broken, Emptied, Failed, Lost, Parked, StepFailure, Token, Turn
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.model.process import Assignment, Edge, Join, Node
from pelton.kernel.model.reads import Missing
from pelton.kernel.model.signals import Terminate
from pelton.kernel.model.state import Bit, Failure, OpenStep, State, Step, StepStatus, ThreadStatus
from pelton.kernel.model.transition import SignalRun, Withdraw


def holds(value: Any) -> bool:
    """Whether a guard's value opens the way: true, or a number above zero. Texts never do, "true" included."""
    if isinstance(value, bool):
        return value
    return isinstance(value, int | float) and value > 0


def fresh(turn: Turn, token: Token, node: Node, state: State) -> OpenStep:
    """A numbered row for a token that enters a node. Not open yet."""
    now = turn.now
    return OpenStep(
        turn.head.key,
        turn.number(),
        node.name,
        state,
        token.scope,
        token.it,
        token.thread,
        token.attempt,
        token.previous,
        now,
        now,
        token.first or now,
    )


def assign(turn: Turn, assigns: tuple[Assignment, ...], scene: Scene) -> None:
    """All or none: every value is computed before the first is set."""
    values = [(change.name, evaluate(change.value, scene)) for change in assigns]
    for name, value in values:
        turn.set_var(scene.thread, name, value)


def choose(node: Node, scene: Scene) -> Edge | None:
    for edge in node.next:
        if edge.guard is None or holds(evaluate(edge.guard, scene)):
            return edge
    return None


def leave(turn: Turn, node: Node, row: OpenStep | Step | Token, *, to: str | None = None, skip_assigns: bool = False) -> None:
    """The token that was at `node` goes on: to the first open edge's target, or to `to`; it parks while its thread is halted."""
    place = Token(node.name if to is None else to, row.thread, row.scope, row.it)
    if turn.halted(row.thread):
        bits = (Bit.VIA_LEAVE | (Bit.SKIPS_ASSIGNS if skip_assigns else 0)) if to is None else 0
        if to == "":
            retire(turn, row.scope)
        else:
            turn.park(place, int(bits))
        thread = turn.thread(row.thread)
        if thread is not None and thread.status == ThreadStatus.HALTING:
            turn.agenda.append(Parked(row.thread))
        return
    if to is None:
        step = None if isinstance(row, Token) else row
        scene = Scene(turn, step, step.output if step is not None else None, row.thread)
        edge = choose(node, scene)
        if edge is not None and edge.assigns and not skip_assigns:
            assign(turn, edge.assigns, scene)
        to = edge.to if edge is not None else ""
    if to:
        turn.agenda.append(place._replace(node=to))
    else:
        retire(turn, row.scope)


def retire(turn: Turn, scope: int) -> None:
    """A token has come to its end and is counted out of its owner."""
    if scope == 0:
        return
    turn.grow(scope, -1)
    if scope > 0:
        row = turn.open(scope)
        if row is not None and row.left == 0:
            turn.agenda.append(Emptied(scope))
    else:
        thread = turn.thread(-scope)
        if thread is not None and thread.open == 0 and thread.status < ThreadStatus.COMPLETED:
            turn.agenda.append(Emptied(scope))


def finish(
    turn: Turn, row: OpenStep, output: Any, status: StepStatus = StepStatus.COMPLETED, reason: str = "", to: str | None = None
) -> Step:
    """A step has ended well (or is treated so): joins hear of it and its token goes on."""
    node = turn.node(row.slot)
    step = turn.end(row, status, output, reason)
    settle(turn, step)
    try:
        leave(turn, node, step, to=to)
    except StepFailure as error:
        # The way on cannot be found: a guard or an assignment failed. What owns the step is broken by it.
        turn.agenda.append(Broken(step.scope, step.thread, error.failure, step.n, int(StepStatus.FAILED_FOR_GOOD)))
    return step


# ---- joins


def look(turn: Turn, places: list[tuple[str, int, int]]) -> list[OpenStep | Step | None]:
    """Many slots at once: what is missing is asked for in one need."""
    found: list[OpenStep | Step | None] = []
    missing: list[Any] = []
    for slot, scope, it in places:
        try:
            found.append(turn.at(slot, scope, it))
        except Missing as more:
            missing += more.keys
    if missing:
        raise Missing(*dict.fromkeys(missing))
    return found


def awaited(turn: Turn, join: Join) -> tuple[str, ...]:
    """The slots that a join waits for: its own, or those of the fragment that was made for it."""
    if turn.head.flags:
        for fragment in turn.all_fragments().values():
            if join.name in fragment.joins:
                return fragment.joins[join.name]
    return join.on


def verdict_bits(step: Step) -> int:
    if step.status == StepStatus.COMPLETED_WITH_ERRORS:
        return int(Bit.OPTIONAL_FAILED)
    if step.bits & Bit.HANDLED:
        return 0
    return 0 if StepStatus(step.status).successful else int(Bit.DEFERRED_FAILED)


def settle(turn: Turn, step: Step) -> None:
    """A step has ended for good: the joins that await its slot, in its own scope and iteration, are counted down."""
    for name in turn.joins_of(step.slot):
        row = turn.at(name, step.scope, step.it)
        if isinstance(row, OpenStep) and row.state == State.JOIN and row.left > 0:
            row = turn.edit(row)
            row.left -= 1
            row.bits |= verdict_bits(step)
            if row.left == 0:
                complete_join(turn, row)


def complete_join(turn: Turn, row: OpenStep) -> None:
    node = turn.node(row.slot)
    assert isinstance(node, Join)
    if node.losers == "halt" and node.rule != "all":
        for other in look(turn, [(slot, row.scope, row.it) for slot in awaited(turn, node)]):
            if isinstance(other, OpenStep):
                turn.agenda.append(Lost(other.n, "lost to another branch"))
    if row.bits & Bit.DEFERRED_FAILED:
        steps = look(turn, [(slot, row.scope, row.it) for slot in awaited(turn, node)])
        reasons = [text for step in steps if (text := reason_of(step))]
        failure = Failure("join", "technical", ", ".join(reasons), None, False)
        turn.agenda.append(Failed(row.n, failure, int(StepStatus.FAILED)))
        return
    forgiven = row.bits & Bit.OPTIONAL_FAILED
    finish(turn, row, None, StepStatus.COMPLETED_WITH_ERRORS if forgiven else StepStatus.COMPLETED)


def reason_of(step: OpenStep | Step | None) -> str:
    return step.reason if isinstance(step, Step) and not StepStatus(step.status).successful else ""


def count_join(turn: Turn, node: Join, row: OpenStep) -> None:
    """Sets what a join that opens still waits for; completes it when that is nothing."""
    slots = awaited(turn, node)
    ended = 0
    for step in look(turn, [(slot, row.scope, row.it) for slot in slots]):
        if isinstance(step, Step) and not step.bits & Bit.RETRIED:
            ended += 1
            row.bits |= verdict_bits(step)
    row.left = needed(node, len(slots), ended)
    if row.left == 0:
        complete_join(turn, row)


def needed(node: Join, total: int, ended: int) -> int:
    """How many more ends a join waits for."""
    if node.rule == "all":
        return total - ended
    want = min(node.count if node.rule == "count" else 1, total)
    return max(want - ended, 0)


# ---- taking back


def cancel(turn: Turn, row: OpenStep, reason: str) -> None:
    """An open row ends without having come to anything. Its token is not counted out of its owner."""
    if row.state == State.PARKED:
        turn.close(row)
        return
    calls_run = row.state == State.CALL and not row.bits & Bit.THREAD
    turn.effects.append(Withdraw(row.n, row.child if calls_run else 0))
    if calls_run and row.child:
        turn.effects.append(SignalRun(row.child, Terminate(reason=reason, by_parent=True, strict=False)))
    turn.end(row, StepStatus.CANCELED, row.output, reason)
