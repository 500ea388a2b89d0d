"""The forms of requests about tasks, and of a worker's run. See `model.py` for how they are read."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from pelton.languages.lusid.model import Filled, ResourceId, Text, Wire

Correlations = list[str] | UnsetType
MOST_SECONDS = 31_536_000


class TaskFieldValue(Wire):
    name: Filled
    value: Any = UNSET


class UpdateTask(Wire):
    correlation_ids: Correlations = UNSET
    fields: list[TaskFieldValue] | UnsetType = UNSET
    stacking_key: Text = UNSET


class CreateTask(UpdateTask):
    task_definition_id: ResourceId | UnsetType = UNSET
    workflow_id: ResourceId | UnsetType = UNSET


class BatchEntry(UpdateTask, kw_only=True):
    task_instance_id: Filled
    trigger_name: Text = UNSET


class BatchUpdate(Wire):
    update_tasks: list[BatchEntry]


class DeleteTasks(Wire):
    task_ids: list[str]


class RunParameter(Wire):
    name: Filled
    value: Any = UNSET


class RunWorkerRequest(Wire):
    parameters: list[RunParameter] | UnsetType = UNSET
    worker_timeout: Annotated[int, Meta(ge=0, le=MOST_SECONDS, description="seconds, at most a year")] | UnsetType = UNSET
