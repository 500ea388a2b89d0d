"""Which task types there are, and what becomes of a type that is none of them."""

from __future__ import annotations

from pelton.languages.conductor.model import WorkflowTask

BASIC = (
    "DO_WHILE", "EVENT", "FORK_JOIN", "HTTP", "INLINE", "JOIN", "SET_VARIABLE", "SIMPLE", "SUB_WORKFLOW", "SWITCH", "TERMINATE",
    "WAIT",
)  # fmt: skip

MORE = (
    "DECISION", "DYNAMIC", "EXCLUSIVE_JOIN", "HUMAN", "JSON_JQ_TRANSFORM", "KAFKA_PUBLISH", "LAMBDA", "NOOP",
    "START_WORKFLOW", "WAIT_FOR_WEBHOOK", "YIELD",
)  # fmt: skip

# Nothing in this server does these: definitions with them register, and a run that comes to one fails.
ABSENT = frozenset({
    "AGENT", "CALL_MCP_TOOL", "CANCEL_AGENT", "FORK_JOIN_DYNAMIC", "GENERATE_AUDIO", "GENERATE_IMAGE", "GENERATE_PDF",
    "GENERATE_VIDEO", "GET_AGENT_CARD", "GET_DOCUMENT", "HTTP_POLL", "LIST_MCP_TOOLS", "PULL_WORKFLOW_MESSAGES",
})  # fmt: skip

SUPPORTED = tuple(sorted((*BASIC, *MORE)))


def is_absent(kind: str) -> bool:
    return kind in ABSENT or kind.startswith("LLM_")


def is_workers(kind: str) -> bool:
    """Whether a worker does it: a type that nobody knows is the name of a worker's queue."""
    return kind == "SIMPLE" or (kind not in SUPPORTED and not is_absent(kind))


def queue_name(kind: str, name: str) -> str:
    """Under which name a worker's task is offered."""
    return name if kind == "SIMPLE" else kind


def warning_of(task: WorkflowTask, schemes: frozenset[str]) -> str:
    """What an author should know of a task, although it can be registered; "" = nothing."""
    kind, reference = task.type, task.task_reference_name
    if is_absent(kind):
        return f"task {reference!r}: nothing in this server does {kind}; a run that comes to it fails"
    if is_workers(kind) and kind != "SIMPLE":
        return f"task {reference!r}: {kind!r} is no type that this server knows; it is offered to workers under this name"
    if kind == "KAFKA_PUBLISH" and "kafka" not in schemes:
        return f"task {reference!r}: no Kafka connection is configured; a run that comes to it fails"
    return ""
