"""The forms of requests about tasks, and of a worker's run. See `forms.py` for how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from pelton.errors import FieldProblem
from pelton.languages.lusid.errors import invalid
from pelton.languages.lusid.forms import Filled, Form, ResourceId, Text

Correlations = list[str] | UnsetType
MOST_SECONDS = 31_536_000


class NamedValue(Form):
    """A value under a name: of a field, or of a worker's parameter."""

    name: Filled
    value: Any = UNSET


def by_name(given: Iterable[NamedValue], path: str) -> dict[str, Any]:
    """The values, None for those that are not there. Raises LusidError for a name that is there twice."""
    found: dict[str, Any] = {}
    for index, each in enumerate(given):
        if each.name in found:
            raise invalid([FieldProblem(f"{path}[{index}].name", f"is there twice: {each.name!r}")])
        found[each.name] = None if each.value is UNSET else each.value
    return found


class UpdateTask(Form):
    correlation_ids: Correlations = UNSET
    fields: list[NamedValue] | UnsetType = UNSET
    stacking_key: Text = UNSET


class CreateTask(UpdateTask):
    task_definition_id: ResourceId | UnsetType = UNSET
    workflow_id: ResourceId | UnsetType = UNSET


class BatchEntry(UpdateTask, kw_only=True):
    task_instance_id: Filled
    trigger_name: Text = UNSET


class BatchUpdate(Form):
    update_tasks: list[BatchEntry]


class DeleteTasks(Form):
    task_ids: list[str]


class RunWorkerRequest(Form):
    parameters: list[NamedValue] | UnsetType = UNSET
    worker_timeout: Annotated[int, Meta(ge=0, le=MOST_SECONDS, description="seconds, at most a year")] | UnsetType = UNSET
