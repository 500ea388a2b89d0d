"""Reports on steps: by workers, built-in operations and outside callers."""

from __future__ import annotations

from typing import Any

from msgspec import convert, to_builtins

from pelton.errors import Code
from pelton.kernel.machine.draft import UNMARKED, Draft, Refusal, StepFailed
from pelton.kernel.machine.legality import REPORTABLE
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.attempts import add_log
from pelton.kernel.machine.tokens.flow import assign, finish
from pelton.kernel.machine.tokens.held import claim, held_for
from pelton.kernel.machine.tokens.waits import take_arm
from pelton.kernel.model.process import Call, Node, Outside, Wait, Work
from pelton.kernel.model.reads import IterationKey
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import FRAGMENTED, Bit, Failure, OpenStep, State, Step, StepStatus, worker_of
from pelton.kernel.model.transition import Hold

MOST_HELD = 1_000  # reports and events waiting for steps of one run


def report(draft: Draft, signal: Report) -> None:
    """Applies a report to the step that it names. Raises Refusal; a report that can be held is held."""
    row = find(draft, signal)
    if row is None:
        hold(draft, signal)
        return
    if isinstance(row, Step):
        raise Refusal(Code.STEP_ENDED, f"step {row.slot!r} has ended already ({StepStatus(row.status).name.lower()})")
    apply(draft, row, signal)


def find(draft: Draft, signal: Report) -> OpenStep | Step | None:
    if signal.n:
        row = draft.open(signal.n) or draft.step(signal.n)
        if row is None:
            raise Refusal(Code.NO_STEP, f"the run has no step {signal.n}")
        return row
    newest = draft.newest(signal.slot)
    if newest is None or not signal.it or newest.it == signal.it:
        return newest
    found: OpenStep | Step | None = draft.reads.answer(IterationKey(signal.slot, signal.it))
    return found


def hold(draft: Draft, signal: Report) -> None:
    """The slot is not open yet: holds the report for as long as its sender allows."""
    if not signal.hold:
        raise Refusal(Code.NO_STEP, f"no step {signal.slot!r} has been opened")
    if signal.slot not in draft.process.nodes and not draft.head.flags & (FRAGMENTED | UNMARKED):
        raise Refusal(Code.NO_STEP, f"process {draft.process.name!r} has no step {signal.slot!r}")
    if draft.head.held >= MOST_HELD:
        raise Refusal(Code.BUSY, f"{MOST_HELD} reports and events are held for this run already")
    draft.head.held += 1
    body = to_builtins(signal)
    draft.effects.append(
        Hold(
            name="slot:" + signal.slot,
            key="",
            body=None,
            thread=-1,
            position=-1,
            posted=draft.now,
            expires=draft.now + signal.hold,
            report=body,
            source=signal.source,
        )
    )


def apply(draft: Draft, row: OpenStep, signal: Report) -> None:
    if row.state not in REPORTABLE or row.bits & Bit.AWAITS_THREADS:
        raise Refusal(Code.INVALID, f"step {row.slot!r} accepts no reports: it waits for other steps")
    if signal.attempt not in (-1, row.attempt):
        raise Refusal(
            Code.STEP_ENDED, f"attempt {signal.attempt} of step {row.slot!r} has ended; attempt {row.attempt} is in progress"
        )
    row = draft.edit(row)
    row.updated = draft.now
    if (
        signal.worker and signal.worker != row.worker and signal.worker != worker_of(row.worker)[0]
    ):  # not the same, with its version
        row.worker = signal.worker
    if not row.started:
        row.started = draft.now
    if signal.log:
        add_log(row, signal.log)
    output = row.output if signal.keep_output else shape_output(draft.node_of(row), row, signal.output)
    if signal.status is None:
        keep_progress(draft, row, signal, output)
    elif StepStatus(signal.status).successful:
        succeed(draft, row, signal, output)
    else:
        failure = signal.failure or failure_of(signal)
        draft.worklist.append(StepFailed(row.n, failure, signal.status, output))


def succeed(draft: Draft, row: OpenStep, signal: Report, output: Any) -> None:
    """Ends the step successfully; a wait leaves by an arm for outside callers, if it has one."""
    node = draft.node_of(row)
    index = outside_arm(draft, node, row, output)
    if not isinstance(node, Wait) or index < 0:
        finish(draft, row, output, StepStatus(signal.status or 0), signal.reason)
        return
    arm = node.arms[index]
    if arm.stays:
        take_arm(draft, node, row, index, output)
        return
    if arm.assigns:
        assign(draft, arm.assigns, Scene(draft, row, output, row.thread))
    row.k = -1 - index
    finish(draft, row, output, StepStatus(signal.status or 0), signal.reason, to=arm.to or None)


def outside_arm(draft: Draft, node: Node, row: OpenStep, output: Any) -> int:
    """The first arm for outside callers whose checks pass; -1 when the step has no such arm. Raises Refusal when none passes."""
    refusals: list[str] = []
    found = False
    for index, arm in enumerate(node.arms) if isinstance(node, Wait) else ():
        if not isinstance(arm, Outside):
            continue
        found = True
        scene = Scene(draft, row, output, row.thread)
        texts = [str(text) for check in arm.checks if (text := evaluate(check, scene))]
        if not texts:
            return index
        refusals += texts
    if found:
        trace = [{"check": text} for text in refusals]
        raise Refusal(Code.GUARD, "; ".join(dict.fromkeys(refusals))[:1000], trace)
    return -1


def shape_output(node: Node, row: OpenStep, output: Any) -> Any:
    if isinstance(node, Work | Call) and node.output is not None:
        return node.output(row.input, output)
    return output


def failure_of(signal: Report) -> Failure:
    kind = {StepStatus.TIMED_OUT: "timed out", StepStatus.CANCELED: "cancelled"}.get(StepStatus(signal.status or 0), "technical")
    final = signal.status in (StepStatus.FAILED_FOR_GOOD, StepStatus.CANCELED)
    return Failure("failed", kind, signal.reason, None, not final)


def keep_progress(draft: Draft, row: OpenStep, signal: Report, output: Any) -> None:
    """Progress: keeps the output so far, and offers work again. Built-in work is offered again only after a stated time;
    without one it is completed from outside."""
    row.output = output
    row.reason = signal.reason
    if row.state == State.WORK and (signal.again_after or not row.bits & Bit.BUILT_IN):
        row.due = draft.now + signal.again_after
        row.lease = 0


def claim_reports(draft: Draft, row: OpenStep) -> None:
    """Applies the reports on a newly opened step that arrived earlier and were held. One that the step refuses is dropped,
    since it must not keep the step from opening."""
    if not draft.head.held or row.n not in draft.open_rows:
        return
    for held in held_for(draft, row, "slot:" + row.slot):
        signal = convert(held.report, Report)
        if signal.it and signal.it != row.it:
            continue
        claim(draft, held, row.n, counted=True)
        try:
            apply(draft, row, signal)
        except Refusal as refusal:
            draft.announce("report.refused", row.n, {"slot": row.slot, "reason": refusal.detail, "source": signal.source})
        if row.n not in draft.open_rows or any(isinstance(item, StepFailed) and item.n == row.n for item in draft.worklist):
            return
