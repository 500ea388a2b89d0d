"""How tokens move: along edges, out of branches, into joins.

Nothing here calls a node's own logic: what is to be entered goes on the draft's worklist, so that a chain of any length costs no
recursion and can be cut by fuel between any two of its links.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pelton.kernel.machine.draft import (
    UNMARKED,
    BranchesLost,
    Draft,
    LeavingFailed,
    ScopeEmptied,
    StepFailed,
    StepFailure,
    Token,
    token_at,
)
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.model.process import Assignment, Edge, Fork, Join, Node
from pelton.kernel.model.reads import Missing
from pelton.kernel.model.signals import Terminate
from pelton.kernel.model.state import Bit, Failure, OpenStep, State, Step, StepStatus, ThreadStatus
from pelton.kernel.model.transition import SignalRun


def holds(value: Any) -> bool:
    """Whether a guard's value opens the way: true, or a number above zero. A text never does, not even "true"."""
    if isinstance(value, bool):
        return value
    return isinstance(value, int | float) and value > 0


def fresh(draft: Draft, token: Token, node: Node, state: State) -> OpenStep:
    """A numbered row for a token that enters a node. Not open yet."""
    now = draft.now
    row = OpenStep(
        draft.head.key,
        draft.number(),
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
    if token.fork:
        row.fork = token.fork
    if token.fragment:
        row.fragment = token.fragment
    if draft.process.positions:
        row.position = draft.place(token)
    if token.tries is not None:
        row.tries = token.tries
    return row


def assign(draft: Draft, assigns: tuple[Assignment, ...], scene: Scene) -> None:
    """All or none: every value is computed before the first is set."""
    values = [(change.name, evaluate(change.value, scene)) for change in assigns]
    for name, value in values:
        draft.set_var(scene.thread, name, value)


def choose(node: Node, scene: Scene) -> Edge | None:
    for edge in node.next:
        if edge.guard is None or holds(evaluate(edge.guard, scene)):
            return edge
    return None


def leave(draft: Draft, node: Node, row: OpenStep | Step | Token, *, to: str | None = None, skip_assigns: bool = False) -> None:
    """Moves the token that was at `node` on: to the first open edge's target, or to `to`; it parks while its thread is halted."""
    if draft.head.era and has_gone_on(draft, row):
        to = ""
    if draft.halted(row.thread):
        if to == "":
            retire_token(draft, row.scope)
        elif to is not None:
            draft.park(token_at(row, to))
        else:
            wait_to_leave(draft, node, row, skip_assigns)
        return
    if to is None:
        step = None if isinstance(row, Token) else row
        at = row if isinstance(row, Token) else None
        scene = Scene(draft, step, step.output if step is not None else None, row.thread, at=at)
        edge = choose(node, scene)
        if edge is not None and edge.assigns and not skip_assigns:
            assign(draft, edge.assigns, scene)
        to = edge.to if edge is not None else ""
    if to:
        draft.worklist.append(token_at(row, to))
    else:
        retire_token(draft, row.scope)


def wait_to_leave(draft: Draft, node: Node, row: OpenStep | Step | Token, skip_assigns: bool) -> None:
    """Parks a token that was at `node`. It keeps the number of its step: others may end at the same node before it goes on."""
    bits = Bit.VIA_LEAVE | (Bit.SKIPS_ASSIGNS if skip_assigns else 0)
    draft.park(token_at(row, node.name), bits, 0 if isinstance(row, Token) else row.n)


def steps_left(draft: Draft, rows: list[OpenStep]) -> dict[int, OpenStep | Step | None]:
    """The steps that tokens left before they parked (VIA_LEAVE), by the number of the parked row. None: the node was silent."""
    found: dict[int, OpenStep | Step | None] = {}
    missing: list[Any] = []
    for row in rows:
        try:
            # Rows of earlier versions of Pelton do not tell their step: it is taken to be the newest in their place.
            found[row.n] = draft.step(row.child) if row.child else draft.at(row.slot, row.scope, row.it)
        except Missing as more:
            missing += more.keys
    if missing:
        raise Missing(*dict.fromkeys(missing))
    return found


def open_branches(draft: Draft, branches: tuple[str, ...], names: Sequence[str], token: Token, fragment: int) -> None:
    """Sends tokens into some of a fork's branches. `token` is the fork's own, `fragment` what the branches are named in.

    A fork that opens a join marks its branches with the number of its step (`origin`), so that the join counts them and no
    others: tokens may pass here again, or at the same time. A silent fork takes the number that its join will have for it, and
    says so by a negative `origin`.
    """
    origin = token.origin
    node_at = draft.process.nodes.get if not fragment else lambda name: draft.find_node(name, fragment)[0]
    opens = origin and any(type(node_at(name)) is Join for name in reversed(branches))
    fork = abs(origin) if opens else token.fork
    for name in names:
        if opens and type(node_at(name)) is Join:
            branch = Token(name, token.thread, token.scope, token.it, fork=token.fork, fragment=fragment, origin=origin)
            origin = abs(origin)  # a number is taken once
        else:
            branch = Token(name, token.thread, token.scope, token.it, fork=fork, fragment=fragment)
        draft.worklist.append(branch)


def has_gone_on(draft: Draft, row: OpenStep | Step | Token) -> bool:
    """Whether the token of an earlier attempt has moved on: its failure was put off, and no retry repeats what followed."""
    if not isinstance(row, Token):
        return bool(row.bits & Bit.GONE_ON)
    before = draft.step(row.previous) if row.previous else None
    return before is not None and bool(before.bits & (Bit.PUT_OFF | Bit.GONE_ON))


def branches_of(draft: Draft, node: Fork, token: Token) -> tuple[tuple[str, ...], int]:
    """The branches of a fork that has opened some of them, and the fragment that they are named in."""
    if node.dynamic is None:
        return node.branches, token.fragment
    acquired = draft.fragment(token.origin) if token.origin else None
    if acquired is not None:
        return acquired.fragment.branches, token.origin
    unmarked = draft.unmarked().get(node.name)
    return (unmarked.branches if unmarked is not None else ()), 0


def retire_token(draft: Draft, scope: int) -> None:
    """A token has ended, and is counted out of its owner."""
    if scope == 0:
        return
    draft.grow(scope, -1)
    if scope > 0:
        row = draft.open(scope)
        if row is not None and row.left == 0:
            draft.worklist.append(ScopeEmptied(scope))
    else:
        thread = draft.thread(-scope)
        if thread is not None and thread.open == 0 and thread.status < ThreadStatus.COMPLETED:
            draft.worklist.append(ScopeEmptied(scope))


def finish(
    draft: Draft, row: OpenStep, output: Any, status: StepStatus = StepStatus.COMPLETED, reason: str = "", to: str | None = None
) -> Step:
    """A step has ended successfully, or is treated so: joins count it, and its token moves on."""
    node = draft.node_of(row)
    step = draft.end(row, status, output, reason)
    settle(draft, step)
    try:
        leave(draft, node, step, to=to)
    except StepFailure as error:
        # A guard or an assignment of the way on failed: that is the step's failure.
        draft.worklist.append(LeavingFailed(step.n, error.failure))
    return step


# ---- joins


def steps_at(draft: Draft, places: list[tuple[str, int, int]]) -> list[OpenStep | Step | None]:
    """The newest steps of many places; whatever has not been read is asked for at once."""
    found: list[OpenStep | Step | None] = []
    missing: list[Any] = []
    for slot, scope, it in places:
        try:
            found.append(draft.at(slot, scope, it))
        except Missing as more:
            missing += more.keys
    if missing:
        raise Missing(*dict.fromkeys(missing))
    return found


def awaited(draft: Draft, join: Join, row: OpenStep | Step) -> tuple[str, ...]:
    """The slots that a join waits for: its own, or those of the branches that the dynamic fork which opened it made."""
    if row.bits & Bit.DYNAMIC:
        acquired = draft.fragment(row.k)
        return acquired.fragment.joins.get(join.name, join.on) if acquired is not None else join.on
    for fragment in draft.unmarked().values() if draft.head.flags & UNMARKED else ():
        if join.name in fragment.joins:
            return fragment.joins[join.name]
    return join.on


def outcome_bits(step: Step) -> int:
    if step.status == StepStatus.COMPLETED_WITH_ERRORS:
        return int(Bit.OPTIONAL_FAILED)
    if step.bits & Bit.HANDLED:
        return 0
    return 0 if StepStatus(step.status).successful else int(Bit.DEFERRED_FAILED)


def settle(draft: Draft, step: Step) -> None:
    """A step has ended for good: the joins that await its slot, in its own scope and iteration, are counted down."""
    for name in draft.joins_of(step):
        row = join_of(draft, name, step)
        if row is not None and row.left > 0:
            row = draft.edit(row)
            row.left -= 1
            row.bits |= outcome_bits(step)
            if row.left == 0:
                complete_join(draft, row)


def join_of(draft: Draft, name: str, step: Step) -> OpenStep | None:
    """The open join of that name that counts a step. Tokens that pass a fork at the same time have a join each in one place."""
    row = draft.at(name, step.scope, step.it)
    while row is not None and row.state == State.JOIN:
        if isinstance(row, OpenStep) and (
            (row.k == step.fork and not (row.fragment or step.fragment)) or counts(draft, row, step)
        ):
            return row
        row = draft.step(row.child) if row.child else None
    return None


def counts(draft: Draft, join: OpenStep | Step, step: OpenStep | Step) -> bool:
    """Whether a join counts a step that has the name of one which it awaits, and is in its place. Forks may have made several
    nodes of a name there."""
    return step.fragment == (join.k if join.bits & Bit.DYNAMIC else join.fragment) and is_beside(draft, join, step)


def is_beside(draft: Draft, join: OpenStep | Step, step: OpenStep | Step) -> bool:
    """Whether a step belongs to the same passage through the fork as a join in its place.

    `k` of the join is the mark that its fork gave the branches; 0 = it was not opened by a fork, and counts everything.
    """
    fork = join.k
    if fork == step.fork or not fork:
        return True
    above: OpenStep | Step | None = step
    while above is not None and above.fork > fork:
        above = draft.step(above.fork)
    if above is None:  # in a silent fork whose join is still to be opened
        return True
    # Rows of earlier versions of Pelton name no fork.
    return above.fork == fork or (above is step and not step.fork and step.n > fork)


def passage(draft: Draft, join: OpenStep | Step, slots: tuple[str, ...]) -> list[OpenStep | Step | None]:
    """The newest step of each of these slots that a join counts; whatever has not been read is asked for at once."""
    found: list[OpenStep | Step | None] = []
    missing: list[Any] = []
    for newest in steps_at(draft, [(slot, join.scope, join.it) for slot in slots]):
        step = newest
        try:
            while step is not None and not counts(draft, join, step):
                step = older(draft, join, step)
        except Missing as more:
            missing += more.keys
        found.append(step)
    if missing:
        raise Missing(*dict.fromkeys(missing))
    return found


def older(draft: Draft, join: OpenStep | Step, step: OpenStep | Step) -> OpenStep | Step | None:
    """The step before this one of the same slot, in the join's scope and iteration, that came after the join's fork."""
    found = draft.below(step.slot, join.scope, join.it, step.n)
    return found if found is not None and found.n >= join.k else None


def complete_join(draft: Draft, row: OpenStep) -> None:
    node = draft.node_of(row)
    assert isinstance(node, Join)
    if node.losers == "halt" and node.rule != "all":
        draft.worklist.appendleft(BranchesLost(row.n))  # before anything else: what lost does nothing any more
    if row.bits & Bit.DEFERRED_FAILED:
        reasons = [text for step in passage(draft, row, awaited(draft, node, row)) if (text := reason_of(step))]
        failure = Failure("join", "technical", ", ".join(reasons), None, False)
        draft.worklist.append(StepFailed(row.n, failure, int(StepStatus.FAILED)))
        return
    forgiven = row.bits & Bit.OPTIONAL_FAILED
    finish(draft, row, None, StepStatus.COMPLETED_WITH_ERRORS if forgiven else StepStatus.COMPLETED)


def reason_of(step: OpenStep | Step | None) -> str:
    return step.reason if isinstance(step, Step) and not StepStatus(step.status).successful else ""


def count_join(draft: Draft, node: Join, row: OpenStep) -> None:
    """Sets how many ends a newly opened join still waits for; completes it when there are none."""
    slots = awaited(draft, node, row)
    ended = 0
    for step in passage(draft, row, slots):
        if isinstance(step, Step) and not step.bits & Bit.RETRIED:
            ended += 1
            row.bits |= outcome_bits(step)
    row.left = needed(node, len(slots), ended)
    if row.left == 0:
        complete_join(draft, row)


def needed(node: Join, total: int, ended: int) -> int:
    """How many more ends a join waits for."""
    if node.rule == "all":
        return total - ended
    want = min(node.count if node.rule == "count" else 1, total)
    return max(want - ended, 0)


# ---- taking back


def cancel(draft: Draft, row: OpenStep, reason: str, bits: int = 0) -> None:
    """An open row ends without a result. Its token is not counted out of its owner."""
    if row.state == State.PARKED:
        draft.close(row)
        return
    if row.state == State.CALL and row.child and not row.bits & Bit.THREAD:
        draft.effects.append(SignalRun(row.child, Terminate(reason=reason, by_parent=True, strict=False)))
    draft.end(row, StepStatus.CANCELED, row.output, reason, bits=bits)
