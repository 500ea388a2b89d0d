"""The official client as an application uses it, and what its tests share."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import httpx
import lusid_workflow as sdk
import pytest
from lusid_workflow import models
from tests.patience import PATIENCE

TOKEN = "any-token-will-do"


class Official:
    """One object an API class. `plain`: HTTP without the client, for what it would not send."""

    def __init__(self, address: str, token: str = TOKEN) -> None:
        self.address = address
        loader = sdk.ArgsConfigurationLoader(api_url=f"{address}/workflow", access_token=token)
        self._factory: Any = sdk.SyncApiClientFactory(config_loaders=[loader])
        self.definitions: Any = self._factory.build(sdk.TaskDefinitionsApi)
        self.handlers: Any = self._factory.build(sdk.EventHandlersApi)
        self.workers: Any = self._factory.build(sdk.WorkersApi)
        self.tasks: Any = self._factory.build(sdk.TasksApi)
        self.logs: Any = self._factory.build(sdk.ActionLogsApi)
        self.metadata: Any = self._factory.build(sdk.ApplicationMetadataApi)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json-patch+json"}
        self.plain = httpx.Client(base_url=address, headers=headers, timeout=PATIENCE)

    def close(self) -> None:
        self.plain.close()
        self._factory.__exit__(None, None, None)


def scope() -> str:
    """One that no other test uses: tests share a server."""
    return f"s-{secrets.token_hex(6)}"


def refused(status: int, call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """The problem body of the exception that the client raises."""
    with pytest.raises(sdk.ApiException) as caught:
        call(*arguments, **more)
    assert caught.value.status == status, caught.value
    problem = json.loads(caught.value.body)
    assert type(problem["code"]) is int
    return problem


def state(name: str, **more: Any) -> Any:
    return models.TaskStateDefinition(name=name, **more)


def trigger(name: str) -> Any:
    return models.TransitionTriggerDefinition(name=name, trigger=models.TriggerSchema(type="External"))


def definition(scope: str, code: str = "import", **more: Any) -> Any:
    """A definition request of the client's own models."""
    return models.CreateTaskDefinitionRequest(id=models.ResourceId(scope=scope, code=code), **{**body(), **more})


def body() -> dict[str, Any]:
    return {
        "display_name": "Import",
        "description": "Imports a file",
        "states": [state("Pending", category="open"), state("Running"), state("Done", display_name="All done")],
        "field_schema": [
            models.TaskFieldDefinition(name="folder", type="String", display_name="Folder", contains_url=False),
            models.TaskFieldDefinition(
                name="desk",
                type="String",
                read_only_states=models.ReadOnlyStates(state_type="SelectedStates", selected_states=["Running"]),
                value_constraints=models.ValueConstraints(
                    constraint_type="Validated", value_source_type="AcceptableValues", acceptable_values=["rates", "credit"]
                ),
            ),
            models.TaskFieldDefinition(name="rows", type="Decimal"),
        ],
        "initial_state": models.InitialState(name="Pending", required_fields=["folder"]),
        "triggers": [trigger("start"), trigger("finish")],
        "transitions": [
            models.TaskTransitionDefinition(from_state="Pending", to_state="Running", trigger="start", action="children"),
            models.TaskTransitionDefinition(
                from_state="Running",
                to_state="Done",
                trigger="finish",
                guard="childTasks all (state eq 'Done') and fields['rows'] gt 0",
                guard_description="every child is done",
                guard_condition_not_met_message="not yet",
            ),
        ],
        "actions": [
            models.ActionDefinition(
                name="children",
                run_as_user_id="robot",
                action_details=models.ActionDetails(
                    models.CreateChildTasksAction(
                        type="CreateChildTasks",
                        child_task_configurations=[
                            models.CreateChildTaskConfiguration(
                                task_definition_id=models.ResourceId(scope="any", code="child"),
                                initial_trigger="start",
                                child_task_fields={"folder": models.FieldMapping(map_from="folder")},
                            )
                        ],
                    )
                ),
            ),
            models.ActionDefinition(
                name="parent",
                action_details=models.ActionDetails(models.TriggerParentTaskAction(type="TriggerParentTask", trigger="finish")),
            ),
        ],
    }
