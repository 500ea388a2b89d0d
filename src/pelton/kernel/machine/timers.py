"""Times that have come: arms of waits, limits of steps, the deadline of the run.

A firing names the epoch of its timer, and one that the step no longer waits for changes nothing (see `tokens/times.py`).
"""

from __future__ import annotations

from msgspec.structs import replace

from pelton.errors import Code
from pelton.kernel.machine.draft import DEADLINE, Again, BranchesLost, Draft, Refusal, StepFailed, StepFailure
from pelton.kernel.machine.tokens.failures import may_retry
from pelton.kernel.machine.tokens.flow import leave, settle
from pelton.kernel.machine.tokens.held import is_one_there
from pelton.kernel.machine.tokens.lifecycle import break_run_by, end_run
from pelton.kernel.machine.tokens.limits import limit_of
from pelton.kernel.machine.tokens.stops import clear_step
from pelton.kernel.machine.tokens.times import AGAIN, LEASE, clock_stands, spend, stop_lease, time_of
from pelton.kernel.machine.tokens.waits import broken, take_arm
from pelton.kernel.model.process import AtTime, Call, Join, Limit, Node, Wait
from pelton.kernel.model.signals import Terminate, TimerFired
from pelton.kernel.model.state import NO_TRIES, Bit, DueTime, Failure, OpenStep, RunStatus, State, StepStatus
from pelton.kernel.model.transition import SignalRun


def timer(draft: Draft, signal: TimerFired) -> None:
    if signal.n == 0:
        deadline(draft, signal)
        return
    row = draft.open(signal.n)
    if row is None:
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} is no longer open")
    node = draft.node_of(row)
    if signal.arm.isdigit():
        check_arm(row, node, signal)
    elif signal.arm in ("queue", "idle", "limit", "total"):
        check_limit(draft, row, signal)
    elif signal.arm != AGAIN or not is_awaited(row, signal):
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} does not wait for {signal.arm!r}")
    if clock_stands(draft, row, node):
        if row.lease and not time_of(row, signal.arm).at and signal.arm in ("idle", "limit"):
            stop_lease(draft, draft.edit(row))
            return
        raise Refusal(Code.BUSY, "the thread is halted; the step's clock goes on when it resumes")
    if signal.arm.isdigit():
        arm_due(draft, row, node, int(signal.arm))
    elif signal.arm == AGAIN:
        spend(draft.edit(row), AGAIN)
        draft.worklist.append(Again(row.n))
    else:
        exceed(draft, row, node, signal.arm)


def is_awaited(row: OpenStep, signal: TimerFired) -> bool:
    due = time_of(row, signal.arm)
    return bool(due.at) and due.epoch == signal.epoch


def loses(draft: Draft, row: OpenStep, node: Node) -> bool:
    """Whether an event for a halted wait is there already: it is before the time, and is claimed when the thread resumes."""
    return isinstance(node, Wait) and draft.halted(row.thread) and is_one_there(draft, node, row)


# ---- arms


def check_arm(row: OpenStep, node: Node, signal: TimerFired) -> None:
    index = int(signal.arm)
    known = row.times is not None and signal.arm in row.times
    awaited = is_awaited(row, signal) if known else bool(row.bits & Bit.TIMED) and signal.epoch == row.k  # one that kept no times
    if not awaited or not isinstance(node, Wait) or index >= len(node.arms) or not isinstance(node.arms[index], AtTime):
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} no longer waits for that time")


def arm_due(draft: Draft, row: OpenStep, node: Node, index: int) -> None:
    assert isinstance(node, Wait)
    if not node.arms[index].stays and loses(draft, row, node):
        raise Refusal(Code.BUSY, "the event that the wait takes when its thread resumes was there before")
    row = draft.edit(row)
    spend(row, str(index))
    try:
        take_arm(draft, node, row, index, None)
    except StepFailure as error:
        draft.worklist.append(broken(row, error))


# ---- limits


def check_limit(draft: Draft, row: OpenStep, signal: TimerFired) -> None:
    arm = signal.arm
    if time_of(row, arm).at:
        applies = is_awaited(row, signal) and not (arm == "queue" and row.started)
    elif row.state == State.WORK and arm in ("idle", "limit"):
        applies = bool(row.lease) and signal.epoch == row.polls and is_spent(draft, row, arm)
    else:
        applies = (row.times is None or arm not in row.times) and applied_before(row, signal)
    if not applies:
        raise Refusal(Code.STEP_ENDED, f"limit {arm!r} no longer applies to step {signal.n}")


def is_spent(draft: Draft, row: OpenStep, arm: str) -> bool:
    """Whether a lease's limit is over that has been announced, or moved by a halt, since the work was handed out."""
    if time_of(row, arm).epoch == row.polls:
        return False  # it has been announced
    if row.times is None or LEASE not in row.times or row.times[LEASE].epoch != row.polls:
        return True
    return draft.now >= (row.lease if arm == "idle" else row.started + row.limit)


