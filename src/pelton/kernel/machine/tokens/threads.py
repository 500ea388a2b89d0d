"""Threads: scopes with variables of their own and a set of reasons why they are halted.

A thread that is halted lets no token move: tokens park in it. It is *halting* while a step in it must be let finish, then
*halted*. Reasons are a set, so an operator, an interrupt and a failure may halt a thread side by side; it runs when the last
reason is gone. What halts a thread halts its children, except that the handler of an interrupt or a failure runs meanwhile.
"""

from __future__ import annotations

from typing import Any

from pelton.kernel.machine.draft import Draft, FailureEscaped, StepFailed, ThreadParked, Token, token_at
from pelton.kernel.machine.legality import change_thread
from pelton.kernel.machine.many import THREADED
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.flow import cancel, finish, leave, retire_token, steps_left, wait_to_leave
from pelton.kernel.machine.tokens.waits import arm_again
from pelton.kernel.model.process import Join, Node
from pelton.kernel.model.state import Bit, Failure, Halt, OpenStep, State, Step, StepStatus, Thread, ThreadStatus

HANDLERS = (int(Halt.INTERRUPTED), int(Halt.HANDLING))


def all_threads(draft: Draft) -> list[Thread]:
    """Every thread that has a row, by number."""
    return draft.all_threads()


def children(draft: Draft, no: int) -> list[Thread]:
    return draft.child_threads(no)


def start_thread(
    draft: Draft,
    entry: str,
    parent: int,
    owner: int,
    *,
    handles: str = "",
    handled: int = 0,
    variables: dict[str, Any] | None = None,
    fragment: int = 0,
    starter: int = 0,
) -> Thread:
    """A new thread at node `entry`, a name in `fragment`. With `handles` it waits until its parent is at rest. `starter`: the
    step that starts it, where that is neither its owner nor what it handles."""
    head = draft.head
    no = head.threads
    head.threads += 1
    above = draft.edit_thread(parent)
    above.children += 1
    reasons: tuple[tuple[int, int], ...] = ()
    if handles in ("interrupt", "failure"):
        reasons = ((int(Halt.NOT_YET), parent),)
    elif above.reasons:
        reasons = ((int(Halt.PARENT), parent),)
    thread = Thread(
        head.key,
        no,
        # Nothing in it can be open yet, so one that starts halted is at rest.
        int(ThreadStatus.HALTED if reasons else ThreadStatus.RUNNING),
        parent=parent,
        owner=owner,
        body=entry,
        open=1,
        reasons=reasons,
        handles=handles,
        handled=handled,
        opened=draft.now,
        born=head.next_n,
        starter=starter if not owner else 0,
    )
    draft.threads[no] = thread
    head.flags |= THREADED
    for name, value in (variables or {}).items():
        draft.variables[no, name] = value
    token = Token(entry, no, -no, 0, fragment=fragment)
    body = draft.process.bodies.get(entry)
    if body is not None:
        scene = Scene(draft, thread=no, at=token)
        for name, expression in body.variables.items():
            if (no, name) not in draft.variables:
                draft.variables[no, name] = evaluate(expression, scene)
    draft.worklist.append(token)
    return thread


def inside(draft: Draft, row: OpenStep | Token, scope: int) -> bool:
    """Whether a row is in the body of scope step `scope`, at any depth, child threads included."""
    owner = row.scope
    while owner > 0:
        if owner == scope:
            return True
        above = draft.open(owner)
        owner = above.scope if above is not None else 0
    thread = draft.thread(-owner) if owner else None
    return thread is not None and belongs(draft, thread, scope)


def belongs(draft: Draft, thread: Thread, scope: int) -> bool:
    """Whether a thread was started by a step, by one inside it, or by a thread that was."""
    if not thread.owner:
        above = draft.thread(thread.parent) if thread.parent > 0 else None
        return above is not None and belongs(draft, above, scope)
    owner = draft.open(thread.owner)
    return thread.owner == scope or (owner is not None and inside(draft, owner, scope))


def clear_step(draft: Draft, scope: int, reason: str) -> None:
    """Drops everything inside a step, rows and threads; the step itself stays."""
    threads = [t for t in all_threads(draft) if t.no and t.status < ThreadStatus.COMPLETED and belongs(draft, t, scope)]
    rows = [row for row in draft.all_open() if inside(draft, row, scope)]
    draft.forget(lambda token: inside(draft, token, scope))
    for row in rows:
        cancel(draft, row, reason)
    for thread in threads:
        mine = draft.edit_thread(thread.no)
        change_thread(mine, ThreadStatus.CANCELED)
        mine.ended, mine.open, mine.reasons, mine.reason = draft.now, 0, (), reason
    for thread in threads:
        count_out_thread(draft, thread)


# ---- halting


def applies(reason: tuple[int, int], child: Thread) -> bool:
    """Whether a reason of a thread halts this child of it too."""
    return not (child.handles and reason[0] in HANDLERS)


