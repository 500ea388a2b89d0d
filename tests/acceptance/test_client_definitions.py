"""Definitions of workflows, tasks and event handlers, written and read through the official client's typed models."""

from __future__ import annotations

from typing import Any

import pytest
from conductor.client.http.models import Action, EventHandler, StartWorkflow, TaskDef, TaskDetails, WorkflowDef, WorkflowTask
from conductor.client.http.models.workflow_def import to_workflow_def
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.simple_task import SimpleTask
from conductor.client.workflow.task.switch_task import SwitchTask
from tests.acceptance.official import Official, Plain, refused, unique


def workflow_def(name: str, version: int = 1, **more: Any) -> Any:
    task = WorkflowTask(
        name="greet", task_reference_name="greet_ref", type="SIMPLE", input_parameters={"who": "${workflow.input.who}"}
    )
    return WorkflowDef(name=name, version=version, tasks=[task], schema_version=2, timeout_seconds=0, **more)


# ---- workflows


def test_a_workflow_definition_comes_back_as_it_was_given(official: Official) -> None:
    name = unique("kept")
    given = workflow_def(
        name,
        description="says hello",
        owner_email="owner@example.com",
        input_parameters=["who"],
        output_parameters={"said": "${greet_ref.output.said}", "nothing": None},
        variables={"count": 0, "none": None},
        input_template={"who": "world"},
        restartable=False,
        timeout_policy="TIME_OUT_WF",
    )
    official.metadata.register_workflow_def(given)
    found = official.metadata.get_workflow_def(name)
    for field in (
        "name", "version", "description", "owner_email", "input_parameters", "output_parameters", "variables", "input_template",
        "restartable", "timeout_policy", "timeout_seconds", "schema_version",
    ):  # fmt: skip
        assert getattr(found, field) == getattr(given, field), field
    [task] = found.tasks
    assert (task.name, task.task_reference_name, task.type) == ("greet", "greet_ref", "SIMPLE")
    assert task.input_parameters == {"who": "${workflow.input.who}"}
    assert found.create_time > 1_600_000_000_000 or found.update_time > 1_600_000_000_000


def test_the_newest_version_is_found_without_a_version(official: Official) -> None:
    name = unique("versions")
    for version in (1, 3, 2):
        official.metadata.register_workflow_def(workflow_def(name, version, description=f"v{version}"))
    assert official.metadata.get_workflow_def(name).description == "v3"
    assert official.metadata.get_workflow_def(name, 2).description == "v2"
    assert sorted(each.version for each in official.metadata.get_all_workflow_defs() if each.name == name) == [1, 2, 3]
    official.metadata.unregister_workflow_def(name, 3)
    assert official.metadata.get_workflow_def(name).description == "v2"
    assert refused(official.metadata.get_workflow_def, name, 3).message == f"No such workflow found by name: {name}, version: 3"


def test_register_refuses_what_exists_unless_told_to_overwrite(official: Official) -> None:
    name = unique("exists")
    official.metadata.register_workflow_def(workflow_def(name, description="first"), overwrite=False)
    error = refused(official.metadata.register_workflow_def, workflow_def(name, description="second"), overwrite=False)
    assert (error.status, error.message) == (409, f"Workflow with {name}.1 already exists!")
    assert official.metadata.get_workflow_def(name).description == "first"
    official.metadata.register_workflow_def(workflow_def(name, description="second"), overwrite=True)
    assert official.metadata.get_workflow_def(name).description == "second"
    official.metadata.update_workflow_def(workflow_def(name, description="third"))
    assert official.metadata.get_workflow_def(name).description == "third"


def test_running_executions_keep_the_definition_they_were_started_with(official: Official) -> None:
    name = official.register(unique("copy"), [{"name": "w", "taskReferenceName": "w_ref", "type": "WAIT"}])
    run = official.start(name)
    official.register(
        name, [{"name": "x", "taskReferenceName": "x_ref", "type": "INLINE", "inputParameters": {"expression": "1"}}]
    )
    official.metadata.unregister_workflow_def(name, 1)
    assert official.get(run).workflow_definition.tasks[0].task_reference_name == "w_ref"
    official.tasks.update_task_by_ref_name(run, "w_ref", "COMPLETED", 5)
    assert official.ended(run).output == {"result": 5}
    assert refused(official.start, name).status == 404


