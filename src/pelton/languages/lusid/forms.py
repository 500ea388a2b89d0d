"""The forms that callers send, in their wire format. A member that is UNSET was absent, or null.

They are stored and returned unchanged: nothing here has a default that would be added to a response.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType


class Form(Struct, rename="camel", gc=False):
    """Members are written in camelCase."""


_NAME = "[a-zA-Z0-9_-]+"
Name = Annotated[
    str, Meta(pattern=_NAME, min_length=1, max_length=1024, description="1 to 1024 characters of letters, digits, - and _")
]
Part = Annotated[
    str, Meta(pattern=_NAME, min_length=1, max_length=64, description="1 to 64 characters of letters, digits, - and _")
]
Filled = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Title = Annotated[str, Meta(min_length=1, max_length=512, description="1 to 512 characters")]
Long = Annotated[str, Meta(max_length=1024, description="at most 1024 characters")]
Condition = Annotated[str, Meta(min_length=1, max_length=1024, description="a filter of 1 to 1024 characters")]
ListenedType = Annotated[
    str,
    Meta(
        pattern="[a-zA-Z][a-zA-Z0-9._:/-]*", min_length=1, max_length=512,
        description="1 to 512 letters, and behind the first also digits and . _ : / -",
    ),
]  # fmt: skip
"""The published API has letters only; events of queues and of other languages have more in the names of their types."""
EventType = Annotated[str, Meta(pattern="[a-zA-Z]+", min_length=1, max_length=512, description="1 to 512 letters")]

Text = str | UnsetType
OptionalCondition = Condition | UnsetType
FieldType = Literal["String", "Decimal", "DateTime", "Boolean", "LusidUserId"]


class ResourceId(Form):
    scope: Part
    code: Part

    @property
    def name(self) -> str:
        """How the store calls it."""
        return f"{self.scope}/{self.code}"


# ---- properties


class MetricValue(Form):
    value: Any = UNSET
    unit: Text = UNSET


class LabelValueSet(Form):
    values: list[str]


class PropertyValue(Form):
    label_value: Text = UNSET
    metric_value: MetricValue | UnsetType = UNSET
    label_value_set: LabelValueSet | UnsetType = UNSET


class PerpetualProperty(Form):
    key: str
    value: PropertyValue | UnsetType = UNSET


Properties = dict[str, PerpetualProperty]

# ---- task definitions


class TaskStateDefinition(Form):
    name: Name
    display_name: Text = UNSET
    description: Text = UNSET
    category: Text = UNSET


class InitialState(Form):
    name: Filled
    required_fields: list[str] | UnsetType = UNSET


class ReadOnlyStates(Form):
    state_type: Literal["InitialState", "AllStates", "TerminalState", "SelectedStates"]
    selected_states: list[str] | UnsetType = UNSET


class ValueConstraints(Form):
    constraint_type: Literal["Suggested", "Validated"]
    value_source_type: Literal["AcceptableValues"]
    acceptable_values: list[Any]


class FieldSchema(Form):
    name: Name
    type: FieldType
    read_only_states: ReadOnlyStates | UnsetType = UNSET
    value_constraints: ValueConstraints | UnsetType = UNSET
    display_name: Text = UNSET
    description: Text = UNSET
    category: Text = UNSET
    contains_url: bool | UnsetType = UNSET


class TriggerSchema(Form):
    type: Literal["External"]


class TransitionTriggerDefinition(Form):
    name: Name
    trigger: TriggerSchema
    display_name: Text = UNSET
    description: Text = UNSET


class TaskTransitionDefinition(Form):
    from_state: Filled
    to_state: Filled
    trigger: Filled
    guard: OptionalCondition = UNSET
    action: Text = UNSET
    display_name: Text = UNSET
    description: Text = UNSET
    guard_description: Text = UNSET
    guard_condition_not_met_message: Text = UNSET


class FieldMapping(Form):
    """When both are there, `map_from` counts."""

    map_from: Text = UNSET
    set_to: Any = UNSET


Mappings = dict[str, FieldMapping]


class ChildTask(Form):
    """A child that CreateChildTasks makes."""

    task_definition_id: ResourceId
    task_definition_as_at: Text = UNSET
    initial_trigger: Text = UNSET
    display_name: Text = UNSET
    child_task_fields: Mappings | UnsetType = UNSET
    map_stacking_key_from: Text = UNSET
    condition: OptionalCondition = UNSET


class ResultMatchingPattern(Form):
    filter: Condition


class ResultantChildTask(Form):
    """A child that a row of a worker's results makes."""

    task_definition_id: ResourceId
    child_task_fields: Mappings
    result_matching_pattern: ResultMatchingPattern | UnsetType = UNSET
    task_definition_as_at: Text = UNSET
    initial_trigger: Text = UNSET
    display_name: Text = UNSET
    map_stacking_key_from: Text = UNSET


class StatusTriggers(Form):
    started: Text = UNSET
    completed_with_results: Text = UNSET
    completed_no_results: Text = UNSET
    failed_to_start: Text = UNSET
    failed_to_complete: Text = UNSET


class NewTasksRecurring(Form):
    do_not_create: bool | UnsetType = UNSET
    initial_trigger_override: Text = UNSET


