"""What an operator may do to a run, and what other runs and timers say to it."""

from __future__ import annotations

from typing import Any

from pelton.errors import Code
from pelton.kernel.machine.draft import FUEL, SKIPS, Failed, Moment, Refusal, Turn
from pelton.kernel.machine.flow import finish, leave, settle
from pelton.kernel.machine.lifecycle import end_run
from pelton.kernel.machine.records import change, gone, rules_of
from pelton.kernel.machine.reports import MOST_HELD, shaped
from pelton.kernel.machine.threads import all_threads, halt, interrupt, resume, unpark
from pelton.kernel.machine.waits import fits, merged, open_waits, take, trigger
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
    HurryUp,
    Merge,
    Pause,
    Resume,
    Retire,
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


def must_run(turn: Turn) -> None:
    status = RunStatus(turn.head.status)
    if status >= RunStatus.COMPLETED:
        raise Refusal(Code.ENDED, f"the run has ended ({status.name.lower()})")
    must_be_begun(turn)


def must_be_begun(turn: Turn) -> None:
    if turn.head.status == RunStatus.EXPECTED:
        raise Refusal(Code.NOT_FOUND, "the run has not been started")


def pause(turn: Turn, signal: Pause) -> None:
    must_run(turn)
    halt(turn, signal.thread, OPERATOR)
    if signal.thread == 0:
        turn.head.status = int(RunStatus.PAUSED)


def go_on(turn: Turn, signal: Resume) -> None:
    must_run(turn)
    thread = turn.thread(signal.thread)
    if thread is None or OPERATOR not in thread.reasons:
        raise Refusal(Code.NOT_PAUSED, "the run is not paused")
    if signal.thread == 0:
        turn.head.status = int(RunStatus.RUNNING)
    resume(turn, signal.thread, OPERATOR)


def terminate(turn: Turn, signal: Terminate) -> None:
    must_run(turn)
    name = BY_PARENT if signal.by_parent else "terminated"
    failure = Failure(name, "cancelled", signal.reason, None, False)
    end_run(turn, RunStatus.TERMINATED, signal.reason, failure, sequel=signal.sequel)


def skip(turn: Turn, signal: Skip) -> None:
    must_run(turn)
    if signal.slot not in turn.process.nodes:
        raise Refusal(Code.NO_STEP, f"process {turn.process.name!r} has no step {signal.slot!r}")
    if turn.newest(signal.slot) is not None:
        raise Refusal(Code.STEP_ENDED, f"step {signal.slot!r} has begun already; only what has not can be skipped")
    turn.head.flags |= SKIPS
    turn.variables[0, "skip:" + signal.slot] = {"input": signal.input, "output": signal.output}


def set_vars(turn: Turn, signal: SetVars) -> None:
    must_run(turn)
    for name, value in signal.changes.items():
        before = turn.var(signal.thread, name) if signal.append and isinstance(value, list) else None
        joined = before[0] + value if before and isinstance(before[0], list) else value
        turn.set_var(signal.thread, name, joined)


def upgrade(turn: Turn, signal: Upgrade) -> None:
    must_run(turn)
    process = turn.facts.answer(ProcessKey(signal.definition))
    if process is None:
        raise Refusal(Code.NOT_FOUND, "the version to go on with does not exist")
    for row in turn.all_open():
        if row.slot not in process.nodes:
            raise Refusal(Code.INVALID, f"version {process.version} of {process.name!r} has no step {row.slot!r}, which is open")
    turn.process = process
    turn.head.definition = signal.definition


def hurry_up(turn: Turn, signal: HurryUp) -> None:
    must_run(turn)
    for row in turn.all_open():
        if row.state == State.WORK and row.due > turn.now and not row.lease:
            mine = turn.edit(row)
            mine.due = mine.updated = turn.now


def carry_on(turn: Turn, signal: Continue) -> None:
    """Goes on with tokens that parked because fuel ran out: those of threads that are not halted."""
    must_run(turn)
    rows = [row for row in turn.facts.answer(ParkedKey()) if not turn.halted(row.thread)]
    unpark(turn, rows[:FUEL])
    if len(rows) > FUEL:
        turn.come_again()


