"""Joins on threads: how the ends of threads come to the end of the step that waits for them.

A join keeps two counts: `left`, the ends that it still wants (0 = decided), and `pending`, the threads whose outcome is open. A
thread knows which joins wait for it, so that an end costs the same whatever the number of threads. What failed is looked at as a
value, by name, kind and content, whether the thread ended before the join opened or after.

Outcomes: a thread *succeeds* when it completes, or when the handler of its failure does; it is *forgiven* by a rule "continue";
else it has *failed*. What becomes of the join, by its rule:

* all, count: as many ends as wanted, forgiven ones included; fails when fewer than that can still come.
* first: the first outcome decides, a forgiven one for the join.
* any: the first success; when there is none, it fails with the last failure, unless all were forgiven.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pelton.kernel.expressions.base import in_words
from pelton.kernel.machine.draft import Draft, FailureEscaped, StepFailed, StepFailure, ThreadEnded
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.tokens.flow import finish, needed
from pelton.kernel.machine.tokens.handlers import handler_input
from pelton.kernel.machine.tokens.stops import clear_step, deal_with, owns_something, stop
from pelton.kernel.machine.tokens.thread_ends import owner_of
from pelton.kernel.machine.tokens.threads import failure_of_thread, own, start_thread
from pelton.kernel.model.process import Join, Rule
from pelton.kernel.model.state import Bit, Failure, OpenStep, State, StepStatus, Thread, ThreadStatus

MOST_JOINS = 8  # that a thread remembers before it looks which of them still wait


def open_thread_join(draft: Draft, node: Join, row: OpenStep, numbers: Any, handlers: Mapping[int, Thread] | None = None) -> None:
    """Opens a join whose row is on the draft: threads that have ended are looked at, the others are to report to it. `handlers`:
    those that it has already, by the number of the thread that had failed."""
    waits = row.waits = checked(numbers, row)
    threads = for_each(waits, draft.thread)
    row.left, row.pending = needed(node, len(waits), 0), len(waits)
    if not row.left:
        complete(draft, node, row)
        return
    ended: list[tuple[int, int, Thread | None]] = []
    for position, thread in enumerate(threads):
        if thread is None or thread.status >= ThreadStatus.COMPLETED:
            ended.append((thread.ended if thread is not None else 0, position, thread))
        else:
            mine = own(draft, thread)
            mine.joins = (*live_joins(draft, mine.joins), row.n)
    for _, position, thread in sorted(ended, key=lambda each: each[:2]):
        if not row.left:
            continue
        handler = handlers.get(waits[position]) if handlers else None
        if handler is None or thread is None or thread.status == ThreadStatus.COMPLETED:
            judge(draft, node, row, waits[position], thread)
        elif handler.status < ThreadStatus.COMPLETED:
            row.bits |= Bit.HANDLERS
        else:
            judge_handler(draft, node, row, handler)


def checked(numbers: Any, row: OpenStep) -> list[int]:
    """The numbers of the threads, each once. Raises StepFailure for what is no list of them, and for the thread of the join."""
    listed = [] if numbers is None else numbers
    if not isinstance(listed, list | tuple) or any(isinstance(no, bool) or not isinstance(no, int) for no in listed):
        reason = f"the threads of {row.slot!r} must be a list of numbers, not {in_words(numbers)}"
        raise StepFailure(Failure("expression", "technical", reason, None, False))
    if row.thread in listed:
        reason = f"{row.slot!r} would wait for thread {row.thread}, which is its own"
        raise StepFailure(Failure("expression", "technical", reason, None, False))
    return list(dict.fromkeys(listed))


def live_joins(draft: Draft, joins: tuple[int, ...]) -> tuple[int, ...]:
    if len(joins) < MOST_JOINS:
        return joins
    return tuple(n for n, row in zip(joins, for_each(joins, draft.open), strict=True) if row is not None)


# ---- outcomes


def tell_joins(draft: Draft, item: ThreadEnded) -> None:
    """A thread has ended: the joins that wait for it count it, as does the one for which it handled a failure."""
    thread = draft.thread(item.thread)
    if thread is None:
        return
    for n in dict.fromkeys((*((thread.owner,) if thread.handles == "child" else ()), *thread.joins)):
        row = draft.open(n)
        node = draft.node_of(row) if row is not None else None
        if row is None or not isinstance(node, Join) or not row.left:
            continue
        mine = draft.edit(row)
        if thread.handles == "child" and n == thread.owner:
            judge_handler(draft, node, mine, thread)
        else:
            judge(draft, node, mine, thread.no, thread)


def judge(draft: Draft, node: Join, row: OpenStep, no: int, thread: Thread | None) -> None:
    """What the end of a thread is for a join, by the join's rules."""
    if thread is not None and thread.status == ThreadStatus.COMPLETED:
        succeed(draft, node, row)
        return
    if thread is None:
        failure = Failure("failed", "technical", f"thread {no} does not exist", None, False)
    else:
        failure = failure_of_thread(thread)
        deal_with(draft, thread)
    rule = rule_for(node, failure)
    if rule is not None and rule.action == "body":
        try:
            start_thread(
                draft,
                rule.to,
                row.thread,
                row.n,
                handles="child",
                handled=no,
                sees=no,
                variables=handler_input(failure),
                fragment=row.fragment,
            )
        except StepFailure as error:
            fail_or_go_on(draft, node, row, no, error.failure)
        else:
            row.bits |= Bit.HANDLERS
    elif rule is not None and rule.action == "continue":
        forgive(draft, node, row)
    else:
        fail_or_go_on(draft, node, row, no, failure)