def halt(draft: Draft, no: int, reason: tuple[int, int]) -> None:
    thread = draft.edit_thread(no)
    if reason in thread.reasons or thread.status >= ThreadStatus.COMPLETED:
        return
    first = not thread.reasons
    thread.reasons += (reason,)
    for child in children(draft, no):
        if applies(reason, child):
            halt(draft, child.no, (int(Halt.PARENT), no))
    if first:
        thread.halted = draft.now
        change_thread(thread, ThreadStatus.HALTING)
        for row in draft.all_open():
            if row.thread == no and row.state != State.PARKED and draft.node_of(row).on_halt == "cancel":
                cancel(draft, row, "halted")
                draft.park(token_at(row, row.slot))
    draft.worklist.append(ThreadParked(no))


def settle_halt(draft: Draft, item: ThreadParked) -> None:
    """Checks whether a halting thread has come to rest, and if so releases the handlers that wait for it."""
    thread = draft.thread(item.thread)
    if thread is None or not thread.reasons or thread.status >= ThreadStatus.COMPLETED:
        return
    if thread.status == ThreadStatus.HALTING and not any(unfinished(draft, row, thread.no) for row in draft.all_open()):
        thread = draft.edit_thread(thread.no)
        change_thread(thread, ThreadStatus.HALTED)
    if thread.status == ThreadStatus.HALTED:
        release(draft, thread)


def unfinished(draft: Draft, row: OpenStep, no: int) -> bool:
    return row.thread == no and row.state in (State.WORK, State.CALL, State.EMIT) and draft.node_of(row).on_halt == "finish"


def at_rest(draft: Draft, thread: Thread) -> bool:
    """Whether a thread and the children that it halted have come to rest."""
    if thread.status != ThreadStatus.HALTED:
        return False
    return all(at_rest(draft, child) for child in children(draft, thread.no) if not child.handles)


def release(draft: Draft, thread: Thread) -> None:
    if any(kind == Halt.PARENT for kind, _ in thread.reasons):
        above = draft.thread(thread.parent)
        if above is not None:
            release(draft, above)
    if at_rest(draft, thread):
        for kind, by in thread.reasons:
            if kind in HANDLERS:
                lift_halt(draft, by, (int(Halt.NOT_YET), thread.no))


def lift_halt(draft: Draft, no: int, reason: tuple[int, int]) -> None:
    """Takes a reason away; with the last one the thread's tokens move again."""
    thread = draft.thread(no)
    if thread is None or reason not in thread.reasons:
        return
    thread = draft.edit_thread(no)
    thread.reasons = tuple(other for other in thread.reasons if other != reason)
    for child in children(draft, no):
        if not any(applies(other, child) for other in thread.reasons):
            lift_halt(draft, child.no, (int(Halt.PARENT), no))
    if thread.reasons:
        return
    if thread.status < ThreadStatus.COMPLETED:
        change_thread(thread, ThreadStatus.RUNNING)
    for row in draft.all_open():
        if row.thread == no and row.state != State.PARKED:
            arm_again(draft, row)
    unpark(draft, [row for row in draft.all_open() if row.state == State.PARKED and row.thread == no])


def unpark(draft: Draft, rows: list[OpenStep]) -> None:
    """Moves parked tokens on, in the order in which they parked."""
    left = [row for row in rows if row.bits & Bit.VIA_LEAVE]
    steps = steps_left(draft, left)
    for row in sorted(rows, key=lambda row: -row.n):
        draft.close(row)
        if row.bits & Bit.VIA_LEAVE:
            node = draft.node_of(row)
            step = steps[row.n]
            place = step if isinstance(step, Step) else token_at(row, row.slot)
            leave(draft, node, place, skip_assigns=bool(row.bits & Bit.SKIPS_ASSIGNS))
        else:
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
            )
            draft.worklist.append(token)


# ---- handlers


def start_handler(draft: Draft, node: Node, step: Step, entry: str, failure: Failure) -> None:
    """A handler thread for a failed step, whose thread is halted; when it completes, the token moves on without assignments."""
    wait_to_leave(draft, node, step, skip_assigns=True)
    given = {"INPUT": failure.content if failure.content is not None else failure.message}
    thread = start_thread(
        draft, entry, step.thread, 0, handles="failure", handled=step.n, variables=given, fragment=step.fragment
    )
    halt(draft, step.thread, (int(Halt.HANDLING), thread.no))


def interrupt(draft: Draft, no: int, entry: str, variable: str, body: Any) -> Thread:
    """Halts a thread and its children, and runs `entry` as a thread meanwhile."""
    thread = start_thread(draft, entry, no, 0, handles="interrupt", variables={variable: body})
    halt(draft, no, (int(Halt.INTERRUPTED), thread.no))
    return thread


# ---- ends


