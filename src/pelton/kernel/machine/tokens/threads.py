"""Threads: scopes with variables of their own. How they start, and how they are found.

A thread's parent lives at least as long as the thread: a thread that completes leaves its children to its own parent. What is
inside a thread is found by its number, its children by theirs; nothing here looks at all threads but the end of the run.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from pelton.kernel.machine.draft import Draft, StepFailure, Token
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.model.state import THREADED, Failure, Halt, Thread, ThreadStatus

OPERATOR = (int(Halt.OPERATOR), 0)
PROCESS = (int(Halt.PROCESS), 0)
HANDLERS = (int(Halt.INTERRUPTED), int(Halt.HANDLING))
OF_PARENT = ("interrupt", "failure")  # what a thread handles for its parent, which stands still meanwhile
MOST_NAMED = 8  # failed children that a thread keeps the numbers of


# ---- finding


def own(draft: Draft, thread: Thread) -> Thread:
    """A copy of the thread's row that may be changed; the same one for the rest of the call."""
    mine = draft.threads.get(thread.no)
    if mine is None:
        mine = draft.threads[thread.no] = copy(thread)
        draft.head.flags |= THREADED
    return mine


def children_of(draft: Draft, threads: list[Thread]) -> list[list[Thread]]:
    """The children of each of these threads; whatever has not been read is asked for at once."""
    return for_each(threads, lambda thread: draft.child_threads(thread.no) if thread.children else [])


def subtree(draft: Draft, tops: list[Thread]) -> list[Thread]:
    """These threads and all that live below them, level by level."""
    found: list[Thread] = []
    level = tops
    while level:
        found += level
        level = [child for below in children_of(draft, level) for child in below]
    return found


def failure_of_thread(thread: Thread) -> Failure:
    """What a thread failed with, as a value; also of one that was cancelled."""
    if thread.status == ThreadStatus.CANCELED:
        return Failure("cancelled", "cancelled", thread.reason, None, False)
    return Failure(thread.failure or "failed", thread.kind or "technical", thread.reason, thread.content, False)


def set_failure(thread: Thread, failure: Failure) -> None:
    thread.failure, thread.kind, thread.content, thread.reason = failure.name, failure.kind, failure.content, failure.message


def start_over(thread: Thread) -> None:
    """Clears what a thread has counted and come to: a rewind lets it run again, with nothing in it."""
    thread.open, thread.children, thread.reasons, thread.busy, thread.still = 0, 0, (), 0, False
    thread.joins, thread.ends, thread.failed, thread.named, thread.dealt = (), (), 0, (), False
    thread.reason, thread.failure, thread.kind, thread.content, thread.resting = "", "", "", None, None


# ---- starting


def applies(reason: tuple[int, int], handles: str) -> bool:
    """Whether a reason of a thread halts a child of it that handles this, too."""
    return not (handles in OF_PARENT and reason[0] in HANDLERS)


def start_thread(
    draft: Draft,
    entry: str,
    parent: int,
    owner: int,
    *,
    handles: str = "",
    handled: int = 0,
    variables: dict[str, Any] | None = None,
    sees: int = -1,
    fragment: int = 0,
    starter: int = 0,
) -> Thread:
    """A new thread at node `entry`, a name in `fragment`. One that handles something for its parent waits until that stands
    still. `starter`: the step that starts it, where that is neither its owner nor what it handles.

    Raises StepFailure when its variables cannot be evaluated: then there is no thread.
    """
    head = draft.head
    above = draft.thread(parent)
    reasons: list[tuple[int, int]] = []
    if handles in OF_PARENT:
        reasons.append((int(Halt.NOT_YET), parent))
    if above is not None and any(applies(reason, handles) for reason in above.reasons):
        reasons.append((int(Halt.PARENT), parent))
    thread = Thread(
        head.key,
        head.threads,
        # Nothing in it can be open yet, so one that starts halted stands still.
        int(ThreadStatus.HALTED if reasons else ThreadStatus.RUNNING),
        parent=parent,
        owner=owner,
        body=entry,
        open=1,
        reasons=tuple(reasons),
        handles=handles,
        handled=handled,
        opened=draft.now,
        born=head.next_n,
        starter=starter if not owner else 0,
        busy=0,
        still=bool(reasons),
        sees=sees,
    )
    draft.threads[thread.no] = thread
    head.threads += 1
    token = Token(entry, thread.no, -thread.no, 0, fragment=fragment)
    set_variables(draft, thread, variables or {}, token)
    draft.edit_thread(parent).children += 1
    head.flags |= THREADED
    draft.worklist.append(token)
    return thread


def set_variables(draft: Draft, thread: Thread, given: dict[str, Any], token: Token) -> None:
    """The variables that a thread starts with. Where one cannot be evaluated the thread is gone again."""
    no = thread.no
    for name, value in given.items():
        draft.variables[no, name] = value
    body = draft.process.bodies.get(thread.body)
    if body is None:
        return
    scene = Scene(draft, thread=no, at=token)
    try:
        for name, expression in body.variables.items():
            if (no, name) not in draft.variables:
                draft.variables[no, name] = evaluate(expression, scene)
    except StepFailure:
        forget_threads(draft, no)
        raise


def take_back(draft: Draft, parent: int, first: int) -> None:
    """Takes back the threads that the activation at hand has started under `parent`, from number `first` on."""
    if draft.head.threads > first:
        draft.edit_thread(parent).children -= draft.head.threads - first
        forget_threads(draft, first)
        draft.forget(lambda token: token.thread >= first)


def forget_threads(draft: Draft, first: int) -> None:
    draft.forget_threads(first)
    for place in [place for place in draft.variables if place[0] >= first]:
        del draft.variables[place]
