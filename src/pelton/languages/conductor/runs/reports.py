"""Workers' reports on their tasks, from this language's JSON to the kernel's terms."""

from __future__ import annotations

from msgspec import UNSET

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.kernel.model.signals import Report
from pelton.languages.conductor import status_names
from pelton.languages.conductor.definitions import policies
from pelton.languages.conductor.model import TaskExecLog, TaskResult

MAX_LOGS = 1_000
MAX_LOG = 100_000  # characters of one text
_SECONDS = 100_000_000_000  # a time below this is in seconds: as milliseconds it would lie in 1973


def check(result: TaskResult) -> None:
    problems = []
    if not result.workflow_instance_id:
        problems.append(FieldProblem("updateTask.arg0.workflowInstanceId", "Workflow Id cannot be null or empty", ""))
    if not result.task_id:
        problems.append(FieldProblem("updateTask.arg0.taskId", "Task ID cannot be null or empty", ""))
    if result.callback_after_seconds < 0:
        value = str(result.callback_after_seconds)
        problems.append(FieldProblem("updateTask.arg0.callbackAfterSeconds", "must be at least 0", value))
    if len(result.logs) > MAX_LOGS:
        problems.append(FieldProblem("updateTask.arg0.logs", f"at most {MAX_LOGS} log entries may come with one update"))
    if problems:
        raise PeltonError(Code.INVALID, "Validation failed, check below errors for detail.", problems=problems)


def report_of(result: TaskResult, n: int) -> Report:
    status = status_names.REPORTED["IN_PROGRESS" if result.status is UNSET else result.status]
    return Report(
        n=n,
        status=status,
        output=result.output_data,
        reason=result.reason_for_incompletion or "",
        worker=result.worker_id or "",
        again_after=policies.milliseconds(result.callback_after_seconds) if status is None else 0,
    )


def logs_of(entries: list[TaskExecLog], now: int) -> list[tuple[int, str]]:
    """(time in milliseconds, text) of each entry."""
    found = []
    for entry in entries:
        at = entry.created_time
        milliseconds = now if at is UNSET or at <= 0 else int(at * 1000 if at < _SECONDS else at)
        found.append((min(milliseconds, now), entry.log[:MAX_LOG]))
    return found


def status_of(text: str) -> int | None:
    """What a status in a path means. Raises PeltonError "invalid"."""
    if text not in status_names.REPORTED:
        raise PeltonError(Code.INVALID, f"status must be one of {', '.join(status_names.REPORTED)}, not {text[:100]!r}")
    return status_names.REPORTED[text]
