"""What an operator may do to a run, and what other runs and timers say to it."""

from __future__ import annotations

from typing import Any

from pelton.errors import Code
from pelton.kernel.machine.draft import FUEL, SKIPS, Draft, Moment, Refusal, StepFailed
from pelton.kernel.machine.flow import finish, leave, settle
from pelton.kernel.machine.lifecycle import end_run
from pelton.kernel.machine.records import change_record, delete_record, record_rules
from pelton.kernel.machine.reports import MOST_HELD, shape_output
from pelton.kernel.machine.threads import all_threads, halt, interrupt, resume, unpark
from pelton.kernel.machine.waits import addressed_to, open_waits, take_arm, take_merge_arms, try_trigger
from pelton.kernel.model.process import AtTime, Call, Limit, OnEvent, Wait
from pelton.kernel.model.reads import ParkedKey, ProcessKey
from pelton.kernel.model.signals import (
    BY_PARENT,
    Amend,
    ChildEnded,
    ChildReplied,
    Continue,
    EventArrived,
    Extend,
    Merge,
    Pause,
    Resume,
    Retire,
    RunNow,
    SetVars,
    Skip,
    Terminate,
    TimerFired,
    Trigger,
    Upgrade,
)
from pelton.kernel.model.state import Bit, Failure, Halt, OpenStep, RunStatus, State, StepStatus, ThreadStatus
from pelton.kernel.model.transition import Hold

OPERATOR = (int(Halt.OPERATOR), 0)


def must_run(draft: Draft) -> None:
    status = RunStatus(draft.head.status)
    if status >= RunStatus.COMPLETED:
        raise Refusal(Code.ENDED, f"the run has ended ({status.name.lower()})")
    must_be_begun(draft)


def must_be_begun(draft: Draft) -> None:
    if draft.head.status == RunStatus.EXPECTED:
        raise Refusal(Code.NOT_FOUND, "the run has not been started")


def pause(draft: Draft, signal: Pause) -> None:
    must_run(draft)
    halt(draft, signal.thread, OPERATOR)
    if signal.thread == 0:
        draft.head.status = int(RunStatus.PAUSED)


def resume_run(draft: Draft, signal: Resume) -> None:
    must_run(draft)
    thread = draft.thread(signal.thread)
    if thread is None or OPERATOR not in thread.reasons:
        raise Refusal(Code.NOT_PAUSED, "the run is not paused")
    if signal.thread == 0:
        draft.head.status = int(RunStatus.RUNNING)
    resume(draft, signal.thread, OPERATOR)


def terminate(draft: Draft, signal: Terminate) -> None:
    must_run(draft)
    name = BY_PARENT if signal.by_parent else "terminated"
    failure = Failure(name, "cancelled", signal.reason, None, False)
    end_run(draft, RunStatus.TERMINATED, signal.reason, failure, follow_up=signal.follow_up)


def skip(draft: Draft, signal: Skip) -> None:
    must_run(draft)
    if signal.slot not in draft.process.nodes:
        raise Refusal(Code.NO_STEP, f"process {draft.process.name!r} has no step {signal.slot!r}")
    if draft.newest(signal.slot) is not None:
        raise Refusal(Code.STEP_ENDED, f"step {signal.slot!r} has begun already; only what has not can be skipped")
    draft.head.flags |= SKIPS
    draft.variables[0, "skip:" + signal.slot] = {"input": signal.input, "output": signal.output}


def set_vars(draft: Draft, signal: SetVars) -> None:
    must_run(draft)
    for name, value in signal.changes.items():
        before = draft.var(signal.thread, name) if signal.append and isinstance(value, list) else None
        joined = before[0] + value if before and isinstance(before[0], list) else value
        draft.set_var(signal.thread, name, joined)


def upgrade(draft: Draft, signal: Upgrade) -> None:
    must_run(draft)
    process = draft.reads.answer(ProcessKey(signal.definition))
    if process is None:
        raise Refusal(Code.NOT_FOUND, "the version to go on with does not exist")
    for row in draft.all_open():
        if row.slot not in process.nodes:
            raise Refusal(Code.INVALID, f"version {process.version} of {process.name!r} has no step {row.slot!r}, which is open")
    draft.process = process
    draft.head.definition = signal.definition


def run_now(draft: Draft, signal: RunNow) -> None:
    must_run(draft)
    for row in draft.all_open():
        if row.state == State.WORK and row.due > draft.now and not row.lease:
            mine = draft.edit(row)
            mine.due = mine.updated = draft.now


