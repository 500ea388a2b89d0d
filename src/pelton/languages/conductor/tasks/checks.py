"""What is checked of these types when a definition is registered: what the original checks, and no more."""

from __future__ import annotations

from collections.abc import Callable

from pelton.languages.conductor.expressions import scripts
from pelton.languages.conductor.model import WorkflowTask
from pelton.languages.conductor.tasks.computations import QUERY
from pelton.transport.validation import Problems


def check_decision(path: str, task: WorkflowTask, problems: Problems) -> None:
    if not task.case_value_param and not task.case_expression:
        problems.add(
            f"{path}.caseValueParam",
            f"caseValueParam or caseExpression field is required for taskType: DECISION taskName: {task.name}",
        )
    elif task.case_expression and (error := scripts.syntax_error(task.case_expression)) is not None:
        problems.add(f"{path}.caseExpression", f"Expression is not well formatted: {error}", task.case_expression)
    if not task.decision_cases:
        problems.add(
            f"{path}.decisionCases",
            f"decisionCases should have at least one task for taskType: DECISION taskName: {task.name}",
        )


def check_dynamic(path: str, task: WorkflowTask, problems: Problems) -> None:
    if not (task.dynamic_task_name_param or "").strip():
        problems.add(
            f"{path}.dynamicTaskNameParam",
            f"dynamicTaskNameParam field is required for taskType: DYNAMIC taskName: {task.name}",
        )


def check_jq(path: str, task: WorkflowTask, problems: Problems) -> None:
    source = task.input_parameters.get(QUERY)
    if not isinstance(source, str) or not source.strip():
        problems.add(
            f"{path}.inputParameters.{QUERY}",
            f"inputParameters.{QUERY} field is required for taskType: JSON_JQ_TRANSFORM taskName: {task.name}",
        )


CHECKS: dict[str, Callable[[str, WorkflowTask, Problems], None]] = {
    "DECISION": check_decision,
    "DYNAMIC": check_dynamic,
    "JSON_JQ_TRANSFORM": check_jq,
}
