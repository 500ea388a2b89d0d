"""What workers, built-in operations and outside callers say of a step."""

from __future__ import annotations

from typing import Any

from msgspec import convert, to_builtins

from pelton.errors import Code
from pelton.kernel.machine.draft import Failed, Refusal, Turn
from pelton.kernel.machine.flow import assign, finish
from pelton.kernel.machine.scene import Scene
from pelton.kernel.machine.waits import claim, claimed, take
from pelton.kernel.model.process import Call, Node, Outside, Wait, Work
from pelton.kernel.model.reads import HeldKey, IterationKey
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import Bit, Failure, OpenStep, RunStatus, State, Step, StepStatus
from pelton.kernel.model.transition import Hold

MOST_HELD = 1_000  # reports and events waiting for steps of one run
REPORTABLE = (State.WORK, State.WAIT, State.EMIT, State.CALL)


def report(turn: Turn, signal: Report) -> None:
    """Applies a report to the step that it names. Raises Refusal; a report that can be held is held."""
    head = turn.head
    if head.status >= RunStatus.COMPLETED:
        raise Refusal(Code.ENDED, f"the run has ended ({RunStatus(head.status).name.lower()})")
    row = find(turn, signal)
    if row is None:
        hold(turn, signal)
        return
    if isinstance(row, Step):
        raise Refusal(Code.STEP_ENDED, f"step {row.slot!r} has ended already ({StepStatus(row.status).name.lower()})")
    apply(turn, row, signal)


def find(turn: Turn, signal: Report) -> OpenStep | Step | None:
    if signal.n:
        row = turn.open(signal.n) or turn.step(signal.n)
        if row is None:
            raise Refusal(Code.NO_STEP, f"the run has no step {signal.n}")
        return row
    newest = turn.newest(signal.slot)
    if newest is None or not signal.it or newest.it == signal.it:
        return newest
    found: OpenStep | Step | None = turn.facts.answer(IterationKey(signal.slot, signal.it))
    return found


def hold(turn: Turn, signal: Report) -> None:
    """The slot is not open yet: the report waits for it, when its sender said for how long."""
    if not signal.hold or turn.head.status == RunStatus.EXPECTED:
        raise Refusal(Code.NO_STEP, f"no step {signal.slot!r} has been opened")
    if signal.slot not in turn.process.nodes and not turn.all_fragments():
        raise Refusal(Code.NO_STEP, f"process {turn.process.name!r} has no step {signal.slot!r}")
    if turn.head.held >= MOST_HELD:
        raise Refusal(Code.BUSY, f"{MOST_HELD} reports and events are held for this run already")
    turn.head.held += 1
    body = to_builtins(signal)
    turn.effects.append(Hold("slot:" + signal.slot, "", None, -1, -1, turn.now, turn.now + signal.hold, body, signal.source))


def apply(turn: Turn, row: OpenStep, signal: Report) -> None:
    if row.state not in REPORTABLE or row.bits & Bit.AWAITS_THREADS:
        raise Refusal(Code.INVALID, f"step {row.slot!r} cannot be reported on: it waits for other steps")
    if signal.attempt not in (-1, row.attempt):
        raise Refusal(
            Code.STEP_ENDED, f"attempt {signal.attempt} of step {row.slot!r} is over; attempt {row.attempt} is under way"
        )
    row = turn.edit(row)
    row.updated = turn.now
    if signal.worker:
        row.worker = signal.worker
    if not row.started:
        row.started = turn.now
    output = row.output if signal.keep_output else shaped(turn.node(row.slot), row, signal.output)
    if signal.status is None:
        go_on(turn, row, signal, output)
    elif StepStatus(signal.status).successful:
        succeed(turn, row, signal, output)
    else:
        failure = signal.failure or failure_of(signal)
        turn.agenda.append(Failed(row.n, failure, signal.status, output))


def succeed(turn: Turn, row: OpenStep, signal: Report, output: Any) -> None:
    """The step ends well; of a wait, by the way of its arm for callers from outside, when it has one."""
    node = turn.node(row.slot)
    index = next((i for i, arm in enumerate(node.arms) if isinstance(arm, Outside)), -1) if isinstance(node, Wait) else -1
    if not isinstance(node, Wait) or index < 0:
        finish(turn, row, output, StepStatus(signal.status or 0), signal.reason)
        return
    arm = node.arms[index]
    if arm.stays:
        take(turn, node, row, index, output)
        return
    if arm.assigns:
        assign(turn, arm.assigns, Scene(turn, row, output, row.thread))
    finish(turn, row, output, StepStatus(signal.status or 0), signal.reason, to=arm.to or None)


def shaped(node: Node, row: OpenStep, output: Any) -> Any:
    if isinstance(node, Work | Call) and node.output is not None:
        return node.output(row.input, output)
    return output


def failure_of(signal: Report) -> Failure:
    kind = {StepStatus.TIMED_OUT: "timed out", StepStatus.CANCELED: "cancelled"}.get(StepStatus(signal.status or 0), "technical")
    final = signal.status in (StepStatus.FAILED_FOR_GOOD, StepStatus.CANCELED)
    return Failure("failed", kind, signal.reason, None, not final)


def go_on(turn: Turn, row: OpenStep, signal: Report, output: Any) -> None:
    """Still at it: the output so far is kept; work is offered again. Built-in work only when it says after what time: else it is
    completed from outside."""
    row.output = output
    row.reason = signal.reason
    row.bits |= Bit.REPORTED
    if row.state == State.WORK and (signal.again_after or not row.bits & Bit.BUILT_IN):
        row.due = turn.now + signal.again_after
        row.lease = 0


def claim_reports(turn: Turn, row: OpenStep) -> None:
    """A step has opened in a run for which something is held: what was reported of it earlier counts now."""
    if not turn.head.held or row.n not in turn.open_rows:
        return
    for held in turn.facts.answer(HeldKey("slot:" + row.slot, "")):
        signal = convert(held.report, Report)
        if claimed(turn, held) or (signal.it and signal.it != row.it):
            continue
        claim(turn, held, row.n, counted=True)
        apply(turn, row, signal)
        if row.n not in turn.open_rows or any(isinstance(item, Failed) and item.n == row.n for item in turn.agenda):
            return
