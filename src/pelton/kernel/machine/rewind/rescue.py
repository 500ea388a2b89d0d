"""Rescuing a thread: it runs again from the step that failed, or goes on behind that, and so does whatever failed because of it.

A run that has ended is retried. In one that goes on, the failure must still stand where it was left: in a thread that nobody
has waited for yet, or in one that such a thread waited for. Where a parent has handled it, there is nothing to go back to.
"""

from __future__ import annotations

from pelton.errors import Code
from pelton.kernel.machine.draft import DEADLINE, Draft, Refusal
from pelton.kernel.machine.rewind.frames import Frame, Survey
from pelton.kernel.machine.rewind.rewinds import Return, reopen_for_retry, retry_put_off
from pelton.kernel.machine.rewind.threads import TAKEN_BACK
from pelton.kernel.machine.rewind.ways import is_unfinished
from pelton.kernel.machine.tokens.halts import come_under
from pelton.kernel.model.signals import Rescue
from pelton.kernel.model.state import OpenStep, RunStatus, Step, Thread, ThreadStatus
from pelton.kernel.model.transition import SetTimer


def rescue(draft: Draft, signal: Rescue) -> None:
    head = draft.head
    thread = draft.thread(signal.thread) if signal.thread else None
    if signal.thread and thread is None:
        raise Refusal(Code.INVALID, f"the run has no thread {signal.thread}")
    if thread is not None and (thread.status != ThreadStatus.FAILED or thread.reason == TAKEN_BACK):
        name = ThreadStatus(thread.status).name.lower()
        raise Refusal(Code.NOTHING_TO_RETRY, f"thread {signal.thread} has not failed ({name}); only a failed one can be rescued")
    if RunStatus(head.status).ended:
        rescue_ended(draft, signal)
    elif thread is None:
        raise Refusal(Code.NOTHING_TO_RETRY, "thread 0 has not failed: the run goes on")
    else:
        rescue_in_place(draft, signal, thread)


def rescue_ended(draft: Draft, signal: Rescue) -> None:
    """The whole run is retried, with that thread in it."""
    if not signal.thread and draft.head.status not in (RunStatus.FAILED, RunStatus.TIMED_OUT):
        raise Refusal(Code.NOTHING_TO_RETRY, f"the run has not failed ({RunStatus(draft.head.status).name.lower()})")
    again = Return(Survey(draft, skipped=signal.thread if signal.skip else -1))
    if signal.thread and signal.thread not in again.threads:
        raise moved_on(signal.thread)
    put_off = draft.head.deferred
    reopen_for_retry(draft)
    again.open_again()
    again.resume_tokens()
    retry_put_off(draft, put_off)


def rescue_in_place(draft: Draft, signal: Rescue, thread: Thread) -> None:
    head = draft.head
    top = top_of(draft, thread)
    survey = Survey(draft, skipped=signal.thread if signal.skip else -1)
    again = Return(survey, [Frame(-top.no, 0, top.no, top.body, None, None, closed=False)])
    if signal.thread not in again.threads:
        raise moved_on(signal.thread)
    head.era += 1
    deadline = draft.process.deadline
    if deadline is not None and head.flags & DEADLINE:  # it stays when it was; timers of the run carry the era
        draft.effects.append(SetTimer(0, "run", head.era, (head.retried or head.created) + deadline.stated))
    again.open_again()
    again.resume_tokens()
    come_under(draft, draft.edit_thread(top.no))


def moved_on(no: int) -> Refusal:
    return Refusal(Code.CONFLICT, f"the failure of thread {no} has been handled, or what it belongs to has moved on without it")


def top_of(draft: Draft, thread: Thread) -> Thread:
    """The outermost thread that failed because of this one. Raises Refusal where the failure no longer stands."""
    while True:
        if thread.status != ThreadStatus.FAILED or thread.handles == "child":
            raise moved_on(thread.no)
        if thread.owner:
            thread = container(draft, thread)
            continue
        above = draft.thread(thread.parent) if thread.parent > 0 else None
        if above is None or above.status <= ThreadStatus.COMPLETED:
            if thread.dealt:
                raise moved_on(thread.no)
            return thread
        thread = above


def container(draft: Draft, thread: Thread) -> Thread:
    """The thread in which the step that waited for a thread has failed, with every scope around it."""
    n = thread.owner
    while True:
        step: OpenStep | Step | None = draft.step(n)
        if not isinstance(step, Step) or not is_unfinished(draft, step):
            raise moved_on(thread.no)
        if step.scope <= 0:
            above = draft.thread(-step.scope) if step.scope else None
            if above is None:
                raise moved_on(thread.no)
            return above
        n = step.scope
