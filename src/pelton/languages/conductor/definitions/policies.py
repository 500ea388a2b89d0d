"""A task's retries and timeouts: from its policy to the kernel's terms."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, structs

from pelton.kernel.model.process import Limit, Limits, Retry, Rule
from pelton.languages.conductor.model import TaskDef, WorkflowTask
from pelton.languages.conductor.tasks import kinds
from pelton.runtime.rows import QueueLimit

FOREVER = 100 * 365 * 86_400  # seconds; what is longer, as people write "never", is this long


def milliseconds(seconds: int) -> int:
    return min(seconds, FOREVER) * 1000


# Types whose failure is never tried again.
NEVER_RETRIED = frozenset({"SWITCH", "DECISION", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "JOIN", "EXCLUSIVE_JOIN", "DO_WHILE"})

MOST_SECONDS = 86_400  # of the time that a rate is for

Action = Literal["retry", "fail", "fail run", "edge", "announce"]
_ACTIONS: dict[str, Action] = {"RETRY": "retry", "TIME_OUT_WF": "fail run", "ALERT_ONLY": "announce"}
_LOGIC: dict[str, Literal["fixed", "linear", "exponential"]] = {
    "FIXED": "fixed",
    "LINEAR_BACKOFF": "linear",
    "EXPONENTIAL_BACKOFF": "exponential",
}


def is_worked(task: WorkflowTask) -> bool:
    """Whether a worker does it."""
    return kinds.is_workers(task.type) or task.type == "DYNAMIC"


def ad_hoc(task: WorkflowTask) -> TaskDef:
    """The policy of a task for which none is registered: a worker's is tried three times more, a minute apart."""
    if is_worked(task):
        return TaskDef(name=task.name)
    return TaskDef(name=task.name, retry_count=0, response_timeout_seconds=0)


def retry_of(task: WorkflowTask, policy: TaskDef) -> Retry | None:
    count = policy.retry_count if task.retry_count is UNSET else task.retry_count
    if count <= 0 or task.type in NEVER_RETRIED:
        return None
    return Retry(
        count=count,
        delay=milliseconds(policy.retry_delay_seconds),
        logic=_LOGIC[policy.retry_logic],
        factor=2.0 if policy.retry_logic == "EXPONENTIAL_BACKOFF" else float(policy.backoff_scale_factor),
        cap=milliseconds(policy.max_retry_delay_seconds),
        jitter=min(policy.backoff_jitter_ms, FOREVER * 1000),
    )


def limits_of(task: WorkflowTask, policy: TaskDef) -> Limits:
    name, action = policy.timeout_policy, _ACTIONS[policy.timeout_policy]

    def timed(what: str, configured: str, seconds: int, action: Action = action) -> Limit | None:
        if seconds <= 0:
            return None
        return Limit(
            milliseconds(seconds),
            action,
            message=f"{what} timed out after {{elapsed}} seconds. {configured} configured as {seconds} seconds. "
            f"Timeout policy configured to {name}",
        )

    limits = Limits(
        attempt=timed("Task", "Timeout", policy.timeout_seconds),
        total=timed("Task", "Total timeout", policy.total_timeout_seconds, "fail" if action == "retry" else action),
    )
    if not is_worked(task) and task.type != "HTTP":
        return limits
    idle = None
    if policy.response_timeout_seconds > 0:
        seconds = policy.response_timeout_seconds
        message = f"responseTimeout: {seconds} exceeded for the taskId: {{step}} with Task Definition: {policy.name or task.name}"
        idle = Limit(milliseconds(seconds), "retry", message=message)
    return structs.replace(limits, queue=timed("Task poll", "Poll timeout", policy.poll_timeout_seconds or 0), idle=idle)


def queue_limit(policy: TaskDef) -> QueueLimit | None:
    most = max(policy.concurrent_exec_limit or 0, 0)
    rate = max(policy.rate_limit_per_frequency, 0)
    if not most and not rate:
        return None
    seconds = min(max(policy.rate_limit_frequency_in_seconds, 1), MOST_SECONDS)
    return QueueLimit(most, rate, seconds * 1000)


def rules_of(task: WorkflowTask) -> tuple[Rule, ...]:
    if task.optional:
        return (Rule("continue"),)
    if task.permissive:
        return (Rule("defer"),)
    return (Rule("abort"),)
