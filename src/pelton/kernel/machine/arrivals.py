"""What reaches a run from elsewhere: events, triggers, merged data, and what its children report.

Each function applies one signal to a draft, and raises Refusal when it cannot be applied. Reports of work are in `reports.py`,
times that have come in `timers.py`.
"""

from __future__ import annotations

from pelton.errors import Code
from pelton.kernel.machine.draft import FUEL, Draft, Refusal, StepFailed
from pelton.kernel.machine.records import moment_of
from pelton.kernel.machine.reports import MOST_HELD, shape_output
from pelton.kernel.machine.tokens.flow import finish
from pelton.kernel.machine.tokens.handlers import interrupt
from pelton.kernel.machine.tokens.held import addressed_to
from pelton.kernel.machine.tokens.parking import unpark
from pelton.kernel.machine.tokens.waits import open_waits, take_arm, take_merge_arms, try_trigger
from pelton.kernel.model.process import Arm, Call, OnEvent, Wait
from pelton.kernel.model.reads import ParkedKey
from pelton.kernel.model.signals import (
    ChildEnded,
    ChildReplied,
    Continue,
    EventArrived,
    Merge,
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
                if waits_for(row, index, arm, signal):
                    take_arm(draft, node, row, index, signal.body)
                    return
        if signal.key and signal.keep and kept(draft, signal):
            return
    if signal.key:
        raise Refusal(Code.NO_STEP, f"no step of the run waits for {signal.name!r} with key {signal.key!r}")
    hold(draft, signal)


def hold(draft: Draft, signal: EventArrived, row: OpenStep | None = None) -> None:
    """Holds the event for the run; with `row`, for that step, under the event's key."""
    if draft.head.held >= MOST_HELD:
        raise Refusal(Code.BUSY, f"{MOST_HELD} events are held for this run already")
    draft.head.held += 1
    draft.effects.append(
        Hold(
            name=signal.name,
            key=signal.key,
            body=signal.body,
            thread=signal.thread,
            position=signal.position if row is None else row.n,
            posted=signal.posted or draft.now,
            expires=0,
            report=None,
            source=str(signal.id),
            kept=row is not None,
        )
    )


def kept(draft: Draft, signal: EventArrived) -> bool:
    """Keeps a keyed event for a wait for it whose thread is halted. False when there is none."""
    for row in draft.all_open():
        if row.state != State.WAIT or not row.bits & Bit.KEYED or not draft.halted(row.thread):
            continue
        node = draft.node_of(row)
        if isinstance(node, Wait) and any(waits_for(row, index, arm, signal) for index, arm in enumerate(node.arms)):
            draft.edit(row).bits |= Bit.COPIED
            hold(draft, signal, row)
            return True
    return False


def waits_for(row: OpenStep, index: int, arm: Arm, signal: EventArrived) -> bool:
    if not isinstance(arm, OnEvent) or arm.event != signal.name or not addressed_to(signal, row):
        return False
    return signal.key == ("" if arm.key is None else (row.waits or {}).get(str(index)))


def fire_trigger(draft: Draft, signal: Trigger) -> None:
    draft.moment = moment_of(draft, signal)
    try_trigger(draft, signal.name, signal.changes)


def merge(draft: Draft, signal: Merge) -> None:
    for name, value in signal.changes.items():
        draft.set_var(0, name, value)
    if not take_merge_arms(draft, signal.changes) and signal.must_leave:
        raise Refusal(Code.GUARD, "the run waits nowhere for this data, and it was to be taken there")


# ---- fuel


def continue_after_fuel(draft: Draft, signal: Continue) -> None:
    """Moves the tokens on that parked because fuel ran out, except those of halted threads."""
    rows = [row for row in draft.reads.answer(ParkedKey()) if not draft.halted(row.thread)]
    unpark(draft, rows[:FUEL])
    if len(rows) > FUEL:
        draft.ask_to_continue()


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
        if isinstance(node, Call) and node.awaits == "reply":
            end_unanswered(draft, node, row)
        else:
            finish(draft, row, output)
        return
    status = {RunStatus.TIMED_OUT: StepStatus.TIMED_OUT, RunStatus.TERMINATED: StepStatus.CANCELED}.get(
        RunStatus(signal.status), StepStatus.FAILED
    )
    kind = {StepStatus.TIMED_OUT: "timed out", StepStatus.CANCELED: "cancelled"}.get(status, "technical")
    failure = Failure("child", kind, signal.reason, None, status != StepStatus.CANCELED)
    if isinstance(node, Call) and node.awaits == "reply" and node.silent == "wait":
        return
    draft.worklist.append(StepFailed(row.n, failure, int(status), output))


def end_unanswered(draft: Draft, node: Call, row: OpenStep) -> None:
    """The child has completed without the reply that the call awaits."""
    if node.silent == "fail":
        child = draft.reads.codec.run_id(row.child)
        failure = Failure("no reply", "technical", f"run {child} has ended without having replied", None, False)
        draft.worklist.append(StepFailed(row.n, failure, int(StepStatus.FAILED)))


def calling_step(draft: Draft, n: int, child: int) -> OpenStep:
    row = draft.open(n)
    if row is None or row.state != State.CALL or row.child != child or row.bits & Bit.THREAD:
        raise Refusal(Code.STEP_ENDED, f"step {n} no longer waits for that child")
    return row


def child_replied(draft: Draft, signal: ChildReplied) -> None:
    row = draft.edit(calling_step(draft, signal.n, signal.child))
    if signal.failure is not None:
        draft.worklist.append(StepFailed(row.n, signal.failure, int(StepStatus.FAILED), signal.output))
    else:
        finish(draft, row, signal.output)