def test_a_workflow_built_with_the_packages_dsl(official: Official) -> None:
    name = unique("dsl")
    workflow = ConductorWorkflow(executor=official.executor, name=name, version=1, description="built")
    first = SimpleTask("first", "first_ref").input_parameter("number", workflow.input("number"))
    switch = SwitchTask("switch_ref", first.output("kind")).switch_case("a", SimpleTask("for_a", "for_a_ref"))
    switch.default_case(SimpleTask("for_others", "for_others_ref"))
    workflow >> first >> switch
    workflow.output_parameters({"kind": first.output("kind")})
    workflow.register(overwrite=True)
    found = official.metadata.get_workflow_def(name)
    sent = workflow.to_workflow_def()
    assert [task.task_reference_name for task in found.tasks] == ["first_ref", "switch_ref"]
    assert found.tasks[1].decision_cases["a"][0].task_reference_name == "for_a_ref"
    assert found.tasks[1].evaluator_type == "value-param"
    assert found.tasks[0].input_parameters == sent.tasks[0].input_parameters
    assert found.failure_workflow in {None, ""}


def test_a_definition_survives_being_sent_back(official: Official, plain: Plain) -> None:
    """What GET answers may be PUT again, by people who edit definitions as files."""
    name = unique("back")
    official.metadata.register_workflow_def(workflow_def(name, description="first", input_template={"a": None}))
    body = plain.ok("GET", f"/api/metadata/workflow/{name}")
    plain.ok("PUT", "/api/metadata/workflow", [body])
    after = plain.ok("GET", f"/api/metadata/workflow/{name}")
    for key in ("createTime", "updateTime"):
        body.pop(key, None)
        after.pop(key, None)
    assert after == body
    assert to_workflow_def(json_data=after).name == name


def test_unknown_workflows_are_404(official: Official) -> None:
    name = unique("absent")
    for call in (
        lambda: official.metadata.get_workflow_def(name),
        lambda: official.metadata.unregister_workflow_def(name, 1),
        lambda: official.start(name),
        lambda: official.workflows.start_workflow_by_name(name, {}),
    ):
        error = refused(call)
        assert error.status == 404
        assert name in error.message


# ---- tasks


def test_a_task_definition_comes_back_as_it_was_given(official: Official) -> None:
    name = unique("task")
    given = TaskDef(
        name=name,
        description="works",
        retry_count=7,
        retry_logic="LINEAR_BACKOFF",
        retry_delay_seconds=11,
        backoff_scale_factor=2,
        timeout_seconds=600,
        timeout_policy="RETRY",
        response_timeout_seconds=300,
        poll_timeout_seconds=60,
        concurrent_exec_limit=5,
        rate_limit_per_frequency=10,
        rate_limit_frequency_in_seconds=2,
        input_keys=["a"],
        output_keys=["b"],
        input_template={"a": {"deep": [1, None]}},
        owner_email="owner@example.com",
    )
    official.metadata.register_task_def(given)
    found = official.metadata.get_task_def(name)
    for field in (
        "name", "description", "retry_count", "retry_logic", "retry_delay_seconds", "backoff_scale_factor", "timeout_seconds",
        "timeout_policy", "response_timeout_seconds", "poll_timeout_seconds", "concurrent_exec_limit", "rate_limit_per_frequency",
        "rate_limit_frequency_in_seconds", "input_keys", "output_keys", "input_template", "owner_email",
    ):  # fmt: skip
        assert getattr(found, field) == getattr(given, field), field


def test_defaults_of_a_task_definition_are_the_documented_ones(official: Official) -> None:
    name = unique("task")
    official.task_def(name)
    found = official.metadata.get_task_def(name)
    assert (found.retry_count, found.retry_delay_seconds, found.retry_logic) == (3, 60, "FIXED")
    assert (found.timeout_seconds, found.timeout_policy, found.response_timeout_seconds) == (0, "TIME_OUT_WF", 3600)