def continue_after_fuel(draft: Draft, signal: Continue) -> None:
    """Goes on with tokens that parked because fuel ran out: those of threads that are not halted."""
    must_run(draft)
    rows = [row for row in draft.reads.answer(ParkedKey()) if not draft.halted(row.thread)]
    unpark(draft, rows[:FUEL])
    if len(rows) > FUEL:
        draft.ask_to_continue()


def extend(draft: Draft, signal: Extend) -> None:
    must_run(draft)
    row = draft.open(signal.n)
    if row is None:
        raise Refusal(Code.NO_STEP, f"step {signal.n} is not open")
    row = draft.edit(row)
    row.updated = draft.now
    if row.lease and row.idle:
        row.lease = draft.now + row.idle


# ---- events and triggers


def event(draft: Draft, signal: EventArrived) -> None:
    """Interrupts first, then waits, by thread number; what nobody can take is held."""
    if draft.head.status >= RunStatus.COMPLETED:
        raise Refusal(Code.ENDED, "the run has ended")
    if draft.head.status != RunStatus.EXPECTED:
        if not signal.key and interrupted(draft, signal):
            return
        for node, row in sorted(open_waits(draft), key=lambda pair: (pair[1].thread, pair[1].n)):
            for index, arm in enumerate(node.arms):
                if not isinstance(arm, OnEvent) or arm.event != signal.name:
                    continue
                key = "" if arm.key is None else (row.waits or {}).get(str(index))
                if key == signal.key and addressed_to(signal.thread, signal.position, row):
                    take_arm(draft, node, row, index, signal.body)
                    return
    if signal.key:
        raise Refusal(Code.NO_STEP, f"nothing waits for {signal.name!r} with key {signal.key!r} here any more")
    if draft.head.held >= MOST_HELD:
        raise Refusal(Code.BUSY, f"{MOST_HELD} events are held for this run already")
    draft.head.held += 1
    draft.effects.append(
        Hold(signal.name, "", signal.body, signal.thread, signal.position, signal.posted or draft.now, 0, None, str(signal.id))
    )


def interrupted(draft: Draft, signal: EventArrived) -> bool:
    for no, entry in [
        (0, draft.process.entry),
        *((t.no, t.body) for t in all_threads(draft) if t.no and t.status < ThreadStatus.COMPLETED),
    ]:
        body = draft.process.bodies.get(entry)
        if body is None or signal.thread not in (-1, no):
            continue
        for arm in body.interrupts:
            if arm.event == signal.name:
                interrupt(draft, no, arm.body, arm.input, signal.body)
                return True
    return False


def fire_trigger(draft: Draft, signal: Trigger) -> None:
    must_run(draft)
    draft.moment = moment_of(draft, signal)
    try_trigger(draft, signal.name, signal.changes)


def moment_of(draft: Draft, signal: Trigger | Amend | Retire) -> Moment:
    return Moment(draft.now, draft.reads.stamp, signal.actor, signal.request)


def amend(draft: Draft, signal: Amend) -> None:
    """A finished run's record changes too: that is another era of it."""
    must_be_begun(draft)
    draft.moment = moment_of(draft, signal)
    change_record(draft, signal.changes, draft.moment)
    if draft.head.status >= RunStatus.COMPLETED and draft.record_change is not None:
        draft.head.era += 1


def retire(draft: Draft, signal: Retire) -> None:
    must_be_begun(draft)
    draft.moment = moment_of(draft, signal)
    record_rules(draft)
    delete_record(draft)
    if draft.head.status < RunStatus.COMPLETED:
        end_run(draft, RunStatus.TERMINATED, signal.reason, Failure("deleted", "cancelled", signal.reason, None, False))
    else:
        draft.head.era += 1


def merge(draft: Draft, signal: Merge) -> None:
    must_run(draft)
    for name, value in signal.changes.items():
        draft.set_var(0, name, value)
    take_merge_arms(draft, signal.changes)


# ---- timers


def timer(draft: Draft, signal: TimerFired) -> None:
    must_run(draft)
    if signal.n == 0:
        deadline(draft, signal)
        return
    row = draft.open(signal.n)
    if row is None:
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} is not open any more")
    node = draft.node(row.slot)
    if signal.arm.isdigit():
        arm_due(draft, row, node, signal)
        return
    limits = {"queue": node.limits.queue, "idle": node.limits.idle, "limit": node.limits.attempt, "total": node.limits.total}
    limit = limits.get(signal.arm)
    if limit is None or stale(row, signal):
        raise Refusal(Code.STEP_ENDED, f"limit {signal.arm!r} of step {signal.n} does not hold any more")
    since = {"queue": row.opened, "idle": row.updated, "limit": row.started, "total": row.first}[signal.arm]
    exceed(draft, row, limit, since)


