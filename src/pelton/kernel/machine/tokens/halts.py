"""Halts: reasons why a thread stands still, and what follows when the last of them is gone.

A thread that is halted lets no token move: tokens park in it. It is *halting* while a step in it must be let finish or a child
of it does not stand still yet, then *halted*: it counts both down, and looks at nothing twice. Reasons are a set, so an operator,
an interrupt and a failure may halt a thread side by side; it runs when the last reason is gone. What halts a thread halts its
children, except that what handles an interrupt or a failure for it runs meanwhile.

What is open in a thread is looked at when it halts and when it resumes (`parking.py`), not here.

Cost: a halt reads the children of a level at once; an end in a halting thread costs the same whatever its width.
"""

from __future__ import annotations

from pelton.kernel.machine.draft import Draft, ScopeEmptied, ThreadHalting, ThreadResumed, ThreadStill
from pelton.kernel.machine.legality import change_thread
from pelton.kernel.machine.tokens.threads import HANDLERS, OF_PARENT, applies, children_of, own
from pelton.kernel.model.state import Halt, OpenStep, Thread, ThreadStatus

# ---- halting


def halt(draft: Draft, no: int, reason: tuple[int, int]) -> None:
    """Gives a thread a reason to stand still, and those below it one too. What is open in them is looked at afterwards."""
    todo = [(draft.edit_thread(no), reason)]
    while todo:
        halted: list[Thread] = []
        for thread, why in todo:
            if why in thread.reasons or thread.status >= ThreadStatus.COMPLETED:
                continue
            item = ThreadStill(thread.no) if thread.reasons else ThreadHalting(thread.no)
            if not thread.reasons:
                thread.halted = draft.now
            thread.reasons += (why,)
            draft.worklist.append(item)
            halted.append(thread)
        todo = []
        for above, below in zip(halted, children_of(draft, halted), strict=True):
            why = (int(Halt.PARENT), above.no)
            for child in below:
                if why not in child.reasons and any(applies(mine, child.handles) for mine in above.reasons):
                    todo.append((own(draft, child), why))


def come_under(draft: Draft, thread: Thread, before: tuple[int, int] | None = None) -> None:
    """A living thread has come to its parent, which halts it if it is halted itself. `before`: its reason under another one."""
    above = draft.edit_thread(thread.parent)
    why = (int(Halt.PARENT), above.no)
    if not any(applies(reason, thread.handles) for reason in above.reasons):
        if before is not None:
            lift_halt(draft, thread.no, before)
        return
    if before is not None and before in thread.reasons:
        thread.reasons = tuple(why if reason == before else reason for reason in thread.reasons)
    else:
        halt(draft, thread.no, why)
    if above.status != ThreadStatus.RUNNING and thread.handles not in OF_PARENT and not stands_still(thread):
        above.busy = max(above.busy, 0) + 1


def count_busy(draft: Draft, thread: Thread, rows: list[OpenStep], below: list[Thread]) -> None:
    finishing = sum(draft.lets_finish(row) for row in rows)
    thread.busy = finishing + sum(child.handles not in OF_PARENT and not stands_still(child) for child in below)


def stands_still(thread: Thread) -> bool:
    """Whether a thread and all below it stand still. Rows from before that was kept know no more than that they are halted."""
    return thread.still or (thread.status == ThreadStatus.HALTED and thread.busy < 0)


def settle_halt(draft: Draft, item: ThreadStill) -> None:
    """Checks whether a halting thread stands still; if so what handles something for it begins, and its parent may be told."""
    thread = draft.thread(item.thread)
    if thread is None or not thread.reasons or thread.status >= ThreadStatus.COMPLETED or thread.status == ThreadStatus.RUNNING:
        return
    if thread.status == ThreadStatus.HALTING:
        thread = draft.edit_thread(thread.no)
        if thread.busy < 0:
            count_busy(draft, thread, draft.rows_of(thread.no), draft.child_threads(thread.no))
    if thread.busy > 0:
        return
    if thread.status == ThreadStatus.HALTING:
        change_thread(thread, ThreadStatus.HALTED)
    handlers = [by for kind, by in thread.reasons if kind in HANDLERS]
    for by in handlers:
        lift_halt(draft, by, (int(Halt.NOT_YET), thread.no))
    if not thread.still and all(handler is None or stands_still(handler) for handler in map(draft.thread, handlers)):
        thread = draft.edit_thread(thread.no)
        thread.still = True
        tell_parent(draft, thread)


def tell_parent(draft: Draft, thread: Thread) -> None:
    """A thread stands still, or has ended without that: its parent need not wait for it any longer."""
    above = draft.thread(thread.parent) if thread.parent >= 0 else None
    if above is None or not above.reasons:
        return
    if thread.handles in OF_PARENT:
        draft.worklist.append(ThreadStill(above.no))
    elif above.status != ThreadStatus.RUNNING:  # one that was halted has to wait again for a child that it has taken over
        above = draft.edit_thread(above.no)
        above.busy -= above.busy > 0
        if above.busy <= 0:
            draft.worklist.append(ThreadStill(above.no))


# ---- resuming


def lift_halt(draft: Draft, no: int, reason: tuple[int, int]) -> None:
    """Takes a reason away, and from those below it what follows from that; with its last one a thread resumes."""
    thread = draft.thread(no)
    if thread is None or reason not in thread.reasons or thread.status >= ThreadStatus.COMPLETED:
        return
    todo = [(draft.edit_thread(no), reason)]
    while todo:
        lifted: list[Thread] = []
        for thread, why in todo:
            drop_reason(draft, thread, why)
            lifted.append(thread)
        todo = []
        for above, below in zip(lifted, children_of(draft, lifted), strict=True):
            why = (int(Halt.PARENT), above.no)
            for child in below:
                if why in child.reasons and not any(applies(mine, child.handles) for mine in above.reasons):
                    todo.append((own(draft, child), why))


def drop_reason(draft: Draft, thread: Thread, reason: tuple[int, int]) -> None:
    thread.reasons = tuple(other for other in thread.reasons if other != reason)
    handled = [kind in HANDLERS for kind, _ in thread.reasons]
    if all(handled):
        thread.still = False  # what handles something for it may run
    if not any(handled) and thread.no and not thread.open:
        draft.worklist.append(ScopeEmptied(-thread.no))  # its last token went while it was handled
    if not thread.reasons:
        thread.busy = 0
        if thread.status != ThreadStatus.RUNNING:
            change_thread(thread, ThreadStatus.RUNNING)
        draft.worklist.append(ThreadResumed(thread.no))
