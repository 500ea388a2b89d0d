"""The wire forms: definitions, requests, results. An absent field is UNSET, so that it is omitted from responses.

Members that only newer or commercial servers know are kept in definitions if the reference server stores them, and dropped
otherwise. `decode` turns lenient JSON into these.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

LANGUAGE = "conductor"  # the name under which definitions are stored and processes compiled

Text = str | UnsetType
Whole = int | UnsetType
Map = dict[str, Any]


class CamelForm(Struct, rename="camel", kw_only=True):
    """A form whose JSON members are camel case."""


class TaskDef(CamelForm):
    """Policy of a task: retries, time-outs, limits. Seconds and milliseconds as the names say."""

    name: str = ""
    description: Text = UNSET
    retry_count: int = 3
    timeout_seconds: int = 0
    input_keys: list[str] = []
    output_keys: list[str] = []
    timeout_policy: Literal["RETRY", "TIME_OUT_WF", "ALERT_ONLY"] = "TIME_OUT_WF"
    retry_logic: Literal["FIXED", "EXPONENTIAL_BACKOFF", "LINEAR_BACKOFF"] = "FIXED"
    retry_delay_seconds: int = 60
    response_timeout_seconds: int = 3600
    total_timeout_seconds: int = 0
    max_retry_delay_seconds: int = 0
    backoff_jitter_ms: int = 0
    backoff_scale_factor: int = 1
    poll_timeout_seconds: Whole = UNSET
    concurrent_exec_limit: Whole = UNSET
    input_template: Map = {}
    rate_limit_per_frequency: int = 0
    rate_limit_frequency_in_seconds: int = 1
    isolation_group_id: Text = UNSET
    execution_name_space: Text = UNSET
    owner_email: Text = UNSET
    owner_app: Text = UNSET
    base_type: Text = UNSET
    runtime_metadata: list[str] | UnsetType = UNSET
    input_schema: Map | UnsetType = UNSET
    output_schema: Map | UnsetType = UNSET
    enforce_schema: bool = False
    task_status_listener_enabled: bool = True
    create_time: Whole = UNSET
    update_time: Whole = UNSET
    created_by: Text = UNSET
    updated_by: Text = UNSET


class SubWorkflowParam(CamelForm):
    name: Text = UNSET
    version: int | str | UnsetType = UNSET  # a template, or a number
    task_to_domain: dict[str, str] | UnsetType = UNSET
    workflow_definition: Any = UNSET  # an object, or a template that yields one
    idempotency_key: Text = UNSET
    idempotency_strategy: Text = UNSET
    priority: int | str | UnsetType = UNSET


class WorkflowTask(CamelForm):
    name: str = ""
    task_reference_name: str = ""
    type: str = "SIMPLE"
    description: Text = UNSET
    metadata: Map | UnsetType = UNSET
    input_parameters: Map = {}
    optional: bool = False
    permissive: bool = False
    start_delay: int = 0
    retry_count: Whole = UNSET
    task_definition: TaskDef | UnsetType = UNSET
    async_complete: bool = False
    sink: Text = UNSET
    evaluator_type: Text = UNSET
    expression: Text = UNSET
    items: Any = UNSET
    decision_cases: dict[str, list[WorkflowTask]] = {}
    default_case: list[WorkflowTask] = []
    case_value_param: Text = UNSET
    case_expression: Text = UNSET
    dynamic_task_name_param: Text = UNSET
    dynamic_fork_tasks_param: Text = UNSET
    dynamic_fork_tasks_input_param_name: Text = UNSET
    dynamic_fork_join_tasks_param: Text = UNSET
    fork_tasks: list[list[WorkflowTask]] = []
    join_on: list[str] = []
    join_mode: Text = UNSET
    join_status: Text = UNSET
    default_exclusive_join_task: list[str] = []
    loop_condition: Text = UNSET
    loop_over: list[WorkflowTask] = []
    sub_workflow_param: SubWorkflowParam | UnsetType = UNSET
    script_expression: Text = UNSET
    rate_limited: bool | UnsetType = UNSET
    cache_config: Map | UnsetType = UNSET
    on_state_change: Map = {}


class WorkflowDef(CamelForm):
    name: str = ""
    description: Text = UNSET
    version: int = 1
    tasks: list[WorkflowTask] = []
    input_parameters: list[str] = []
    output_parameters: Map = {}
    failure_workflow: Text = UNSET
    failure_workflow_version: Whole = UNSET
    schema_version: int = 2
    restartable: bool = True
    workflow_status_listener_enabled: bool = False
    workflow_status_listener_sink: Text = UNSET
    owner_email: Text = UNSET
    owner_app: Text = UNSET
    timeout_policy: Literal["TIME_OUT_WF", "ALERT_ONLY"] = "ALERT_ONLY"
    timeout_seconds: int = 0
    variables: Map = {}
    input_template: Map = {}
    rate_limit_config: Map | UnsetType = UNSET
    input_schema: Map | UnsetType = UNSET
    output_schema: Map | UnsetType = UNSET
    enforce_schema: bool = True
    cache_config: Map | UnsetType = UNSET
    masked_fields: list[str] = []
    metadata: Map = {}
    create_time: Whole = UNSET
    update_time: Whole = UNSET
    created_by: Text = UNSET
    updated_by: Text = UNSET
    warnings: list[str] | UnsetType = UNSET  # in answers only: what its author should know


class StartWorkflowAction(CamelForm):
    name: Text = UNSET
    version: Whole = UNSET
    correlation_id: Text = UNSET
    input: Map = {}
    task_to_domain: dict[str, str] | UnsetType = UNSET
    idempotency_key: Text = UNSET
    idempotency_strategy: Literal["FAIL", "RETURN_EXISTING", "FAIL_ON_RUNNING"] | UnsetType = UNSET


class TaskAction(CamelForm):
    workflow_id: Text = UNSET
    task_ref_name: Text = UNSET
    task_id: Text = UNSET
    output: Map = {}
    reason_for_incompletion: Text = UNSET


class TerminateAction(CamelForm):
    workflow_id: Text = UNSET
    termination_reason: Text = UNSET


class VariablesAction(CamelForm):
    workflow_id: Text = UNSET
    variables: Map = {}
    append_array: bool = False


ActionName = Literal["start_workflow", "complete_task", "fail_task", "terminate_workflow", "update_workflow_variables"]


class ActionDef(Struct, kw_only=True):
    """One member is named after `action` and holds its parameters."""

    action: ActionName | UnsetType = UNSET
    start_workflow: StartWorkflowAction | UnsetType = UNSET
    complete_task: TaskAction | UnsetType = UNSET
    fail_task: TaskAction | UnsetType = UNSET
    terminate_workflow: TerminateAction | UnsetType = UNSET
    update_workflow_variables: VariablesAction | UnsetType = UNSET
    expand_inline_json: bool = field(default=False, name="expandInlineJSON")


class EventHandlerDef(CamelForm):
    name: str = ""
    event: str = ""
    condition: Text = UNSET
    actions: list[ActionDef] = []
    active: bool = False
    evaluator_type: Text = UNSET


class StartWorkflowRequest(CamelForm):
    name: str = ""
    version: Whole = UNSET
    correlation_id: Text = UNSET
    input: Map = {}
    task_to_domain: dict[str, str] = {}
    workflow_def: WorkflowDef | UnsetType = UNSET
    priority: int = 0
    created_by: Text = UNSET
    idempotency_key: Text = UNSET
    idempotency_strategy: Literal["FAIL", "RETURN_EXISTING", "FAIL_ON_RUNNING"] = "FAIL"


class RerunWorkflowRequest(CamelForm):
    re_run_from_task_id: Text = UNSET
    workflow_input: Map | UnsetType = UNSET
    task_input: Map | UnsetType = UNSET
    correlation_id: Text = UNSET


class SkipTaskRequest(CamelForm):
    task_input: Map | UnsetType = UNSET
    task_output: Map | UnsetType = UNSET


class TaskExecLog(CamelForm):
    log: str = ""
    task_id: Text = UNSET
    created_time: float | UnsetType = UNSET


ReportStatus = Literal["IN_PROGRESS", "FAILED", "FAILED_WITH_TERMINAL_ERROR", "COMPLETED", "CANCELED"]


class TaskResult(CamelForm):
    workflow_instance_id: str = ""
    task_id: str = ""
    status: ReportStatus | UnsetType = UNSET
    output_data: Map = {}
    reason_for_incompletion: Text = UNSET
    callback_after_seconds: int = 0
    worker_id: Text = UNSET
    logs: list[TaskExecLog] = []
    extend_lease: bool = False