def stale(row: OpenStep, signal: TimerFired) -> bool:
    if signal.arm == "queue":
        return bool(row.polls) or signal.epoch != row.attempt
    if signal.arm == "total":
        return False
    if row.state != State.WORK:
        return signal.epoch != row.attempt
    return signal.epoch != row.polls or not row.lease


def arm_due(draft: Draft, row: OpenStep, node: Any, signal: TimerFired) -> None:
    index = int(signal.arm)
    if not isinstance(node, Wait) or index >= len(node.arms) or not isinstance(node.arms[index], AtTime) or signal.epoch != row.k:
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} does not wait for that time any more")
    if draft.halted(row.thread) and node.on_halt == "stop":
        raise Refusal(Code.BUSY, "the thread is halted; the wait looks at the time again when it goes on")
    take_arm(draft, node, row, index, None)


def exceed(draft: Draft, row: OpenStep, limit: Limit, since: int) -> None:
    elapsed = max(draft.now - since, limit.after) // 1000
    message = limit.message or "step {step} timed out after {elapsed} seconds; the limit is {limit}"
    for name, value in {
        "elapsed": str(elapsed),
        "limit": str(limit.after // 1000),
        "step": draft.reads.codec.step_id(row.run, row.n),
    }.items():
        message = message.replace("{" + name + "}", value)
    if limit.action == "fact":
        draft.announce("step.late", row.n, {"slot": row.slot, "reason": message})
        return
    failure = Failure("timeout", "timed out", message, None, limit.action == "retry")
    row = draft.edit(row)
    if limit.action == "edge":
        step = draft.end(row, StepStatus.TIMED_OUT, row.output, message, "timeout", int(Bit.HANDLED))
        settle(draft, step)
        leave(draft, draft.node(row.slot), step, to=limit.to)
    elif limit.action == "fail run":
        step = draft.end(row, StepStatus.TIMED_OUT, row.output, message, "timeout")
        end_run(draft, RunStatus.TIMED_OUT, message, failure, step)
    else:
        draft.worklist.append(StepFailed(row.n, failure, int(StepStatus.TIMED_OUT), row.output))


def deadline(draft: Draft, signal: TimerFired) -> None:
    limit = draft.process.deadline
    if limit is None or signal.epoch != draft.head.era:
        raise Refusal(Code.STEP_ENDED, "the run has another deadline by now")
    since = draft.head.retried or draft.head.created
    message = limit.message or "the run timed out after {elapsed} seconds; the limit is {limit}"
    message = message.replace("{elapsed}", str((draft.now - since) // 1000)).replace("{limit}", str(limit.after // 1000))
    if limit.action == "fact":
        draft.announce("run.late", 0, {"reason": message})
    else:
        end_run(draft, RunStatus.TIMED_OUT, message, Failure("timeout", "timed out", message, None, False))


# ---- children


def child_ended(draft: Draft, signal: ChildEnded) -> None:
    must_run(draft)
    row = called(draft, signal.n, signal.child)
    node = draft.node(row.slot)
    row = draft.edit(row)
    output = shape_output(node, row, signal.output) if isinstance(node, Call) else signal.output
    if signal.status == RunStatus.COMPLETED:
        finish(draft, row, output)
        return
    status = {RunStatus.TIMED_OUT: StepStatus.TIMED_OUT, RunStatus.TERMINATED: StepStatus.CANCELED}.get(
        RunStatus(signal.status), StepStatus.FAILED
    )
    kind = {StepStatus.TIMED_OUT: "timed out", StepStatus.CANCELED: "cancelled"}.get(status, "technical")
    failure = Failure("child", kind, signal.reason, None, status != StepStatus.CANCELED)
    draft.worklist.append(StepFailed(row.n, failure, int(status), output))


def called(draft: Draft, n: int, child: int) -> OpenStep:
    row = draft.open(n)
    if row is None or row.state != State.CALL or row.child != child:
        raise Refusal(Code.STEP_ENDED, f"step {n} does not wait for that child any more")
    return row


def child_replied(draft: Draft, signal: ChildReplied) -> None:
    must_run(draft)
    row = called(draft, signal.n, signal.child)
    finish(draft, draft.edit(row), signal.output)