def judge_handler(draft: Draft, node: Join, row: OpenStep, handler: Thread) -> None:
    """The handler of a failed thread has ended: in its place, and without a further handler."""
    if handler.status == ThreadStatus.COMPLETED:
        succeed(draft, node, row)
        return
    failure = failure_of_thread(handler)
    rule = rule_for(node, failure)
    if rule is not None and rule.action == "continue":
        forgive(draft, node, row)
    else:
        fail_or_go_on(draft, node, row, handler.no, failure)


def rule_for(node: Join, failure: Failure) -> Rule | None:
    return next((rule for rule in node.per_thread if rule.matches(failure)), None)


def succeed(draft: Draft, node: Join, row: OpenStep) -> None:
    row.pending -= 1
    row.left -= 1
    if row.left <= 0:
        complete(draft, node, row)
    else:
        look_whether_enough_can_come(draft, node, row)


def forgive(draft: Draft, node: Join, row: OpenStep) -> None:
    row.bits |= Bit.OPTIONAL_FAILED
    row.pending -= 1
    if node.rule != "any":
        row.left -= 1
    if row.left <= 0:
        complete(draft, node, row)
    else:
        look_whether_enough_can_come(draft, node, row)


def fail_or_go_on(draft: Draft, node: Join, row: OpenStep, no: int, failure: Failure) -> None:
    """A thread has failed: the join fails with that unless its rule lets others make up for it."""
    row.pending -= 1
    row.cause = no
    if node.rule == "first" or row.pending < row.left:
        decide_failed(draft, row, failure)


def look_whether_enough_can_come(draft: Draft, node: Join, row: OpenStep) -> None:
    if row.pending >= row.left:
        return
    last = draft.thread(row.cause) if row.cause else None
    if last is not None:
        decide_failed(draft, row, failure_of_thread(last))
    elif row.cause:
        decide_failed(draft, row, Failure("failed", "technical", f"thread {row.cause} does not exist", None, False))
    else:
        complete(draft, node, row)  # any, and all of them were forgiven


def decide_failed(draft: Draft, row: OpenStep, failure: Failure) -> None:
    row.left = 0
    if owns_something(row):
        clear_step(draft, row, failure.message)
    final = Failure(failure.name, failure.kind, failure.message, failure.content, False)
    draft.worklist.append(StepFailed(row.n, final, int(StepStatus.FAILED)))


def complete(draft: Draft, node: Join, row: OpenStep) -> None:
    """Enough have come: the others stop where the node says so, and handlers in any case. The outputs of those that completed
    are the join's, by number."""
    row.left = 0
    threads = [thread for thread in for_each(row.waits or (), draft.thread) if thread is not None]
    reason = "lost to another thread"
    if owns_something(row):
        clear_step(draft, row, reason)
    if node.losers == "halt":
        losers = [thread for thread in threads if thread.status < ThreadStatus.COMPLETED]
        stop(draft, losers, reason)
        for loser in losers:
            tell_owner(draft, loser, reason)
    outputs = {str(thread.no): thread.output for thread in threads if thread.status == ThreadStatus.COMPLETED}
    forgiven = row.bits & Bit.OPTIONAL_FAILED
    row.cause = 0
    finish(draft, row, outputs, StepStatus.COMPLETED_WITH_ERRORS if forgiven else StepStatus.COMPLETED)


def tell_owner(draft: Draft, loser: Thread, reason: str) -> None:
    """A thread that was stopped was what a step waited for: that step has no other end."""
    owner = owner_of(draft, loser)
    failure = Failure("cancelled", "cancelled", reason, None, False)
    if owner is None:
        return
    if owner.state == State.SCOPE:
        draft.worklist.append(FailureEscaped(owner.n, owner.thread, failure, 0, int(StepStatus.CANCELED)))
    elif owner.state == State.CALL:
        draft.worklist.append(StepFailed(owner.n, failure, int(StepStatus.CANCELED)))
