"""What reaches a run from elsewhere: events, triggers, merged data, timers, and what its children report.

Each function applies one signal to a draft, and raises Refusal when it cannot be applied. Reports of work are in `reports.py`.
"""

from __future__ import annotations

from typing import Any

from pelton.errors import Code
from pelton.kernel.machine.draft import FUEL, Draft, Refusal, StepFailed
from pelton.kernel.machine.records import moment_of
from pelton.kernel.machine.reports import MOST_HELD, shape_output
from pelton.kernel.machine.tokens.flow import finish, leave, settle
from pelton.kernel.machine.tokens.handlers import interrupt
from pelton.kernel.machine.tokens.lifecycle import end_run
from pelton.kernel.machine.tokens.parking import unpark
from pelton.kernel.machine.tokens.waits import addressed_to, open_waits, take_arm, take_merge_arms, try_trigger
from pelton.kernel.model.process import AtTime, Call, Limit, OnEvent, Wait
from pelton.kernel.model.reads import ParkedKey
from pelton.kernel.model.signals import (
    ChildEnded,
    ChildReplied,
    Continue,
    EventArrived,
    Merge,
    TimerFired,
    Trigger,
)
from pelton.kernel.model.state import Bit, Failure, OpenStep, RunStatus, State, StepStatus
from pelton.kernel.model.transition import Hold

# ---- events and triggers


def event(draft: Draft, signal: EventArrived) -> None:
    """Interrupts first, then waits, by thread number; what none of them takes is held."""
    if draft.head.status != RunStatus.EXPECTED:
        if not signal.key and interrupt(draft, signal.name, signal.thread, signal.body):
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
        raise Refusal(Code.NO_STEP, f"no step of the run waits for {signal.name!r} with key {signal.key!r}")
    if draft.head.held >= MOST_HELD:
        raise Refusal(Code.BUSY, f"{MOST_HELD} events are held for this run already")
    draft.head.held += 1
    draft.effects.append(
        Hold(
            name=signal.name,
            key="",
            body=signal.body,
            thread=signal.thread,
            position=signal.position,
            posted=signal.posted or draft.now,
            expires=0,
            report=None,
            source=str(signal.id),
        )
    )


def fire_trigger(draft: Draft, signal: Trigger) -> None:
    draft.moment = moment_of(draft, signal)
    try_trigger(draft, signal.name, signal.changes)


def merge(draft: Draft, signal: Merge) -> None:
    for name, value in signal.changes.items():
        draft.set_var(0, name, value)
    take_merge_arms(draft, signal.changes)


# ---- timers


def continue_after_fuel(draft: Draft, signal: Continue) -> None:
    """Moves the tokens on that parked because fuel ran out, except those of halted threads."""
    rows = [row for row in draft.reads.answer(ParkedKey()) if not draft.halted(row.thread)]
    unpark(draft, rows[:FUEL])
    if len(rows) > FUEL:
        draft.ask_to_continue()


def timer(draft: Draft, signal: TimerFired) -> None:
    if signal.n == 0:
        deadline(draft, signal)
        return
    row = draft.open(signal.n)
    if row is None:
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} is no longer open")
    node = draft.node_of(row)
    if signal.arm.isdigit():
        arm_due(draft, row, node, signal)
        return
    limits = {"queue": node.limits.queue, "idle": node.limits.idle, "limit": node.limits.attempt, "total": node.limits.total}
    limit = limits.get(signal.arm)
    if limit is None or stale(row, signal):
        raise Refusal(Code.STEP_ENDED, f"limit {signal.arm!r} no longer applies to step {signal.n}")
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
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} no longer waits for that time")
    if draft.halted(row.thread) and node.on_halt == "stop":
        raise Refusal(Code.BUSY, "the thread is halted; the wait checks the time again when it resumes")
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
    if limit.action == "announce":
        draft.announce("step.late", row.n, {"slot": row.slot, "reason": message})
        return
    failure = Failure("timeout", "timed out", message, None, limit.action == "retry")
    row = draft.edit(row)
    if limit.action == "edge":
        step = draft.end(row, StepStatus.TIMED_OUT, row.output, message, "timeout", int(Bit.HANDLED))
        settle(draft, step)
        leave(draft, draft.node_of(row), step, to=limit.to)
    elif limit.action == "fail run":
        step = draft.end(row, StepStatus.TIMED_OUT, row.output, message, "timeout")
        end_run(draft, RunStatus.TIMED_OUT, message, failure, step)
    else:
        draft.worklist.append(StepFailed(row.n, failure, int(StepStatus.TIMED_OUT), row.output))


def deadline(draft: Draft, signal: TimerFired) -> None:
    limit = draft.process.deadline
    if limit is None or signal.epoch != draft.head.era:
        raise Refusal(Code.STEP_ENDED, "the run has a different deadline now")
    since = draft.head.retried or draft.head.created
    message = limit.message or "the run timed out after {elapsed} seconds; the limit is {limit}"
    message = message.replace("{elapsed}", str((draft.now - since) // 1000)).replace("{limit}", str(limit.after // 1000))
    if limit.action == "announce":
        draft.announce("run.late", 0, {"reason": message})
    else:
        end_run(draft, RunStatus.TIMED_OUT, message, Failure("timeout", "timed out", message, None, False))


# ---- children


def child_ended(draft: Draft, signal: ChildEnded) -> None:
    row = calling_step(draft, signal.n, signal.child)
    node = draft.node_of(row)
    if signal.era < row.k:
        raise Refusal(Code.STEP_ENDED, f"the child of step {signal.n} was reopened since")
    row = draft.edit(row)
    row.k = signal.era + 1
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


def calling_step(draft: Draft, n: int, child: int) -> OpenStep:
    row = draft.open(n)
    if row is None or row.state != State.CALL or row.child != child:
        raise Refusal(Code.STEP_ENDED, f"step {n} no longer waits for that child")
    return row


def child_replied(draft: Draft, signal: ChildReplied) -> None:
    row = calling_step(draft, signal.n, signal.child)
    finish(draft, draft.edit(row), signal.output)
