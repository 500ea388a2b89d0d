"""This language's names for the kernel's states, and their meaning on the wire."""

from __future__ import annotations

from typing import Any

from pelton.kernel.model.reads import Codec
from pelton.kernel.model.state import OpenStep, RunStatus, State, Step, StepStatus

FOREVER = 2_147_483_647  # seconds, how an endless wait is shown

RUN_STATUS: dict[RunStatus, str] = {
    RunStatus.EXPECTED: "RUNNING",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.PAUSED: "PAUSED",
    RunStatus.COMPLETED: "COMPLETED",
    RunStatus.FAILED: "FAILED",
    RunStatus.TIMED_OUT: "TIMED_OUT",
    RunStatus.TERMINATED: "TERMINATED",
}


def known_status(number: int) -> RunStatus:
    """A run's status; one that this version does not know counts as a failure, as somebody should look at it."""
    try:
        return RunStatus(number)
    except ValueError:
        return RunStatus.FAILED


STEP_STATUS: dict[int, str] = {
    int(StepStatus.COMPLETED): "COMPLETED",
    int(StepStatus.COMPLETED_WITH_ERRORS): "COMPLETED_WITH_ERRORS",
    int(StepStatus.SKIPPED): "SKIPPED",
    int(StepStatus.FAILED): "FAILED",
    int(StepStatus.FAILED_FOR_GOOD): "FAILED_WITH_TERMINAL_ERROR",
    int(StepStatus.TIMED_OUT): "TIMED_OUT",
    int(StepStatus.CANCELED): "CANCELED",
}

# Statuses of a report; None: still in progress.
REPORTED: dict[str, int | None] = {
    "IN_PROGRESS": None,
    "COMPLETED": int(StepStatus.COMPLETED),
    "FAILED": int(StepStatus.FAILED),
    "FAILED_WITH_TERMINAL_ERROR": int(StepStatus.FAILED_FOR_GOOD),
    "CANCELED": int(StepStatus.CANCELED),
}


TELL_ERRORS = frozenset({"JSON_JQ_TRANSFORM", "LAMBDA"})
_FAILED = frozenset({int(StepStatus.FAILED), int(StepStatus.FAILED_FOR_GOOD), int(StepStatus.COMPLETED_WITH_ERRORS)})


def task_status(step: OpenStep | Step) -> str:
    if isinstance(step, Step):
        return STEP_STATUS.get(step.status, "FAILED")  # a number that this version does not know, or cannot read
    if step.state == State.WORK and not step.lease:
        return "SCHEDULED"
    return "IN_PROGRESS"


def reason(codec: Codec, step: OpenStep | Step) -> str:
    """Why a task ended as it did; for one that called a run which failed, it also names that run."""
    if not isinstance(step, Step) or step.state != State.CALL or step.child <= 0:
        return step.reason
    if step.failure == "child" or step.status == StepStatus.COMPLETED_WITH_ERRORS:
        return f"Sub workflow {codec.run_id(step.child)} failure reason: {step.reason}"
    return step.reason


def with_error(codec: Codec, step: OpenStep | Step, output: Any) -> Any:
    """The output of a task of a type in TELL_ERRORS: one that has failed says there why."""
    found = output if output is not None else {}
    failed = isinstance(step, Step) and step.status in _FAILED
    return {**found, "error": reason(codec, step)} if failed and isinstance(found, dict) else found


def dynamic_name(step: OpenStep | Step, param: str) -> str:
    """The name that a DYNAMIC task's input gives it under `param`; "" when it gives none that a worker can have."""
    name = step.input.get(param) if param and isinstance(step.input, dict) else None
    return name if isinstance(name, str) and name.strip() and not name.startswith("@") else ""


def reference(slot: str, it: int) -> str:
    return f"{slot}__{it}" if it else slot


def iteration(step: OpenStep | Step) -> int:
    """Of the loop that the task is in; of the loop itself, for the task that is a loop."""
    return step.k if step.state == State.SCOPE else step.it


def start_delay(step: OpenStep | Step) -> int:
    """Seconds after its scheduling before which a worker's task is not handed out for the first time."""
    if not isinstance(step, OpenStep) or step.state != State.WORK or _put_off(step):
        return 0
    return max(0, -(-(step.due - step.opened) // 1000))


def callback_after(step: OpenStep | Step, now: int) -> int:
    """Seconds until the task is due again: for a worker's task as its worker or its policy asked, for a wait the time left."""
    if not isinstance(step, OpenStep):
        return 0
    if step.state == State.WORK:
        return max(0, -(-(step.due - step.updated) // 1000)) if _put_off(step) else start_delay(step)
    if step.state == State.WAIT:
        return max(0, -(-(step.due - now) // 1000)) if step.due else FOREVER
    return 0


def _put_off(step: OpenStep) -> bool:
    """Whether a worker has had it and has asked to get it again later."""
    return 0 < step.started < step.due