def test_task_definitions_are_updated_listed_and_removed(official: Official) -> None:
    name = unique("task")
    error = refused(official.metadata.update_task_def, TaskDef(name=name, retry_count=1))
    assert (error.status, error.message) == (404, f"No such task by name {name}")
    official.metadata.register_task_def(TaskDef(name=name, retry_count=1))
    official.metadata.update_task_def(TaskDef(name=name, retry_count=2))
    assert official.metadata.get_task_def(name).retry_count == 2
    assert [each.retry_count for each in official.metadata.get_all_task_defs() if each.name == name] == [2]
    official.metadata.unregister_task_def(name)
    error = refused(official.metadata.get_task_def, name)
    assert (error.status, error.message) == (404, f"No such taskType found by name: {name}")
    assert refused(official.metadata.unregister_task_def, name).status == 404


# ---- event handlers


def event_handler(name: str, event: str, **more: Any) -> Any:
    start = StartWorkflow(name="w", version=2, correlation_id="${id}", input={"a": "${b}"}, task_to_domain={"*": "d"})
    complete = TaskDetails(workflow_id="${workflowInstanceId}", task_ref_name="r", output={"x": "${y}"})
    actions = [
        Action(action="start_workflow", start_workflow=start),
        Action(action="complete_task", complete_task=complete, expand_inline_json=True),
    ]
    return EventHandler(**{"name": name, "event": event, "actions": actions, "active": True, **more})


def handlers_of(official: Official, event: str, **query: Any) -> Any:
    """The package's own call for this asks for a queue's settings; its generated part can do it."""
    return official.api.call_api(
        "/event/{event}",
        "GET",
        {"event": event},
        list(query.items()),
        response_type="list[EventHandler]",
        _return_http_data_only=True,
    )


@pytest.mark.parametrize("event", ["conductor:some_wf:some_ref", "sqs:a_queue", "strange:a/b c?d=é#%"])
def test_event_handlers_are_created_found_changed_and_removed(official: Official, event: str) -> None:
    event, name = event + unique(""), unique("handler")
    official.events.add_event_handler(event_handler(name, event, condition="$.a > 1", evaluator_type="javascript"))
    [found] = handlers_of(official, event)
    assert (found.name, found.event, found.condition, found.active) == (name, event, "$.a > 1", True)
    assert found.evaluator_type == "javascript"
    first, second = found.actions
    assert (first.action, first.start_workflow.name, first.start_workflow.version) == ("start_workflow", "w", 2)
    assert first.start_workflow.input == {"a": "${b}"}
    assert first.start_workflow.task_to_domain == {"*": "d"}
    assert (second.action, second.complete_task.task_ref_name, second.expand_inline_json) == ("complete_task", "r", True)
    assert second.complete_task.output == {"x": "${y}"}

    error = refused(official.events.add_event_handler, event_handler(name, event))
    assert (error.status, error.message) == (409, f"EventHandler with name {name} already exists!")
    official.api.call_api("/event", "PUT", body=event_handler(name, event, active=False))
    assert handlers_of(official, event) == []
    [changed] = handlers_of(official, event, activeOnly=False)
    assert (changed.active, changed.condition) == (False, None)
    everything = official.api.call_api("/event", "GET", response_type="list[EventHandler]", _return_http_data_only=True)
    assert name in {each.name for each in everything}

    official.api.call_api("/event/{name}", "DELETE", {"name": name})
    assert handlers_of(official, event, activeOnly=False) == []
    for method, path, body in (("DELETE", "/event/{name}", None), ("PUT", "/event", event_handler(name, event))):
        error = refused(official.api.call_api, path, method, {"name": name}, body=body)
        assert (error.status, error.message) == (404, f"EventHandler with name {name} not found!")


def test_a_handlers_name_may_hold_any_printable_character(official: Official) -> None:
    name, event = unique("a/b:c %2F é ?#"), unique("any")
    official.events.add_event_handler(event_handler(name, event))
    assert [each.name for each in handlers_of(official, event)] == [name]
    official.api.call_api("/event/{name}", "DELETE", {"name": name})
    assert handlers_of(official, event) == []
