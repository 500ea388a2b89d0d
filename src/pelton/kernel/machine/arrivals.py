"""What reaches a run from elsewhere: events, triggers, merged data, and what its children report.

Each function applies one signal to a draft, and raises Refusal when it cannot be applied. Reports of work are in `reports.py`,
times that have come in `timers.py`.
"""

from __future__ import annotations

from pelton.errors import Code
from pelton.kernel.machine.draft import FUEL, Draft, Refusal, StepFailed
from pelton.kernel.machine.many import for_each
from pelton.kernel.machine.pauses import refuse_while_process_stands
from pelton.kernel.machine.records import moment_of
from pelton.kernel.machine.reports import MOST_HELD, shape_output
from pelton.kernel.machine.tokens.flow import finish
from pelton.kernel.machine.tokens.handlers import interrupt
from pelton.kernel.machine.tokens.held import addressed_to, has_copy, take_copy
from pelton.kernel.machine.tokens.parking import unpark
from pelton.kernel.machine.tokens.waits import (
    open_waits,
    still_open,
    take_arm,
    take_merge_arms,
    try_trigger,
    waiting_at,
)
from pelton.kernel.model.process import Arm, Call, OnEvent, Wait
from pelton.kernel.model.reads import KeptKey
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
    check_kept(draft, signal)
    if draft.head.status != RunStatus.EXPECTED:
        if not signal.key and interrupt(draft, signal.name, signal.thread, signal.body):
            keep_taken(draft, signal, 0)
            return
        if given(draft, signal):
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
    held = holding(signal, draft.now)
    draft.effects.append(held if row is None else held._replace(position=row.n, kept=True))


def holding(signal: EventArrived, now: int) -> Hold:
    """The effect by which an event of the run is held."""
    return Hold(
        name=signal.name,
        key=signal.key,
        body=signal.body,
        thread=signal.thread,
        position=signal.position,
        posted=signal.posted or now,
        expires=signal.expires,
        report=None,
        source=str(signal.id),
        ident=signal.ident,
        keeps=signal.keeps,
    )


def given(draft: Draft, signal: EventArrived) -> bool:
    """Gives the event to the wait that it is for: of a known step, else the first by thread and number."""
    if signal.n:
        row = draft.open(signal.n)
        pair = still_open(draft, row) if row is not None else None
        return pair is not None and taken(draft, *pair, signal)
    if signal.thread > 0:
        rows = draft.rows_of(signal.thread)
        pairs = [pair for row in rows if (pair := still_open(draft, row)) is not None]
        return any(taken(draft, node, row, signal) for node, row in pairs)
    for page in open_waits(draft, "event", signal.name):
        for node, row in page:
            if signal.thread == 0 and row.thread > 0:
                return False
            if taken(draft, node, row, signal):
                return True
    return False


def taken(draft: Draft, node: Wait, row: OpenStep, signal: EventArrived) -> bool:
    for index, arm in enumerate(node.arms):
        if waits_for(row, index, arm, signal):
            if signal.sticky:
                if has_copy(row, signal, signal.sticky):
                    return True
                row = draft.edit(row)
                take_copy(draft, row, signal, signal.sticky)
            take_arm(draft, node, row, index, signal.body)
            keep_taken(draft, signal, row.n)
            return True
    return False


def check_kept(draft: Draft, signal: EventArrived) -> None:
    """Refuses an event that stays and that the run has already."""
    if not signal.keeps and not signal.ident:
        return
    if signal.key or not signal.keeps:
        raise Refusal(Code.INVALID, "an event with an ident must stay (keeps), and one that stays must not have a key")
    if signal.ident and draft.reads.answer(KeptKey(signal.name, signal.ident)):
        raise Refusal(Code.EXISTS, f"the run has an event {signal.name!r} with the ident {signal.ident!r} already")


def keep_taken(draft: Draft, signal: EventArrived, n: int) -> None:
    """Keeps the record of an event that was taken at once, by step `n` (0 = by an interrupt)."""
    if signal.keeps:
        draft.effects.append(holding(signal, draft.now)._replace(taken=n, expires=0))


def kept(draft: Draft, signal: EventArrived) -> bool:
    """Keeps a keyed event for a wait for it whose thread is halted. False when there is none."""
    row = draft.open(signal.n) if signal.n else None
    rows = [row] if row is not None else [] if signal.n else draft.all_open()
    for row in rows:
        if not row.bits & Bit.KEYED or not draft.halted(row.thread):
            continue
        pair = waiting_at(draft, row)
        if pair is not None and any(waits_for(row, index, arm, signal) for index, arm in enumerate(pair[0].arms)):
            if signal.sticky and has_copy(pair[1], signal, signal.sticky):
                return True
            mine = draft.edit(row)
            mine.bits |= Bit.COPIED
            if signal.sticky:
                take_copy(draft, mine, signal, signal.sticky)
            hold(draft, signal, row)
            return True
    return False


def waits_for(row: OpenStep, index: int, arm: Arm, signal: EventArrived) -> bool:
    if not isinstance(arm, OnEvent) or arm.event != signal.name or not addressed_to(signal, row):
        return False
    return signal.key == ("" if arm.key is None else (row.waits or {}).get(str(index)))


def fire_trigger(draft: Draft, signal: Trigger) -> None:
    draft.moment = moment_of(draft, signal)
    refuse_while_process_stands(draft)
    try_trigger(draft, signal.name, signal.changes)


def merge(draft: Draft, signal: Merge) -> None:
    for name, value in signal.changes.items():
        draft.set_var(0, name, value)
    if not take_merge_arms(draft, signal.changes) and signal.must_leave:
        raise Refusal(Code.GUARD, "the run waits nowhere for this data, and it was to be taken there")


# ---- fuel


def continue_after_fuel(draft: Draft, signal: Continue) -> None:
    """Moves the tokens on that parked because fuel ran out. Those of halted threads are the halt's from here on: its end moves
    them, and they are not in the way of others."""
    parked = draft.parked_for_fuel(FUEL + 1)
    rows: list[OpenStep] = []
    for row, halted in zip(parked, for_each(parked, lambda row: draft.halted(row.thread)), strict=True):
        if halted:
            draft.edit(row).bits &= ~Bit.STRANDED
        else:
            rows.append(row)
    unpark(draft, rows[:FUEL])
    if len(parked) > FUEL:
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
