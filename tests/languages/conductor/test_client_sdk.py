"""The official client, unchanged, against a server in a process of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.models.workflow_def import WorkflowDef
from conductor.client.http.models.workflow_task import WorkflowTask
from conductor.client.orkes_clients import OrkesClients
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.do_while_task import LoopTask
from conductor.client.workflow.task.inline import InlineTask
from conductor.client.workflow.task.simple_task import SimpleTask
from conductor.client.workflow.task.switch_task import SwitchTask
from conductor.client.workflow.task.wait_task import WaitTask
from tests.languages.conductor import workers
from tests.patience import eventually
from tests.server.running import server

from pelton.cli.process import ServerProcess

__all__ = ["server"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def configuration(server: ServerProcess) -> Configuration:
    return Configuration(server_api_url=f"{server.address}/api")


@pytest.fixture
def clients(configuration: Configuration) -> OrkesClients:
    return OrkesClients(configuration)


def until(look: Callable[[], Any]) -> Any:
    """What a look finds, as soon as it finds something. Each look is a call over HTTP, so this does not spin."""
    return eventually(look)


def test_register_start_and_see_the_end(clients: OrkesClients) -> None:
    name = f"wf-{uuid.uuid4().hex}"
    metadata, runs, tasks = clients.get_metadata_client(), clients.get_workflow_client(), clients.get_task_client()
    work = WorkflowTask(name=f"{name}-t", task_reference_name="t", input_parameters={"a": "${workflow.input.a}"})
    metadata.register_workflow_def(WorkflowDef(name=name, version=1, tasks=[work], timeout_seconds=60), overwrite=True)
    run = runs.start_workflow(StartWorkflowRequest(name=name, version=1, input={"a": 1}, correlation_id="c"))
    assert runs.get_workflow(run, True).status == "RUNNING"
    polled = tasks.poll_task(f"{name}-t", worker_id="w")
    assert polled.input_data == {"a": 1}
    result = TaskResult(workflow_instance_id=run, task_id=polled.task_id, status="COMPLETED", output_data={"b": 2})
    tasks.update_task(result)
    found = runs.get_workflow(run, True)
    assert (found.status, found.output, found.correlation_id) == ("COMPLETED", {"b": 2}, "c")
    assert found.tasks[0].status == "COMPLETED"
    assert runs.get_workflow_status(run, include_output=True).output == {"b": 2}


def test_operators_acts(clients: OrkesClients) -> None:
    name = f"wf-{uuid.uuid4().hex}"
    metadata, runs = clients.get_metadata_client(), clients.get_workflow_client()
    metadata.register_workflow_def(
        WorkflowDef(name=name, version=1, tasks=[WorkflowTask(name=f"{name}-t", task_reference_name="t")]), overwrite=True
    )
    run = runs.start_workflow_by_name(name, {})
    runs.pause_workflow(run)
    assert runs.get_workflow(run, False).status == "PAUSED"
    runs.resume_workflow(run)
    runs.terminate_workflow(run, "enough")
    found = runs.get_workflow(run, True)
    assert (found.status, found.reason_for_incompletion) == ("TERMINATED", "enough")
    with pytest.raises(Exception, match="No such workflow found by id: nope"):
        runs.get_workflow("nope", True)


def test_a_workflow_made_in_code_is_executed(clients: OrkesClients) -> None:
    name = f"wf-{uuid.uuid4().hex}"
    flow = ConductorWorkflow(executor=clients.get_workflow_executor(), name=name, version=1)
    inline = InlineTask("i", "if ($.n > 1) { 'big'; } else { 'small'; }", {"n": "${workflow.input.n}"})
    loop = LoopTask("loop", 3, [InlineTask("x", "1", {})])
    switch = SwitchTask("s", "${i.output.result}").switch_case("big", [InlineTask("b", "'was big'", {})])
    flow >> inline >> loop >> switch
    flow.output_parameters({"said": "${b.output.result}", "rounds": "${loop.output.iteration}"})
    flow.register(overwrite=True)
    found = flow.execute(workflow_input={"n": 2}, wait_for_seconds=60)
    assert (found.status, found.output) == ("COMPLETED", {"said": "was big", "rounds": 3})


def test_waiting_and_signalling(clients: OrkesClients) -> None:
    name = f"wf-{uuid.uuid4().hex}"
    flow = ConductorWorkflow(executor=clients.get_workflow_executor(), name=name, version=1)
    flow >> WaitTask("w")
    flow.register(overwrite=True)
    runs, tasks = clients.get_workflow_client(), clients.get_task_client()
    run = runs.start_workflow_by_name(name, {})
    tasks.update_task_sync(workflow_id=run, task_ref_name="w", status="COMPLETED", output={"x": 1})
    assert runs.get_workflow(run, True).status == "COMPLETED"


def test_the_clients_own_worker_loop(clients: OrkesClients, configuration: Configuration) -> None:
    name = f"wf-{uuid.uuid4().hex}"
    flow = ConductorWorkflow(executor=clients.get_workflow_executor(), name=name, version=1)
    flow >> SimpleTask("greet", "g").input_parameter("name", "${workflow.input.name}")
    flow.output_parameters({"say": "${g.output.result}"})
    flow.register(overwrite=True)
    assert workers.greet("you") == "Hi you"
    runs = clients.get_workflow_client()
    with TaskHandler(configuration=configuration, scan_for_annotated_workers=True) as handler:
        handler.start_processes()
        run = runs.start_workflow_by_name(name, {"name": "abc"})
        until(lambda: runs.get_workflow(run, False).status == "COMPLETED")
    assert runs.get_workflow(run, True).output == {"say": "Hi abc"}