def extend(turn: Turn, signal: Extend) -> None:
    must_run(turn)
    row = turn.open(signal.n)
    if row is None:
        raise Refusal(Code.NO_STEP, f"step {signal.n} is not open")
    row = turn.edit(row)
    row.updated = turn.now
    if row.lease and row.idle:
        row.lease = turn.now + row.idle


# ---- events and triggers


def event(turn: Turn, signal: EventArrived) -> None:
    """Interrupts first, then waits, by thread number; what nobody can take is held."""
    if turn.head.status >= RunStatus.COMPLETED:
        raise Refusal(Code.ENDED, "the run has ended")
    if turn.head.status != RunStatus.EXPECTED:
        if not signal.key and interrupted(turn, signal):
            return
        for node, row in sorted(open_waits(turn), key=lambda pair: (pair[1].thread, pair[1].n)):
            for index, arm in enumerate(node.arms):
                if not isinstance(arm, OnEvent) or arm.event != signal.name:
                    continue
                key = "" if arm.key is None else (row.waits or {}).get(str(index))
                if key == signal.key and fits(signal.thread, signal.position, row):
                    take(turn, node, row, index, signal.body)
                    return
    if signal.key:
        raise Refusal(Code.NO_STEP, f"nothing waits for {signal.name!r} with key {signal.key!r} here any more")
    if turn.head.held >= MOST_HELD:
        raise Refusal(Code.BUSY, f"{MOST_HELD} events are held for this run already")
    turn.head.held += 1
    turn.effects.append(
        Hold(signal.name, "", signal.body, signal.thread, signal.position, signal.posted or turn.now, 0, None, str(signal.id))
    )


def interrupted(turn: Turn, signal: EventArrived) -> bool:
    for no, entry in [
        (0, turn.process.entry),
        *((t.no, t.body) for t in all_threads(turn) if t.no and t.status < ThreadStatus.COMPLETED),
    ]:
        body = turn.process.bodies.get(entry)
        if body is None or signal.thread not in (-1, no):
            continue
        for arm in body.interrupts:
            if arm.event == signal.name:
                interrupt(turn, no, arm.body, arm.input, signal.body)
                return True
    return False


def fire_trigger(turn: Turn, signal: Trigger) -> None:
    must_run(turn)
    turn.moment = moment_of(turn, signal)
    trigger(turn, signal.name, signal.changes)


def moment_of(turn: Turn, signal: Trigger | Amend | Retire) -> Moment:
    return Moment(turn.now, turn.facts.stamp, signal.actor, signal.request)


def amend(turn: Turn, signal: Amend) -> None:
    """A finished run's record changes too: that is another era of it."""
    must_be_begun(turn)
    turn.moment = moment_of(turn, signal)
    change(turn, signal.changes, turn.moment)
    if turn.head.status >= RunStatus.COMPLETED and turn.book is not None:
        turn.head.era += 1


def retire(turn: Turn, signal: Retire) -> None:
    must_be_begun(turn)
    turn.moment = moment_of(turn, signal)
    rules_of(turn)
    gone(turn)
    if turn.head.status < RunStatus.COMPLETED:
        end_run(turn, RunStatus.TERMINATED, signal.reason, Failure("deleted", "cancelled", signal.reason, None, False))
    else:
        turn.head.era += 1


def merge(turn: Turn, signal: Merge) -> None:
    must_run(turn)
    for name, value in signal.changes.items():
        turn.set_var(0, name, value)
    merged(turn, signal.changes)


# ---- timers


def timer(turn: Turn, signal: TimerFired) -> None:
    must_run(turn)
    if signal.n == 0:
        deadline(turn, signal)
        return
    row = turn.open(signal.n)
    if row is None:
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} is not open any more")
    node = turn.node(row.slot)
    if signal.arm.isdigit():
        arm_due(turn, row, node, signal)
        return
    limits = {"queue": node.limits.queue, "idle": node.limits.idle, "limit": node.limits.attempt, "total": node.limits.total}
    limit = limits.get(signal.arm)
    if limit is None or stale(row, signal):
        raise Refusal(Code.STEP_ENDED, f"limit {signal.arm!r} of step {signal.n} does not hold any more")
    since = {"queue": row.opened, "idle": row.updated, "limit": row.started, "total": row.first}[signal.arm]
    exceed(turn, row, limit, since)