class ExistingTasksRecurring(Form):
    increment_as_at_modified: bool | UnsetType = UNSET
    trigger: Text = UNSET
    merge_fields: list[str] | UnsetType = UNSET


class ResultsRecurring(Form):
    new_tasks: NewTasksRecurring
    existing_tasks: ExistingTasksRecurring


class ExistingTasksNotRecurring(Form):
    trigger: Text = UNSET


class ResultsNotRecurring(Form):
    existing_tasks: ExistingTasksNotRecurring


class ReRun(Form):
    task_definition_id: ResourceId
    results_recurring: ResultsRecurring
    results_not_recurring: ResultsNotRecurring


class RunWorker(Form, tag_field="type", tag="RunWorker"):
    worker_id: ResourceId
    worker_as_at: Text = UNSET
    worker_parameters: Mappings | UnsetType = UNSET
    worker_status_triggers: StatusTriggers | UnsetType = UNSET
    child_task_configurations: list[ResultantChildTask] | UnsetType = UNSET
    re_run_configurations: list[ReRun] | UnsetType = UNSET
    worker_timeout: Annotated[int, Meta(ge=0, le=31_536_000, description="seconds, at most a year")] | UnsetType = UNSET
    ordering: Literal["Parallel", "Series", "ParallelSeries"] | UnsetType = UNSET


class CreateChildTasks(Form, tag_field="type", tag="CreateChildTasks"):
    child_task_configurations: list[ChildTask]
    ordering: Literal["Parallel", "Series"] | UnsetType = UNSET


class TriggerParentTask(Form, tag_field="type", tag="TriggerParentTask"):
    trigger: Filled


class TriggerChildTasks(Form, tag_field="type", tag="TriggerChildTasks"):
    trigger: Filled
    filter: Text = UNSET


class FallbackActions(Form):
    end_of_sequence: Text = UNSET
    next_task_error: Text = UNSET


class TriggerNextTask(Form, tag_field="type", tag="TriggerNextTask"):
    default_trigger: Text = UNSET
    fallback_actions: FallbackActions | UnsetType = UNSET


ActionDetails = RunWorker | CreateChildTasks | TriggerParentTask | TriggerChildTasks | TriggerNextTask


class ActionDefinition(Form):
    name: Name
    action_details: ActionDetails
    run_as_user_id: Long | UnsetType = UNSET
    display_name: Text = UNSET
    description: Text = UNSET


class UpdateTaskDefinition(Form):
    display_name: Filled
    states: Annotated[list[TaskStateDefinition], Meta(min_length=1, description="a list of at least one state")]
    initial_state: InitialState
    description: Text = UNSET
    field_schema: list[FieldSchema] | UnsetType = UNSET
    triggers: list[TransitionTriggerDefinition] | UnsetType = UNSET
    transitions: list[TaskTransitionDefinition] | UnsetType = UNSET
    actions: list[ActionDefinition] | UnsetType = UNSET
    properties: Properties | UnsetType = UNSET


class CreateTaskDefinition(UpdateTaskDefinition, kw_only=True):
    id: ResourceId


# ---- event handlers


class EventMatchingPattern(Form):
    event_type: ListenedType
    filter: Text = UNSET


class EventHandlerMapping(Form):
    """Exactly one of the two."""

    map_from: Text = UNSET
    set_to: Text = UNSET


class CreateNewTask(Form, tag_field="type", tag="CreateNewTask"):
    initial_trigger: Text = UNSET
    correlation_ids: list[EventHandlerMapping] | UnsetType = UNSET
    task_fields: Mappings | UnsetType = UNSET
    schedule_dependent_task_fields: dict[str, Any] | UnsetType = UNSET


class UpdateMatchingTasks(Form, tag_field="type", tag="UpdateMatchingTasks"):
    trigger: Filled
    filter: Text = UNSET
    correlation_ids: list[EventHandlerMapping] | UnsetType = UNSET
    task_fields: Mappings | UnsetType = UNSET
    schedule_dependent_task_fields: dict[str, Any] | UnsetType = UNSET


class UpdateEventHandler(Form):
    """`schedule_matching_pattern` is checked and read by what evaluates it."""

    display_name: Filled
    status: Literal["Active", "Inactive"]
    run_as_user_id: EventHandlerMapping
    task_definition_id: ResourceId
    task_activity: CreateNewTask | UpdateMatchingTasks
    description: Text = UNSET
    event_matching_pattern: EventMatchingPattern | UnsetType = UNSET
    schedule_matching_pattern: Any = UNSET
    task_definition_as_at: Text = UNSET


class CreateEventHandler(UpdateEventHandler, kw_only=True):
    id: ResourceId


# ---- workers


class UpdateWorker(Form):
    """`worker_configuration` is kept as it came; see `workers.py`."""

    display_name: Title
    worker_configuration: Any
    description: Long | UnsetType = UNSET


class CreateWorker(UpdateWorker, kw_only=True):
    id: ResourceId


# ---- notifications


class ManualEvent(Form):
    subject: Filled
    message: str
    json_message: Any = UNSET


class SchemaField(Form):
    name: Filled
    type: Filled


class EventTypeEntry(Form):
    id: EventType
    display_name: Text = UNSET
    description: Text = UNSET
    application: Text = UNSET
    header_schema: list[SchemaField] | UnsetType = UNSET
    body_schema: list[SchemaField] | UnsetType = UNSET
