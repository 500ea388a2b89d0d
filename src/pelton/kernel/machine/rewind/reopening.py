"""Opening again what has ended: the run itself, rows under their own numbers, and new attempts of steps."""

from __future__ import annotations

from copy import copy

from msgspec import to_builtins

from pelton.errors import Code
from pelton.kernel.machine.draft import Draft, Refusal, StepFailed, StepFailure, Token, token_at
from pelton.kernel.machine.legality import change_run, change_thread
from pelton.kernel.machine.records import current_record
from pelton.kernel.machine.tokens import limits
from pelton.kernel.machine.tokens.scopes import items_of
from pelton.kernel.machine.tokens.threads import start_over
from pelton.kernel.model.process import Node, Scope
from pelton.kernel.model.reads import ProcessKey
from pelton.kernel.model.signals import ChildReopened, Rewind
from pelton.kernel.model.state import START, Bit, OpenStep, RunStatus, State, Step, StepStatus, ThreadStatus
from pelton.kernel.model.transition import Purge, SignalRun

MOST_VOIDS = 8
# bits of an ended step that its row has too when it is opened again
LASTING = int(Bit.THREAD | Bit.BUILT_IN | Bit.GONE_ON | Bit.DYNAMIC)


def reopen_run(draft: Draft, definition: int = 0) -> None:
    """Reopens the head of a finished run, in a new era."""
    head = draft.head
    if draft.process.records is not None and current_record(draft) is None:
        raise Refusal(Code.NOT_FOUND, "the run's record has been deleted, so it cannot be reopened")
    if definition and definition != head.definition:
        process = draft.reads.answer(ProcessKey(definition))
        if process is None:
            raise Refusal(Code.NOT_FOUND, "the version to continue with does not exist")
        draft.process = process
        head.definition = definition
    change_run(head, RunStatus.RUNNING)
    head.ended, head.deferred = 0, 0
    head.era += 1
    head.retried = draft.now
    if head.parent and head.parent_n:
        draft.effects.append(SignalRun(head.parent, ChildReopened(n=head.parent_n, child=head.key, era=head.era)))
    root = draft.thread(0)
    if root is not None:
        root = draft.edit_thread(0)
        start_over(root)
        if root.status != ThreadStatus.RUNNING:
            change_thread(root, ThreadStatus.RUNNING)


def void_from(draft: Draft, low: int) -> None:
    """Numbers from `low` on are taken back."""
    head = draft.head
    high = head.next_n
    kept = [(a, min(b, low)) for a, b in head.voids if a < low]
    if kept and kept[-1][1] == low:
        kept[-1] = (kept[-1][0], high)
    else:
        kept.append((low, high))
    while len(kept) > MOST_VOIDS:
        a, b = kept.pop(0)
        draft.effects.append(Purge(a, b))
    head.voids = tuple(kept)


def replace_start(draft: Draft, signal: Rewind) -> None:
    if signal.input is None and signal.meta is None:
        return
    start = draft.newest(START)
    assert isinstance(start, Step)
    start = copy(start)
    if signal.input is not None:
        start.output = signal.input
    if signal.meta is not None:
        start.input = to_builtins(signal.meta) or None
    rewrite(draft, start)


def rewrite(draft: Draft, step: Step) -> None:
    """An ended step of the store is replaced."""
    draft.reopened.add(step.n)
    last = draft.last
    draft.record(step)
    draft.last = last


def reopen_row(draft: Draft, step: Step, k: int | None = None, bits: int = 0) -> OpenStep:
    """An ended step is open again under its own number; the token counts in its owner. `k`: the iteration it goes on in."""
    row = OpenStep(
        run=step.run,
        n=step.n,
        slot=step.slot,
        state=step.state,
        scope=step.scope,
        it=step.it,
        thread=step.thread,
        attempt=step.attempt,
        previous=step.previous,
        opened=step.opened,
        updated=draft.now,
        first=step.first,
        input=step.input,
        output=step.output if step.state == State.SCOPE else None,
        k=step.k if k is None else k,
        child=step.child,
        started=step.started,
        bits=step.bits & LASTING | bits,
        fork=step.fork,
        fragment=step.fragment,
        position=step.position,
    )
    draft.reopened.add(step.n)
    draft.ended.pop(step.n, None)
    draft.add(row)
    draft.grow(step.scope)
    node = draft.node_of(step)
    if isinstance(node, Scope) and node.items is not None:
        try:
            row.waits = items_of(draft, node.items, row)
        except StepFailure:
            row.waits = None  # evaluated once more, and failing, when its next iteration begins
    limit_again(draft, node, row)
    return row


def limit_again(draft: Draft, node: Node, row: OpenStep) -> None:
    """The limits of a row that is open again count from now on."""
    try:
        limits.decide_standing(draft, node, row, draft.now)
        limits.start(draft, row)
    except StepFailure as error:
        draft.worklist.append(StepFailed(row.n, error.failure, int(StepStatus.FAILED_FOR_GOOD)))


def new_attempt(draft: Draft, step: Step, *, gone_on: bool = False) -> None:
    """`gone_on`: the token of the failed attempt has moved on, so that of the new one ends where the step ends."""
    old = copy(step)
    old.bits = old.bits & ~int(Bit.PUT_OFF) | int(Bit.RETRIED) | (int(Bit.PUT_OFF) if gone_on else 0)
    rewrite(draft, old)
    draft.grow(step.scope)
    token = token_at(step, step.slot)
    draft.worklist.append(to_join(token, step)._replace(attempt=step.attempt + 1, previous=step.n, first=step.first))


def reenter(draft: Draft, target: Step, signal: Rewind) -> Token:
    """Enters the named step again, under its own number, with the token that is returned."""
    draft.reopened.add(target.n)
    draft.grow(target.scope)
    draft.reuse = target.n
    draft.given = signal.step_input
    # What it publishes must not look like a repeat of what it published before.
    attempt = target.attempt + 1 if target.state == State.EMIT else 0
    # Where the token of an attempt before it has moved on, that of this one ends with it, as it did.
    previous = target.previous if target.bits & Bit.GONE_ON else 0
    token = token_at(target, target.slot)._replace(attempt=attempt, previous=previous, position=target.position)
    token = to_join(token, target)
    draft.worklist.append(token)
    return token


def to_join(token: Token, step: Step) -> Token:
    """The token, with what a join is to know of the fork that opened it."""
    if step.state != State.JOIN:
        return token
    return token._replace(origin=step.k, fragment=step.k if step.bits & Bit.DYNAMIC else step.fragment)