def stale(row: OpenStep, signal: TimerFired) -> bool:
    if signal.arm == "queue":
        return bool(row.polls) or signal.epoch != row.attempt
    if signal.arm == "total":
        return False
    if row.state != State.WORK:
        return signal.epoch != row.attempt
    return signal.epoch != row.polls or not row.lease


def arm_due(turn: Turn, row: OpenStep, node: Any, signal: TimerFired) -> None:
    index = int(signal.arm)
    if not isinstance(node, Wait) or index >= len(node.arms) or not isinstance(node.arms[index], AtTime) or signal.epoch != row.k:
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} does not wait for that time any more")
    if turn.halted(row.thread) and node.on_halt == "stop":
        raise Refusal(Code.BUSY, "the thread is halted; the wait looks at the time again when it goes on")
    take(turn, node, row, index, None)


def exceed(turn: Turn, row: OpenStep, limit: Limit, since: int) -> None:
    elapsed = max(turn.now - since, limit.after) // 1000
    message = limit.message or "step {step} timed out after {elapsed} seconds; the limit is {limit}"
    for name, value in {
        "elapsed": str(elapsed),
        "limit": str(limit.after // 1000),
        "step": turn.facts.codec.step_id(row.run, row.n),
    }.items():
        message = message.replace("{" + name + "}", value)
    if limit.action == "fact":
        turn.fact("step.late", row.n, {"slot": row.slot, "reason": message})
        return
    failure = Failure("timeout", "timed out", message, None, limit.action == "retry")
    row = turn.edit(row)
    if limit.action == "edge":
        step = turn.end(row, StepStatus.TIMED_OUT, row.output, message, "timeout", int(Bit.HANDLED))
        settle(turn, step)
        leave(turn, turn.node(row.slot), step, to=limit.to)
    elif limit.action == "fail run":
        step = turn.end(row, StepStatus.TIMED_OUT, row.output, message, "timeout")
        end_run(turn, RunStatus.TIMED_OUT, message, failure, step)
    else:
        turn.agenda.append(Failed(row.n, failure, int(StepStatus.TIMED_OUT), row.output))


def deadline(turn: Turn, signal: TimerFired) -> None:
    limit = turn.process.deadline
    if limit is None or signal.epoch != turn.head.era:
        raise Refusal(Code.STEP_ENDED, "the run has another deadline by now")
    since = turn.head.retried or turn.head.created
    message = limit.message or "the run timed out after {elapsed} seconds; the limit is {limit}"
    message = message.replace("{elapsed}", str((turn.now - since) // 1000)).replace("{limit}", str(limit.after // 1000))
    if limit.action == "fact":
        turn.fact("run.late", 0, {"reason": message})
    else:
        end_run(turn, RunStatus.TIMED_OUT, message, Failure("timeout", "timed out", message, None, False))


# ---- children


def child_ended(turn: Turn, signal: ChildEnded) -> None:
    must_run(turn)
    row = called(turn, signal.n, signal.child)
    node = turn.node(row.slot)
    row = turn.edit(row)
    output = shaped(node, row, signal.output) if isinstance(node, Call) else signal.output
    if signal.status == RunStatus.COMPLETED:
        finish(turn, row, output)
        return
    status = {RunStatus.TIMED_OUT: StepStatus.TIMED_OUT, RunStatus.TERMINATED: StepStatus.CANCELED}.get(
        RunStatus(signal.status), StepStatus.FAILED
    )
    kind = {StepStatus.TIMED_OUT: "timed out", StepStatus.CANCELED: "cancelled"}.get(status, "technical")
    failure = Failure("child", kind, signal.reason, None, status != StepStatus.CANCELED)
    turn.agenda.append(Failed(row.n, failure, int(status), output))


def called(turn: Turn, n: int, child: int) -> OpenStep:
    row = turn.open(n)
    if row is None or row.state != State.CALL or row.child != child:
        raise Refusal(Code.STEP_ENDED, f"step {n} does not wait for that child any more")
    return row


def child_replied(turn: Turn, signal: ChildReplied) -> None:
    must_run(turn)
    row = called(turn, signal.n, signal.child)
    finish(turn, turn.edit(row), signal.output)