def end_thread(draft: Draft, no: int) -> None:
    """The last token of a thread is gone."""
    thread = draft.edit_thread(no)
    if thread.status >= ThreadStatus.COMPLETED or thread.open:
        return
    if thread.failure:
        break_thread(draft, no, Failure(thread.failure, "technical", thread.reason), 0)
        return
    change_thread(thread, ThreadStatus.COMPLETED)
    thread.ended = draft.now
    count_out_thread(draft, thread)
    reason = {"interrupt": Halt.INTERRUPTED, "failure": Halt.HANDLING}.get(thread.handles)
    if reason is not None:
        lift_halt(draft, thread.parent, (int(reason), no))
    owner = draft.open(thread.owner) if thread.owner else None
    if owner is not None:
        if owner.state == State.SCOPE:
            retire_token(draft, owner.n)
        elif owner.state == State.CALL:
            finish(draft, draft.edit(owner), thread.output)
    counted = thread.parent if thread.handles == "child" else no
    count_thread(draft, counted, failed=None)


def count_out_thread(draft: Draft, thread: Thread) -> None:
    """Counts an ended thread out of its parent; an `end` that waits for the children may then complete."""
    above = draft.edit_thread(thread.parent)
    above.children -= 1
    if above.children == 0:
        for row in draft.all_open():
            if row.thread == above.no and row.bits & Bit.AWAITS_THREADS:
                end_awaiting(draft, draft.edit(row))


def end_awaiting(draft: Draft, row: OpenStep) -> None:
    """All child threads have ended: one that failed unnoticed fails the thread that waited for it."""
    for thread in all_threads(draft):
        if thread.parent == row.thread and thread.no != row.thread and thread.status == ThreadStatus.FAILED:
            failure = Failure("child failed", "technical", thread.reason or f"thread {thread.no} failed", None, False)
            draft.worklist.append(StepFailed(row.n, failure, int(StepStatus.FAILED)))
            return
    finish(draft, row, row.output)


def count_thread(draft: Draft, no: int, failed: Failure | None) -> bool:
    """Counts down the joins that wait for a thread. True when there was one."""
    found = False
    for seen in draft.all_open():
        node = draft.node_of(seen) if seen.state == State.JOIN else None
        if not isinstance(node, Join) or node.threads is None or no not in (seen.waits or ()):
            continue
        found = True
        row = draft.edit(seen)
        if failed is not None:
            rule = next((rule for rule in node.per_thread if rule.matches(failed)), None)
            if rule is not None and rule.action == "body":
                start_thread(draft, rule.to, no, 0, handles="child", variables={"INPUT": failed.content}, fragment=row.fragment)
                continue
            if rule is None or rule.action != "continue":
                draft.worklist.append(StepFailed(row.n, failed, int(StepStatus.FAILED)))
                continue
        row.left -= 1
        if row.left <= 0:
            complete_thread_join(draft, node, row)
    return found


def complete_thread_join(draft: Draft, node: Join, row: OpenStep) -> None:
    outputs: dict[str, Any] = {}
    for no in row.waits or ():
        thread = draft.thread(no)
        if thread is None:
            continue
        if thread.status < ThreadStatus.COMPLETED and node.losers == "halt":
            stop_thread(draft, thread, "lost to another thread", ThreadStatus.CANCELED)
            count_out_thread(draft, thread)
        elif thread.status == ThreadStatus.COMPLETED:
            outputs[str(no)] = thread.output
    finish(draft, row, outputs)


def stop_thread(draft: Draft, thread: Thread, reason: str, status: ThreadStatus) -> None:
    """Cancels everything open in a thread and below it."""
    for child in children(draft, thread.no):
        stop_thread(draft, child, reason, ThreadStatus.CANCELED)
    draft.forget(lambda token: token.thread == thread.no)
    for row in draft.all_open():
        if row.thread == thread.no:
            cancel(draft, row, reason)
    thread = draft.edit_thread(thread.no)
    change_thread(thread, status)
    thread.ended, thread.open, thread.reasons, thread.reason = draft.now, 0, (), reason


def break_thread(draft: Draft, no: int, failure: Failure, n: int) -> None:
    """Fails a thread: what waits for it fails too, or handles the failure by its rules."""
    thread = draft.edit_thread(no)
    if thread.status >= ThreadStatus.COMPLETED:
        return
    stop_thread(draft, thread, failure.message, ThreadStatus.FAILED)
    thread = draft.edit_thread(no)
    thread.failure = failure.name
    if thread.handles in ("interrupt", "failure"):
        above = draft.edit_thread(thread.parent)
        above.children -= 1
        draft.worklist.append(FailureEscaped(-thread.parent, thread.parent, failure, n, int(StepStatus.FAILED)))
        return
    owner = draft.open(thread.owner) if thread.owner else None
    if owner is not None:
        above = draft.edit_thread(thread.parent)
        above.children -= 1
        if owner.state == State.SCOPE:
            draft.worklist.append(FailureEscaped(owner.n, owner.thread, failure, n, int(StepStatus.FAILED)))
        else:
            draft.worklist.append(StepFailed(owner.n, failure, int(StepStatus.FAILED)))
        return
    count_thread(draft, no, failure)
    count_out_thread(draft, thread)
