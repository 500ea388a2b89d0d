"""The spans of runs and of their steps, reported when they have ended and that is committed."""

from __future__ import annotations

from pelton.kernel.model.state import END, RunStatus, Step, StepStatus
from pelton.runtime.commit.group_builder import RunDelta
from pelton.runtime.commit.workspace import Workspace
from pelton.telemetry.spans import MILLISECOND, Span, Value


def report_run(workspace: Workspace, delta: RunDelta) -> None:
    """What has ended with this change of a run that belongs to a trace."""
    spans, run = workspace.spans, delta.run
    context = spans.of_run(run.trace, run.key)
    process = delta.entry.process
    known: dict[str, Value] = {"pelton.run": workspace.codec.run_id(run.key), "pelton.process": process.name if process else ""}
    for step in delta.ended.values():
        if step.n > 0 and step.slot != END:
            spans.report(_step(spans.of_step(run.trace, run.key, step.n), context, step, known))
    status = RunStatus(run.status)
    if status.ended and status != delta.was:
        error = "" if status is RunStatus.COMPLETED else status.name.lower()
        attributes = {**known, "pelton.status": status.name.lower()}
        name = f"run {known['pelton.process']}"
        spans.report(
            Span(name, context, run.trace, run.created * MILLISECOND, run.ended * MILLISECOND, "internal", attributes, error)
        )


def _step(context: str, parent: str, step: Step, known: dict[str, Value]) -> Span:
    status = StepStatus(step.status)
    attributes = {**known, "pelton.step": step.n, "pelton.slot": step.slot, "pelton.status": status.name.lower()}
    if step.started:
        attributes["pelton.waited_ms"] = max(0, step.started - step.opened)
    error = "" if status.successful or status is StepStatus.CANCELED else step.reason or status.name.lower()
    times = step.opened * MILLISECOND, max(step.opened, step.ended) * MILLISECOND
    return Span(f"step {step.slot}", context, parent, *times, "internal", attributes, error)
