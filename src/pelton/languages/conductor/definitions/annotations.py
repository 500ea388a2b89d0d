"""The parts of a definition that compiled nodes and processes keep for the views; opaque to the kernel."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from pelton.languages.conductor.expressions.references import References
from pelton.languages.conductor.model import TaskDef, WorkflowDef, WorkflowTask


class NodeAnnotations(Struct, frozen=True):
    """`text`, `policy_text`: JSON texts of the task and its policy, put into every view as they are."""

    task: WorkflowTask
    policy: TaskDef
    text: Raw
    policy_text: Raw
    shown: str  # the task's type as views show it


class ProcessAnnotations(Struct, frozen=True):
    definition: WorkflowDef
    text: Raw  # JSON text of the definition, policies embedded
    references: References

    @property
    def defaults(self) -> dict[str, Any]:
        return self.definition.input_template
