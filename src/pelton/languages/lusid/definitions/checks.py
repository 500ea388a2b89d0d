"""Semantic checks of a task definition: names that are used are declared, filters parse, values have their field's type.

A guard may name fields that are not in the schema; they read as not set. What it names otherwise must be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from pelton.languages.lusid import decode
from pelton.languages.lusid.checks import FILTER_LENGTH, Checks
from pelton.languages.lusid.definitions.field_types import fitted
from pelton.languages.lusid.definitions.guards import GUARDED, TASK
from pelton.languages.lusid.forms import (
    ActionDefinition,
    ChildTask,
    CreateChildTasks,
    FieldSchema,
    PerpetualProperty,
    ResultantChildTask,
    RunWorker,
    TriggerChildTasks,
    TriggerNextTask,
    UpdateTaskDefinition,
)
from pelton.languages.lusid.member_names import RIGHT_NAMES
from pelton.transport.validation import describe

DOMAIN = "TaskDefinition"


def check_definition(given: UpdateTaskDefinition) -> None:
    """Raises LusidError with every problem."""
    problems = Checks()
    states = [each.name for each in given.states]
    fields = [each.name for each in given.field_schema or ()]
    triggers = [each.name for each in given.triggers or ()]
    actions = [each.name for each in given.actions or ()]
    problems.distinct(states, "states[{}].name", "state")
    problems.distinct(fields, "fieldSchema[{}].name", "field")
    problems.distinct(triggers, "triggers[{}].name", "trigger")
    problems.distinct(actions, "actions[{}].name", "action")
    problems.declared(given.initial_state.name, states, "initialState.name", "state")
    for index, name in enumerate(given.initial_state.required_fields or ()):
        problems.declared(name, fields, f"initialState.requiredFields[{index}]", "field", "FieldNotInSchema")
    for index, field in enumerate(given.field_schema or ()):
        _field(problems, field, f"fieldSchema[{index}]", states)
    for index, each in enumerate(given.transitions or ()):
        at = f"transitions[{index}]"
        problems.declared(each.from_state, states, f"{at}.fromState", "state")
        problems.declared(each.to_state, states, f"{at}.toState", "state")
        problems.declared(each.trigger, triggers, f"{at}.trigger", "trigger", "UnknownTrigger")
        if each.action:
            problems.declared(each.action, actions, f"{at}.action", "action")
        problems.condition(each.guard, f"{at}.guard", right_names=RIGHT_NAMES, shape=GUARDED)
    for index, action in enumerate(given.actions or ()):
        _action(problems, action, f"actions[{index}].actionDetails", actions)
    _circles(problems, given.actions or ())
    check_properties(problems, given.properties or {}, "properties")
    problems.raise_any()


def _field(problems: Checks, field: FieldSchema, path: str, states: list[str]) -> None:
    rule = field.read_only_states
    if rule is not UNSET:
        at = f"{path}.readOnlyStates.selectedStates"
        if rule.state_type == "SelectedStates":
            if not rule.selected_states:
                problems.add(at, "must name at least one state when stateType is SelectedStates")
            for index, name in enumerate(rule.selected_states or ()):
                problems.declared(name, states, f"{at}[{index}]", "state")
        elif rule.selected_states:
            problems.add(at, f"goes with stateType SelectedStates only, not with {rule.state_type}")
    limits = field.value_constraints
    if limits is not UNSET:
        at = f"{path}.valueConstraints.acceptableValues"
        if not limits.acceptable_values:
            problems.add(at, "must have at least one value")
        for index, value in enumerate(limits.acceptable_values):
            try:
                fitted(field.type, value)
            except ValueError as error:
                message = f"must be {error}, as the field is of type {field.type}, not {describe(value)}"
                problems.add(f"{at}[{index}]", message, value, "FieldTypeMismatch")


def _action(problems: Checks, action: ActionDefinition, path: str, actions: list[str]) -> None:
    details = action.action_details
    if isinstance(details, RunWorker):
        problems.moment(details.worker_as_at, f"{path}.workerAsAt")
        problems.mappings(details.worker_parameters or {}, f"{path}.workerParameters")
        for index, row in enumerate(details.child_task_configurations or ()):
            at = f"{path}.childTaskConfigurations[{index}]"
            _child(problems, row, at)
            if row.result_matching_pattern is not UNSET:
                problems.condition(row.result_matching_pattern.filter, f"{at}.resultMatchingPattern.filter")
    elif isinstance(details, CreateChildTasks):
        if not details.child_task_configurations:
            problems.add(f"{path}.childTaskConfigurations", "must have at least one child task")
        for index, child in enumerate(details.child_task_configurations):
            at = f"{path}.childTaskConfigurations[{index}]"
            _child(problems, child, at)
            problems.condition(child.condition, f"{at}.condition", right_names=RIGHT_NAMES, shape=GUARDED)
    elif isinstance(details, TriggerChildTasks):
        problems.condition(details.filter, f"{path}.filter", FILTER_LENGTH, shape=TASK)
    elif isinstance(details, TriggerNextTask) and details.fallback_actions is not UNSET:
        fallback = details.fallback_actions
        for name, member in ((fallback.end_of_sequence, "endOfSequence"), (fallback.next_task_error, "nextTaskError")):
            if name:
                problems.declared(name, actions, f"{path}.fallbackActions.{member}", "action")


def _circles(problems: Checks, actions: Sequence[ActionDefinition]) -> None:
    """A chain of actions that follow each other must end."""
    onward: dict[str, list[str]] = {}
    for action in actions:
        details = action.action_details
        if isinstance(details, TriggerNextTask) and details.fallback_actions is not UNSET:
            fallback = details.fallback_actions
            onward[action.name] = [name for name in (fallback.end_of_sequence, fallback.next_task_error) if name]
    for index, action in enumerate(actions):
        todo, seen = list(onward.get(action.name, ())), set[str]()
        while todo:
            name = todo.pop()
            if name == action.name:
                problems.add(
                    f"actions[{index}].actionDetails.fallbackActions", f"leads back to {describe(name)}: it would never end"
                )
                break
            if name not in seen:
                seen.add(name)
                todo += onward.get(name, ())


def _child(problems: Checks, child: ChildTask | ResultantChildTask, path: str) -> None:
    problems.moment(child.task_definition_as_at, f"{path}.taskDefinitionAsAt")
    problems.mappings(child.child_task_fields or {}, f"{path}.childTaskFields")


def check_properties(problems: Checks, given: Mapping[str, PerpetualProperty], path: str, domain: str = DOMAIN) -> None:
    for key, each in given.items():
        problem = property_problem(key, each, domain)
        if problem:
            problems.add(f"{path}[{key[:100]}]", problem, key)


def property_problem(key: str, given: PerpetualProperty, domain: str = DOMAIN) -> str:
    """What is wrong with a property, "" when nothing is."""
    parts = key.split("/")
    if len(parts) != 3 or parts[0] != domain or not all(parts):
        return f"must have a key such as {domain}/scope/code, not {describe(key)}"
    if given.key != key:
        return f"has the key {describe(given.key)} inside; it must be the same as outside"
    if given.value is not UNSET:
        value = given.value
        there = [name for name in ("label_value", "metric_value", "label_value_set") if getattr(value, name) is not UNSET]
        if len(there) != 1:
            return "must have exactly one of labelValue, metricValue and labelValueSet"
        metric = value.metric_value
        if metric is not UNSET and (isinstance(metric.value, bool) or not isinstance(metric.value, int | float)):
            return "must have a number as metricValue.value"
    return ""


def value_of(given: UpdateTaskDefinition) -> dict[str, Any]:
    """What is kept of a definition that has been checked."""
    value = decode.plain(given)
    if value.get("properties"):
        value["properties"] = {key: each for key, each in value["properties"].items() if "value" in each}
    return value
