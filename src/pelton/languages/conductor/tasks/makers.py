"""How each of these types becomes a node. A maker gets the task, what all nodes have in common, and where the task leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pelton.kernel.expressions.base import JSON, BoundValue, Constant, ExpressionError
from pelton.kernel.model.process import Assign, Call, Choice, Emit, Node, Outside, Wait, Work
from pelton.languages.conductor.expressions import secrets
from pelton.languages.conductor.expressions.references import References
from pelton.languages.conductor.model import TaskDef, WorkflowTask
from pelton.languages.conductor.tasks import computations, starts
from pelton.languages.conductor.tasks.exclusive import FirstEnded
from pelton.languages.conductor.tasks.kafka import KafkaMessage, KafkaTopic
from pelton.languages.conductor.tasks.queues import DynamicQueue


class Builds(Protocol):
    """The compiler of a definition, as makers use it."""

    @property
    def references(self) -> References: ...
    @property
    def schemes(self) -> frozenset[str]: ...
    def sequence(self, tasks: list[WorkflowTask], after: str) -> str: ...


Maker = Callable[[Builds, WorkflowTask, dict[str, Any], str], Node]


def jq_transform(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    return Assign(**common, output=computations.JqTransform())


def function(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    return Assign(**common, output=computations.FunctionBody(task.script_expression or ""))


def nothing(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    common["input"] = Constant({})
    return Assign(**common, output=Constant({}))


def absent(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    kind = task.type

    def fail(context: Any) -> JSON:
        raise ExpressionError(f"nothing in this server does {kind}; let a worker do it (type SIMPLE)")

    return Assign(**common, output=BoundValue(fail))


def decision(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    """A case with an empty list counts as none: then the default case runs."""
    cases = {name: builds.sequence(case, following) for name, case in task.decision_cases.items() if case}
    return Choice(
        **common,
        select=computations.Decided(task.case_value_param or "", task.case_expression or ""),
        cases=cases,
        default=builds.sequence(task.default_case, following),
        output=BoundValue(lambda context: {"caseOutput": [context.value]}),
    )


def exclusive_join(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    found = FirstEnded(task.join_on, task.default_exclusive_join_task, builds.references)
    return Assign(**common, output=found)


def person(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    """Waits until somebody outside completes it."""
    return Wait(**common, arms=(Outside(),))


def dynamic(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    policy: TaskDef = common["annotations"].policy
    use = secrets.use_of(policy.input_template, task.input_parameters)
    queue = DynamicQueue(task.dynamic_task_name_param or "")
    return Work(**common, queue=queue, delay=task.start_delay * 1000, secrets=use)


def start_workflow(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    return Call(
        **common,
        target=BoundValue(starts.target),
        child_input=BoundValue(starts.child_input),
        meta=BoundValue(starts.meta),
        awaits="nothing",
        output=lambda given, child: {},  # views and templates add the id, which only they can write
    )


def kafka_publish(builds: Builds, task: WorkflowTask, common: dict[str, Any], following: str) -> Node:
    return Emit(
        **common,
        sink=KafkaTopic(builds.schemes),
        body=KafkaMessage(),
        awaits="outside" if task.async_complete else "nothing",
    )


MAKERS: dict[str, Maker] = {
    "DECISION": decision,
    "DYNAMIC": dynamic,
    "EXCLUSIVE_JOIN": exclusive_join,
    "HUMAN": person,
    "JSON_JQ_TRANSFORM": jq_transform,
    "KAFKA_PUBLISH": kafka_publish,
    "LAMBDA": function,
    "NOOP": nothing,
    "START_WORKFLOW": start_workflow,
    "WAIT_FOR_WEBHOOK": person,
}
