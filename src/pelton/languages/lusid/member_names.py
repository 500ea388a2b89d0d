"""Names that several parts must agree on: the top-level members of each kind of row, and what filters may name."""

from __future__ import annotations

CURRENT_USER = "CurrentUser"  # on the right in guards: who makes the change
RIGHT_NAMES = frozenset({CURRENT_USER})

DEFINITION_MEMBERS = frozenset(
    {
        "id",
        "version",
        "displayName",
        "description",
        "states",
        "fieldSchema",
        "initialState",
        "triggers",
        "transitions",
        "actions",
        "properties",
    }
)
HANDLER_MEMBERS = frozenset(
    {
        "id",
        "version",
        "displayName",
        "description",
        "status",
        "eventMatchingPattern",
        "scheduleMatchingPattern",
        "runAsUserId",
        "taskDefinitionId",
        "taskDefinitionAsAt",
        "taskActivity",
    }
)
WORKER_MEMBERS = frozenset(
    {"id", "version", "displayName", "description", "workerConfiguration", "parameters", "resultFields", "links"}
)
TASK_MEMBERS = frozenset(
    {
        "id",
        "taskDefinitionId",
        "taskDefinitionVersion",
        "taskDefinitionDisplayName",
        "state",
        "stateDisplayName",
        "terminalState",
        "ultimateParentTask",
        "parentTask",
        "childTasks",
        "previousTask",
        "nextTask",
        "nextTaskInitialTrigger",
        "workflowId",
        "workflowDisplayName",
        "workflowRun",
        "correlationIds",
        "version",
        "asAtLastTransition",
        "fields",
        "stackingKey",
        "stack",
        "actionLogIdCreated",
        "actionLogIdModified",
        "actionLogIdSubmitted",
        "hierarchicalPosition",
        "completionStatus",
        "openDuration",
        "openDurationSinceLastUpdate",
        "openDurationSinceLastTransition",
        "properties",
    }
)
LINKED_MEMBERS = frozenset({"ultimateParentTask", "parentTask", "previousTask"})
RECORD_MEMBERS = LINKED_MEMBERS | {
    "id",
    "taskDefinitionId",
    "taskDefinitionVersion",
    "state",
    "terminalState",
    "completionStatus",
    "nextTaskInitialTrigger",
    "correlationIds",
    "version",
    "asAtLastTransition",
    "fields",
    "stackingKey",
    "actionLogIdCreated",
    "actionLogIdModified",
    "actionLogIdSubmitted",
}
"""What of a task can be seen where many are looked at, without reading anything else; of those that are linked only the id."""
HEADER_MEMBERS = (
    "eventType",
    "requestId",
    "userId",
    "action",
    "entityType",
    "timestamp",
    "href",
    "id",
    "source",
    "subject",
    "time",
)
"""Of events; their extension attributes are below `attributes` besides."""
EVENT_MEMBERS = frozenset({"header", "body"})