def applied_before(row: OpenStep, signal: TimerFired) -> bool:
    """The same for a row of a version that kept no times."""
    if signal.arm == "queue":
        return not row.polls and signal.epoch == row.attempt
    return signal.arm == "total" or (row.state != State.WORK and signal.epoch == row.attempt)


def exceed(draft: Draft, row: OpenStep, node: Node, arm: str) -> None:
    due = time_of(row, arm)
    # Where another version of the process has no such limit any more, the step that was given one fails all the same.
    limit = limit_of(node, arm) or Limit(due.after)
    after = due.after or {"idle": row.idle, "limit": row.limit}.get(arm, 0)
    after = after or limit.stated
    message = reason_of(draft, row, arm, limit, after)
    if limit.action != "announce" and loses(draft, row, node):
        raise Refusal(Code.BUSY, "the event that the wait takes when its thread resumes was there before its limit")
    row = draft.edit(row)
    if arm == "idle" and limit.action != "announce":
        row.tries = replace(row.tries or NO_TRIES, lost=True)
    if limit.action == "announce":
        draft.announce("step.late", row.n, {"slot": row.slot, "reason": message})
        if due.at:
            spend(row, arm)
        else:
            epoch = row.polls if arm in ("idle", "limit") and row.state == State.WORK else 0
            row.times = {**(row.times or {}), arm: DueTime(0, epoch, after)}
        return
    failure = Failure("timeout", "timed out", message, None, limit.action == "retry")
    failed = StepFailed(row.n, failure, int(StepStatus.TIMED_OUT), row.output)
    if row.state != State.JOIN or limit.action == "edge" or not may_retry(draft, node, row, failed):
        row = give_up(draft, row, node, message)  # a join that is tried again waits on for the same steps
    if limit.action == "fail run":
        step = draft.end(row, StepStatus.TIMED_OUT, row.output, message, "timeout")
        break_run_by(draft, failure, step, RunStatus.TIMED_OUT)
    elif limit.action == "edge":
        step = draft.end(row, StepStatus.TIMED_OUT, row.output, message, "timeout", int(Bit.HANDLED))
        settle(draft, step)
        leave(draft, node, step, to=limit.to)
    else:
        draft.worklist.append(failed)


def reason_of(draft: Draft, row: OpenStep, arm: str, limit: Limit, after: int) -> str:
    since = {"queue": row.opened, "idle": row.updated, "limit": row.started or row.opened, "total": row.first}[arm]
    message = limit.message or "step {step} timed out after {elapsed} seconds; the limit is {limit}"
    for name, value in {
        "elapsed": str(max(draft.now - since, after) // 1000),
        "limit": str(after // 1000),
        "step": draft.reads.codec.step_id(row.run, row.n),
    }.items():
        message = message.replace("{" + name + "}", value)
    return message


def give_up(draft: Draft, row: OpenStep, node: Node, reason: str) -> OpenStep:
    """What a step stood for that has run out of time: what is inside a scope is dropped, what a call called is ended or left to
    itself, and of what a join awaits the losers go that its rule halts."""
    if row.state == State.SCOPE:
        clear_step(draft, row, reason)
        row = draft.edit(row)
        row.left = 0
    elif row.state == State.CALL and isinstance(node, Call):
        row = give_up_call(draft, row, node, reason)
    elif row.state == State.JOIN and isinstance(node, Join) and node.losers == "halt" and node.threads is None:
        draft.worklist.appendleft(BranchesLost(row.n))
    return row


def give_up_call(draft: Draft, row: OpenStep, node: Call, reason: str) -> OpenStep:
    if row.bits & Bit.THREAD:
        if node.when_late == "end":
            clear_step(draft, row, reason)
        else:
            draft.edit_thread(row.child).owner = 0
    elif row.child and node.when_late == "end":
        draft.effects.append(SignalRun(row.child, Terminate(reason=reason, by_parent=True, strict=False)))
    return draft.edit(row)


# ---- the run


def deadline(draft: Draft, signal: TimerFired) -> None:
    limit = draft.process.deadline
    if limit is None or signal.epoch != draft.head.era or not draft.head.flags & DEADLINE:
        raise Refusal(Code.STEP_ENDED, "the run has a different deadline now")
    since = draft.head.retried or draft.head.created
    message = limit.message or "the run timed out after {elapsed} seconds; the limit is {limit}"
    message = message.replace("{elapsed}", str((draft.now - since) // 1000)).replace("{limit}", str(limit.stated // 1000))
    if limit.action == "announce":
        draft.head.flags &= ~DEADLINE
        draft.announce("run.late", 0, {"reason": message})
    else:
        end_run(draft, RunStatus.TIMED_OUT, message, Failure("timeout", "timed out", message, None, False))
