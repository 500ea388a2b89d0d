"""How threads end by themselves: with their last token, or because a failure reaches them."""

from __future__ import annotations

from pelton.kernel.machine.draft import Draft, FailureEscaped, LeavingFailed, StepFailed, Token
from pelton.kernel.machine.legality import change_thread
from pelton.kernel.machine.tokens.flow import finish, retire_token
from pelton.kernel.machine.tokens.halts import come_under, lift_halt
from pelton.kernel.machine.tokens.stops import HALT_BY, count_failed, count_out, stop
from pelton.kernel.machine.tokens.threads import HANDLERS, OF_PARENT, OPERATOR, children_of, failure_of_thread, own
from pelton.kernel.model.state import Failure, Halt, OpenStep, Resting, State, StepStatus, Thread, ThreadStatus

KEEPING = (*HANDLERS, int(Halt.OPERATOR))  # what keeps a thread without a token from ending


def end_thread(draft: Draft, no: int) -> None:
    """The last token of a thread is gone. While something is handled for it, or an operator has it paused, it does not end."""
    thread = draft.edit_thread(no)
    if thread.status >= ThreadStatus.COMPLETED or thread.open or any(kind in KEEPING for kind, _ in thread.reasons):
        return
    if thread.failure:
        break_thread(draft, no, failure_of_thread(thread), 0)
        return
    adopt_children(draft, thread)
    change_thread(thread, ThreadStatus.COMPLETED)
    thread.ended, thread.reasons = draft.now, ()
    count_out(draft, thread)
    if thread.handles in OF_PARENT:
        lift_halt(draft, thread.parent, (HALT_BY[thread.handles], no))
        return
    owner = owner_of(draft, thread)
    if owner is None:
        return
    if owner.state == State.SCOPE:
        retire_token(draft, owner.n)
    elif owner.state == State.CALL:
        finish(draft, draft.edit(owner), thread.output)


def adopt_children(draft: Draft, thread: Thread) -> None:
    """The children that a thread leaves behind become those of its parent, which halts them from now on; they see the same."""
    (below,) = children_of(draft, [thread])
    if not below:
        return
    above = draft.edit_thread(thread.parent)
    thread.children = 0
    for child in below:
        mine = own(draft, child)
        mine.sees = thread.no if mine.sees < 0 else mine.sees
        draft.move_thread(mine, above.no)
        above.children += 1
        come_under(draft, mine, (int(Halt.PARENT), thread.no))


def break_thread(draft: Draft, no: int, failure: Failure, n: int) -> None:
    """Fails a thread: what it belongs to fails too, or handles the failure by its rules."""
    thread = draft.edit_thread(no)
    if thread.status >= ThreadStatus.COMPLETED:
        return
    if OPERATOR in thread.reasons:
        rest_thread(draft, thread, failure, n)
        return
    owner = owner_of(draft, thread)
    if not owner and thread.handles not in OF_PARENT:
        count_failed(draft, thread)
    stop(draft, [thread], failure.message, failure)
    if thread.handles in OF_PARENT:
        # The owner of the failed step is told before the thread resumes, so that the step's token does not move on first.
        scope = thread.owner or -thread.parent
        draft.worklist.append(FailureEscaped(scope, thread.parent, failure, n, int(StepStatus.FAILED)))
        lift_halt(draft, thread.parent, (HALT_BY[thread.handles], no))
    elif owner is None:
        return
    elif owner.state == State.SCOPE:
        draft.worklist.append(FailureEscaped(owner.n, owner.thread, failure, n, int(StepStatus.FAILED)))
    elif owner.state == State.CALL:
        draft.worklist.append(StepFailed(owner.n, failure, int(StepStatus.FAILED)))


def rest_thread(draft: Draft, thread: Thread, failure: Failure, n: int) -> None:
    """A thread that an operator has paused keeps the first failure that reaches it, and fails when it is resumed."""
    thread.resting = thread.resting or Resting(failure, n)
    # What has failed in it may have had a token or not, so they are counted anew.
    scope = -thread.no
    thread.open = sum(row.scope == scope for row in draft.rows_of(thread.no))
    for item in draft.worklist:
        if isinstance(item, Token):
            thread.open += item.scope == scope
        elif isinstance(item, LeavingFailed):
            step = draft.step(item.n)
            thread.open += step is not None and step.scope == scope


def owner_of(draft: Draft, thread: Thread) -> OpenStep | None:
    """The open step that a thread ends with."""
    return draft.open(thread.owner) if thread.owner and thread.handles not in OF_PARENT else None
