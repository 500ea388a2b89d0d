"""What is open in a thread when it is halted, and when it resumes: what is cancelled, what is waited for, what moves on.

Cost: the rows of the one thread. Those of many threads are asked for at once, since each is an item of the worklist.
"""

from __future__ import annotations

from pelton.kernel.machine.draft import (
    Draft,
    FailureEscaped,
    LeavingFailed,
    StepFailed,
    StepFailure,
    ThreadHalting,
    ThreadResumed,
    ThreadStill,
    Token,
    token_at,
)
from pelton.kernel.machine.legality import change_thread
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.tokens.flow import cancel, leave, steps_left
from pelton.kernel.machine.tokens.halts import count_busy, settle_halt
from pelton.kernel.machine.tokens.stops import clear_step, owns_something
from pelton.kernel.machine.tokens.threads import children_of
from pelton.kernel.machine.tokens.waits import arm_again
from pelton.kernel.model.state import Bit, Halt, OpenStep, State, Step, StepStatus, Thread, ThreadStatus


def begin_halt(draft: Draft, item: ThreadHalting) -> None:
    """A thread has its first reason: what a halt cancels is cancelled, and what it is still to wait for is counted."""
    thread = draft.thread(item.thread)
    if thread is None or not thread.reasons or thread.status != ThreadStatus.RUNNING:
        return
    (below,) = children_of(draft, [thread])
    rows = draft.rows_of(thread.no)
    if cancel_on_halt(draft, rows, around_handled(draft, thread)):
        if not thread.reasons:
            return  # what was handled went with what was cancelled
        (below,) = children_of(draft, [draft.edit_thread(thread.no)])
        rows = draft.rows_of(thread.no)
    mine = draft.edit_thread(thread.no)
    change_thread(mine, ThreadStatus.HALTING)
    count_busy(draft, mine, rows, below)
    settle_halt(draft, ThreadStill(mine.no))


def around_handled(draft: Draft, thread: Thread) -> set[int]:
    """The scopes around failed steps for whose handlers alone a thread is halted: the handlers belong to them, and are no reason
    to begin them anew."""
    found: set[int] = set()
    for kind, by in thread.reasons:
        handler = draft.thread(by)
        if kind != Halt.HANDLING or handler is None:
            return set()
        n = handler.owner
        while n > 0:
            found.add(n)
            row = draft.open(n)
            n = row.scope if row is not None else 0
    return found


def cancel_on_halt(draft: Draft, rows: list[OpenStep], spared: set[int]) -> bool:
    """Cancels what a halt cancels, with everything inside it; its token enters the node anew when the thread resumes."""
    chosen = [row for row in rows if row.state != State.PARKED and row.n not in spared and draft.node_of(row).on_halt == "cancel"]
    for row in chosen:
        if not still_open(draft, row):
            continue  # it was inside one that is cancelled already
        if owns_something(row):
            clear_step(draft, row, "halted")
        cancel(draft, row, "halted", int(Bit.RETRIED))  # no join counts it: it is entered once more
        draft.park(token_at(row, row.slot)._replace(position=row.position))
    return bool(chosen)


def resume(draft: Draft, item: ThreadResumed) -> None:
    """Moves on what stood still in a thread: its waits look again for what they wait for, its tokens move."""
    thread = draft.thread(item.thread)
    if thread is None or thread.reasons or thread.status >= ThreadStatus.COMPLETED:
        return
    rows = draft.rows_of(thread.no)
    for_each((row for row in rows if row.state != State.PARKED), lambda row: rearm(draft, row))
    unpark(draft, [row for row in rows if row.state == State.PARKED])


def still_open(draft: Draft, row: OpenStep) -> bool:
    """Whether a row that was open a moment ago still is; nothing is read for that."""
    return row.n in draft.open_rows or (row.n not in draft.closed and row.n not in draft.ended)


def rearm(draft: Draft, row: OpenStep) -> None:
    if not still_open(draft, row):
        return
    try:
        arm_again(draft, row)
    except StepFailure as error:
        draft.worklist.append(StepFailed(row.n, error.failure, int(StepStatus.FAILED_FOR_GOOD)))


def unpark(draft: Draft, rows: list[OpenStep]) -> None:
    """Moves parked tokens on, in the order in which they parked."""
    left = [row for row in rows if row.bits & Bit.VIA_LEAVE]
    steps = steps_left(draft, left)
    for_each(sorted(rows, key=lambda row: -row.n), lambda row: move_on(draft, row, steps.get(row.n)))


def move_on(draft: Draft, row: OpenStep, step: OpenStep | Step | None) -> None:
    draft.close(row)
    if row.bits & Bit.VIA_LEAVE:
        place = step if isinstance(step, Step) else token_at(row, row.slot)
        try:
            leave(draft, draft.node_of(row), place, skip_assigns=bool(row.bits & Bit.SKIPS_ASSIGNS))
        except StepFailure as error:
            if isinstance(step, Step) and not row.bits & Bit.SKIPS_ASSIGNS:
                draft.worklist.append(LeavingFailed(step.n, error.failure))
            else:  # its failure has been handled already, or nothing is left of it
                n = step.n if isinstance(step, Step) else 0
                draft.worklist.append(FailureEscaped(row.scope, row.thread, error.failure, n, int(StepStatus.FAILED_FOR_GOOD)))
        return
    token = Token(
        node=row.slot,
        thread=row.thread,
        scope=row.scope,
        it=row.it,
        attempt=row.attempt,
        previous=row.previous,
        first=row.first,
        due=row.due,
        branch=row.k,
        fork=row.fork,
        fragment=row.fragment,
        origin=row.child,
        position=row.position,
        tries=row.tries,
    )
    draft.worklist.append(token)
