"""Stops: threads and the insides of steps that are no longer wanted, and how a thread that has ended is counted out.

Cost: the rows of the threads that stop, read level by level; of the thread around a step that is cleared, that thread's rows.
"""

from __future__ import annotations

from pelton.kernel.machine.draft import Draft, StepFailed, ThreadEnded
from pelton.kernel.machine.legality import change_thread
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.tokens.flow import cancel, finish
from pelton.kernel.machine.tokens.halts import lift_halt, stands_still, tell_parent
from pelton.kernel.machine.tokens.threads import MOST_NAMED, OF_PARENT, children_of, failure_of_thread, own, subtree
from pelton.kernel.model.state import Bit, Failure, Halt, OpenStep, State, StepStatus, Thread, ThreadStatus

HALT_BY = {"interrupt": int(Halt.INTERRUPTED), "failure": int(Halt.HANDLING)}


# ---- dropping


def owns_something(row: OpenStep) -> bool:
    """Whether there may be tokens or threads that go when this step goes."""
    return row.state == State.SCOPE or bool(row.bits & (Bit.THREAD | Bit.HANDLERS))


def clear_step(draft: Draft, row: OpenStep, reason: str) -> None:
    """Drops everything inside a step, rows and threads; the step itself stays."""
    inner = {row.n}
    doomed: list[OpenStep] = []
    if row.state == State.SCOPE:
        rows = draft.rows_of(row.thread)
        for other in rows:  # a scope has a lower number than what is inside it; parked tokens have none
            if other.n > 0 and other.scope in inner:
                doomed.append(other)
                inner.add(other.n)
        doomed += [other for other in rows if other.n < 0 and other.scope in inner]
    around = draft.thread(row.thread)
    threads = [] if around is None else [child for child in children_of(draft, [around])[0] if child.owner in inner]
    draft.forget(lambda token: token.scope in inner)
    for other in doomed:
        cancel(draft, other, reason)
    stop(draft, threads, reason)
    for thread in threads:
        if thread.handles in OF_PARENT:
            lift_halt(draft, thread.parent, (HALT_BY[thread.handles], thread.no))


def stop(draft: Draft, tops: list[Thread], reason: str, failure: Failure | None = None) -> None:
    """Ends these threads, and all below them: everything open in them is cancelled. With `failure` they have failed with it."""
    gone = [own(draft, thread) for thread in subtree(draft, tops)]
    rows = for_each(gone, lambda thread: draft.rows_of(thread.no))
    numbers = {thread.no for thread in gone}
    if numbers:
        draft.forget(lambda token: token.thread in numbers)
    for each in rows:
        for row in each:
            cancel(draft, row, reason)
    first = {thread.no for thread in tops}
    for thread in gone:
        failed = failure is not None and thread.no in first
        change_thread(thread, ThreadStatus.FAILED if failed else ThreadStatus.CANCELED)
        thread.ended, thread.open, thread.children, thread.reasons, thread.reason = draft.now, 0, 0, (), reason
        thread.resting = None
        if failed and failure is not None:
            thread.failure, thread.kind, thread.content = failure.name, failure.kind, failure.content
    for thread in gone:
        if thread.no in first:
            count_out(draft, thread)
        elif thread.joins:
            draft.worklist.append(ThreadEnded(thread.no))


# ---- counting out


def count_out(draft: Draft, thread: Thread) -> None:
    """Counts a thread that has ended out of its parent, and lets what waits for its end know."""
    above = draft.edit_thread(thread.parent)
    above.children -= 1
    if thread.handles in OF_PARENT or not stands_still(thread):
        tell_parent(draft, thread)
    if not above.children:
        ends, above.ends = above.ends, ()
        for n in ends:
            row = draft.open(n)
            if row is not None:
                end_awaiting(draft, above, row)
    if thread.joins or thread.handles == "child":
        draft.worklist.append(ThreadEnded(thread.no))


def end_awaiting(draft: Draft, thread: Thread, row: OpenStep) -> None:
    """All children have ended: a failure that nothing has dealt with becomes that of the step that waited for them."""
    failure = failure_of_children(draft, thread)
    if failure is None:
        finish(draft, draft.edit(row), row.output)
    else:
        draft.worklist.append(StepFailed(row.n, failure, int(StepStatus.FAILED)))


def failure_of_children(draft: Draft, thread: Thread) -> Failure | None:
    """The first failure of a child that nothing has dealt with, as a value; it counts as dealt with from now on."""
    if not thread.failed:
        return None
    child = draft.thread(thread.named[0]) if thread.named else None
    mine = draft.edit_thread(thread.no)
    failed, mine.failed, mine.named = mine.failed, 0, ()
    if child is None:
        return Failure("failed", "technical", f"{failed} child threads failed", None, False)
    own(draft, child).dealt = True
    return failure_of_thread(child)


def count_failed(draft: Draft, thread: Thread) -> None:
    """A child has failed: its parent's `end` fails with that, unless something deals with it before."""
    above = draft.edit_thread(thread.parent)
    above.failed += 1
    if len(above.named) < MOST_NAMED:
        above.named += (thread.no,)


def deal_with(draft: Draft, thread: Thread) -> None:
    """A join has taken note of how a thread ended: its parent's `end` need not."""
    if thread.dealt or thread.status != ThreadStatus.FAILED or thread.owner:
        return
    own(draft, thread).dealt = True
    above = draft.thread(thread.parent)
    if above is not None and above.failed:
        above = draft.edit_thread(above.no)
        above.failed -= 1
        above.named = tuple(no for no in above.named if no != thread.no)
