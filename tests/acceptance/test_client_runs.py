"""Runs through the official client: starting, looking, waiting for an answer, and what an operator does to them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conductor.client.http.models import RerunWorkflowRequest, SkipTaskRequest, StartWorkflowRequest
from conductor.client.http.models.start_workflow_request import IdempotencyStrategy
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.set_variable_task import SetVariableTask
from tests.acceptance.official import (
    Official,
    Plain,
    refused,
    simple,
    statuses,
    step,
    task_of,
    tasks_of,
    unique,
    wait,
)
from tests.patience import PATIENCE, eventually, retried_when_slow, within

NO_RETRY = {"retryCount": 0}


def inline(reference: str, expression: str, **more: Any) -> dict[str, Any]:
    return step("INLINE", reference, inputParameters={"evaluatorType": "javascript", "expression": expression, **more})


# ---- starting and looking


def test_everything_given_at_the_start_is_shown(official: Official) -> None:
    name = official.register(unique("shown"), [wait("w")], variables={"v": {"deep": [1, None]}}, ownerApp="app")
    before = time.time() * 1000
    run = official.start(
        name,
        {"text": "ü", "number": 1.5, "none": None, "list": [1, [2]], "flag": False},
        version=1,
        correlation_id="corr",
        priority=7,
        created_by="me",
        task_to_domain={"x": "d"},
    )
    found = official.get(run)
    assert found.workflow_id == run
    assert (found.workflow_name, found.workflow_version, found.status) == (name, 1, "RUNNING")
    assert found.input == {"text": "ü", "number": 1.5, "none": None, "list": [1, [2]], "flag": False}
    assert (found.correlation_id, found.priority, found.created_by) == ("corr", 7, "me")
    assert found.task_to_domain == {"x": "d"}
    assert found.variables == {"v": {"deep": [1, None]}}
    assert before - 5_000 < found.create_time <= found.update_time < time.time() * 1000 + 5_000
    assert found.start_time == found.create_time
    assert not found.end_time
    assert found.output == {}
    assert (found.parent_workflow_id, found.reason_for_incompletion, found.event) == (None, None, None)
    [task] = found.tasks
    assert (task.task_type, task.status, task.reference_task_name, task.seq) == ("WAIT", "IN_PROGRESS", "w", 1)
    assert (task.workflow_instance_id, task.workflow_type, task.correlation_id) == (run, name, "corr")
    assert (task.retry_count, task.iteration, task.poll_count, task.retried) == (0, 0, 0, False)
    assert task.scheduled_time >= found.create_time
    assert task.workflow_task.task_reference_name == "w"
    assert official.tasks.get_task(task.task_id).to_dict() == task.to_dict()


def test_starting_by_name_with_version_correlation_and_priority(official: Official) -> None:
    name = unique("named")
    for version in (1, 2):
        official.register(name, [wait("w")], version=version)
    run = official.workflows.start_workflow_by_name(name, {"a": 1}, version=1, correlationId="c/1", priority=3)
    found = official.get(run)
    assert (found.workflow_version, found.correlation_id, found.priority, found.input) == (1, "c/1", 3, {"a": 1})
    newest = official.get(official.workflows.start_workflow_by_name(name, {}))
    assert (newest.workflow_version, newest.input) == (2, {})


def test_the_input_template_fills_what_is_absent_or_null(official: Official) -> None:
    name = official.register(unique("template"), [wait("w")], inputTemplate={"a": 1, "b": 2})
    assert official.get(official.start(name, {"a": None, "c": 3})).input == {"a": 1, "b": 2, "c": 3}
    assert official.get(official.start(name, {"a": 5})).input == {"a": 5, "b": 2}


def test_status_without_the_rest(official: Official) -> None:
    name = official.register(
        unique("status"), [inline("i", "({x: 1})")], variables={"v": 1}, outputParameters={"o": "${i.output.result.x}"}
    )
    run = official.start(name, correlation_id="c")
    official.ended(run)
    short = official.workflows.get_workflow_status(run, False, False)
    assert (short.workflow_id, short.status, short.correlation_id) == (run, "COMPLETED", "c")
    assert (short.output, short.variables) == (None, None)
    full = official.workflows.get_workflow_status(run, include_output=True, include_variables=True)
    assert (full.output, full.variables) == ({"o": 1}, {"v": 1})
    assert refused(official.workflows.get_workflow_status, "nonsense").status == 404


def test_runs_of_a_name_that_are_not_over(official: Official) -> None:
    name = official.register(unique("running"), [wait("w")])
    runs = {official.start(name) for _ in range(3)}
    running = official.workflows.workflowResourceApi.get_running_workflow
    assert set(running(name)) == runs
    over = runs.pop()
    official.tasks.update_task_by_ref_name(over, "w", "COMPLETED", None)
    assert set(running(name)) == runs
    assert running(unique("nothing")) == []


def test_a_page_of_the_tasks_of_a_run(official: Official, plain: Plain) -> None:
    """Over plain HTTP: the package names a model for the answer that it does not have."""
    run = official.run([inline(f"i{number}", str(number)) for number in range(20)] + [wait("w")])

    def page(query: str = "") -> tuple[int, list[str]]:
        found = plain.ok("GET", f"/api/workflow/{run}/tasks{query}")
        return found["totalHits"], [each["referenceTaskName"] for each in found["results"]]

    assert page() == (21, [f"i{number}" for number in range(15)])
    assert page("?start=18&count=2") == (21, ["i18", "i19"])
    assert page("?start=30") == (21, [])
    assert page("?status=IN_PROGRESS&status=FAILED") == (1, ["w"])


def test_unknown_runs_are_404_with_the_documented_text(official: Official) -> None:
    unknown = "8f0b1a52-0000-4000-8000-000000000000"
    workflows = official.workflows
    for call in (
        workflows.get_workflow,
        workflows.pause_workflow,
        workflows.resume_workflow,
        workflows.terminate_workflow,
        workflows.restart_workflow,
        workflows.retry_workflow,
        workflows.delete_workflow,
    ):
        error = refused(call, unknown)
        assert (error.status, error.message) == (404, f"No such workflow found by id: {unknown}")


# ---- execute and wait


@pytest.fixture(scope="module")
def answering(official: Official) -> str:
    """Two steps, then a WAIT inside a sub-workflow, then one more step."""
    child = official.register(unique("child"), [wait("inner")], outputParameters={"inner": "${inner.output.result}"})
    call = step("SUB_WORKFLOW", "call", subWorkflowParam={"name": child, "version": 1})
    return official.register(
        unique("answering"),
        [inline("one", "({n: 1})"), inline("two", "({n: 2})"), call, inline("last", "'done'")],
        outputParameters={"said": "${last.output.result}", "inner": "${call.output.inner}"},
        variables={"kept": True},
    )


def request(name: str, **more: Any) -> Any:
    return StartWorkflowRequest(name=name, version=1, input={"a": 1}, **more)


def execute(official: Official, name: str, strategy: str, **more: Any) -> Any:
    return official.workflows.execute_workflow_with_return_strategy(
        request(name, correlation_id="c"), request_id="req-1", return_strategy=strategy, wait_for_seconds=60, **more
    )


@retried_when_slow
def test_execute_answers_when_the_run_has_ended(official: Official) -> None:
    name = official.register(unique("quick"), [inline("one", "$.n + 1", n="${workflow.input.a}")])
    with within(10):
        found = official.workflows.execute_workflow(request(name, correlation_id="c"), request_id="req", wait_for_seconds=20)
    assert (found.status, found.output, found.input) == ("COMPLETED", {"result": 2}, {"a": 1})
    assert (found.request_id, found.correlation_id) == ("req", "c")
    assert [task.reference_task_name for task in found.tasks] == ["one"]
    assert official.get(found.workflow_id).status == "COMPLETED"


def test_execute_waits_for_a_worker(official: Official) -> None:
    kind = unique("slow")
    name = official.register(unique("worked"), [simple("s", kind)])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(official.workflows.execute_workflow, request(name), None, None, 60)
        official.work(kind, {"done": True})
        found = answer.result(PATIENCE)
    assert (found.status, found.output) == ("COMPLETED", {"done": True})


def test_execute_gives_up_waiting_after_the_time_given(official: Official) -> None:
    name = official.register(unique("stuck"), [simple("s", unique("nobody"))])
    found = official.workflows.execute_workflow_with_return_strategy(request(name), wait_for_seconds=1)
    assert (found.status, found.target_workflow_status) == ("RUNNING", "RUNNING")
    assert official.get(found.workflow_id).status == "RUNNING"


def test_return_strategy_target_workflow(official: Official, answering: str) -> None:
    found = execute(official, answering, "TARGET_WORKFLOW")
    assert (found.response_type, found.request_id) == ("TARGET_WORKFLOW", "req-1")
    assert found.workflow_id == found.target_workflow_id
    assert (found.status, found.target_workflow_status) == ("RUNNING", "RUNNING")
    assert (found.input, found.correlation_id, found.variables) == ({"a": 1}, "c", {"kept": True})
    assert [task["referenceTaskName"] for task in found.tasks] == ["one", "two", "call"]


def test_return_strategy_blocking_workflow(official: Official, answering: str) -> None:
    found = execute(official, answering, "BLOCKING_WORKFLOW")
    assert found.response_type == "BLOCKING_WORKFLOW"
    assert found.workflow_id != found.target_workflow_id
    assert official.get(found.workflow_id).parent_workflow_id == found.target_workflow_id
    assert [task["referenceTaskName"] for task in found.tasks] == ["inner"]


@pytest.mark.parametrize("strategy", ["BLOCKING_TASK", "BLOCKING_TASK_INPUT"])
def test_return_strategies_that_give_a_task(official: Official, answering: str, strategy: str) -> None:
    found = execute(official, answering, strategy)
    assert (found.response_type, found.task_type, found.status.value) == (strategy, "WAIT", "IN_PROGRESS")
    assert found.reference_task_name == "inner"
    assert found.workflow_id != found.target_workflow_id
    assert official.tasks.get_task(found.task_id).reference_task_name == "inner"


def test_execute_until_a_task_has_ended(official: Official, answering: str) -> None:
    found = execute(official, answering, "BLOCKING_TASK", wait_until_task_ref="two")
    assert (found.reference_task_name, found.status.value, found.output) == ("two", "COMPLETED", {"result": {"n": 2}})


def test_signal_with_an_answer_goes_on_to_the_end(official: Official, answering: str) -> None:
    started = execute(official, answering, "TARGET_WORKFLOW")
    run = started.workflow_id
    found = official.executor.signal(run, "COMPLETED", {"result": "in"})
    assert (found.status.value, found.target_workflow_id, found.output) == ("COMPLETED", run, {"said": "done", "inner": "in"})
    error = refused(official.executor.signal, run, "COMPLETED", {})
    assert (error.status, error.message) == (404, f"Found no blocked task in workflow {run} to signal")


def test_signal_without_an_answer(official: Official) -> None:
    run = official.run([wait("a"), wait("b")])
    official.executor.signal_async(run, "COMPLETED", {"x": 1})
    assert task_of(official.get(run), "a").output_data == {"x": 1}
    official.executor.signal_async(run, "FAILED", {})
    failed = official.ended(run, "FAILED")
    assert failed.failed_reference_task_names == {"b"}
    official.executor.signal_async(run, "COMPLETED", {})  # nothing blocks: nothing happens
    assert official.get(run).status == "FAILED"


def test_a_definition_that_is_not_registered_runs_all_the_same(official: Official) -> None:
    name = unique("oneoff")
    workflow = ConductorWorkflow(executor=official.executor, name=name, version=3)
    workflow >> SetVariableTask("set").input_parameter("x", workflow.input("x"))
    workflow.output_parameters({"x": "${workflow.variables.x}"})
    found = workflow.execute({"x": [1, {"y": None}]})
    assert (found.status, found.output) == ("COMPLETED", {"x": [1, {"y": None}]})
    run = workflow.start_workflow_with_input({"x": 5})
    ended = official.ended(run)
    assert (ended.workflow_name, ended.workflow_version, ended.output) == (name, 3, {"x": 5})
    assert refused(official.metadata.get_workflow_def, name).status == 404


# ---- the operator


def test_terminate_with_a_reason(official: Official) -> None:
    kind = unique("never")
    run = official.run(
        [step("FORK_JOIN", "f", forkTasks=[[wait("w")], [simple("s", kind)]]), step("JOIN", "j", joinOn=["w", "s"])]
    )
    official.workflows.terminate_workflow(run, "enough")
    found = official.ended(run, "TERMINATED")
    assert found.reason_for_incompletion == "enough"
    assert {reference: status for reference, status in statuses(found).items() if reference != "f"} == {
        "w": "CANCELED", "s": "CANCELED", "j": "CANCELED",
    }  # fmt: skip
    assert found.end_time >= found.start_time
    assert official.idle(kind)
    official.workflows.terminate_workflow(run, "again")  # over already: no trouble
    assert official.get(run).reason_for_incompletion == "enough"
    done = official.run([inline("i", "1")])
    official.ended(done)
    assert refused(official.workflows.terminate_workflow, done, "late").status == 409


def test_terminate_may_start_the_failure_workflow(official: Official) -> None:
    kind = unique("comp")
    sequel = official.register(unique("sequel"), [simple("s", kind)])
    name = official.register(unique("first"), [wait("w")], failureWorkflow=sequel)
    run = official.start(name, {"order": 7}, correlation_id="c")
    official.workflows.terminate_workflow(run, "stop", trigger_failure_workflow=True)
    task = official.poll(kind)
    found = official.get(task.workflow_instance_id)
    assert (found.correlation_id, found.input["order"], found.input["workflowId"]) == ("c", 7, run)
    assert (found.input["reason"], found.input["failureStatus"]) == ("stop", "TERMINATED")
    assert official.ended(run, "TERMINATED").output["conductor.failure_workflow"] == task.workflow_instance_id


def test_pause_lets_workers_finish_and_schedules_nothing(official: Official) -> None:
    kind, following = unique("one"), unique("two")
    run = official.run([simple("a", kind), simple("b", following)])
    task = official.poll(kind)
    official.workflows.pause_workflow(run)
    assert official.get(run).status == "PAUSED"
    official.workflows.pause_workflow(run)
    official.finish(task)
    paused = official.get(run)
    assert (paused.status, statuses(paused)) == ("PAUSED", {"a": "COMPLETED"})
    assert official.idle(following)
    official.workflows.resume_workflow(run)
    official.work(following)
    official.ended(run)
    assert refused(official.workflows.pause_workflow, run).status == 409
    assert refused(official.workflows.resume_workflow, run).status in {409, 500}


def test_restart_begins_anew_under_the_same_id(official: Official) -> None:
    kind = unique("again")
    name = official.register(unique("restarted"), [simple("a", kind, **NO_RETRY), wait("w")], variables={"v": 1})
    run = official.start(name, {"x": 1}, correlation_id="c")
    assert refused(official.workflows.restart_workflow, run).status == 409
    first = official.work(kind, status="FAILED", reason_for_incompletion="bad")
    failed = official.ended(run, "FAILED")
    official.workflows.restart_workflow(run)
    second = official.poll(kind)
    assert second.task_id != first.task_id
    assert (second.workflow_instance_id, second.retry_count, second.input_data) == (run, 0, first.input_data)
    found = official.get(run)
    assert (found.status, found.input, found.correlation_id, found.variables) == ("RUNNING", {"x": 1}, "c", {"v": 1})
    assert [task.task_id for task in found.tasks] == [second.task_id]
    assert not found.reason_for_incompletion
    assert failed.reason_for_incompletion == f"Task {first.task_id} failed with status: FAILED and reason: 'bad'"


def test_restart_with_the_latest_definition(official: Official) -> None:
    name = official.register(unique("latest"), [inline("old", "1")])
    run = official.start(name)
    official.ended(run)
    official.register(name, [inline("new", "2")], version=2)
    official.workflows.restart_workflow(run)
    assert statuses(official.ended(run)) == {"old": "COMPLETED"}
    official.workflows.restart_workflow(run, use_latest_def=True)
    found = official.ended(run)
    assert (statuses(found), found.workflow_version) == ({"new": "COMPLETED"}, 2)


def test_what_is_not_restartable_is_not_restarted_once_completed(official: Official) -> None:
    name = official.register(unique("once"), [inline("i", "1")], restartable=False)
    run = official.start(name)
    official.ended(run)
    error = refused(official.workflows.restart_workflow, run)
    assert (error.status, error.message) == (404, f"Workflow: {name}.1/{run}.COMPLETED is non-restartable")


def test_retry_goes_on_from_what_failed(official: Official) -> None:
    kind, good = unique("bad"), unique("good")
    run = official.run([simple("a", good), simple("b", kind, inputParameters={"from": "${a.output.x}"}, **NO_RETRY)])
    assert refused(official.workflows.retry_workflow, run).status == 404
    official.work(good, {"x": 1})
    first = official.work(kind, {"old": True}, status="FAILED", reason_for_incompletion="no luck")
    failed = official.ended(run, "FAILED")
    assert failed.failed_reference_task_names == {"b"}
    official.workflows.retry_workflow(run)
    second = official.poll(kind)
    assert (second.retry_count, second.retried_task_id, second.input_data["from"]) == (1, first.task_id, 1)
    assert second.task_id != first.task_id
    assert second.output_data == {}
    official.finish(second, output={"new": True})
    found = official.ended(run)
    assert [task.status for task in tasks_of(found, "b")] == ["FAILED", "COMPLETED"]
    assert [task.retried for task in tasks_of(found, "b")] == [True, False]
    assert found.last_retried_time
    assert len(tasks_of(found, "a")) == 1
    error = refused(official.workflows.retry_workflow, run)
    assert error.status == 409
    assert error.message.startswith("There are no retryable tasks!")


def test_a_terminated_run_is_retried_from_its_open_task(official: Official) -> None:
    run = official.run([wait("w")])
    official.workflows.terminate_workflow(run, "oops")
    official.workflows.retry_workflow(run)
    task = official.opened(run, "w")
    assert task.retry_count == 1
    official.tasks.update_task_by_ref_name(run, "w", "COMPLETED", 1)
    assert [each.status for each in official.ended(run).tasks] == ["CANCELED", "COMPLETED"]


def test_rerun_from_a_task_with_other_input(official: Official) -> None:
    first, second, third = unique("r1"), unique("r2"), unique("r3")
    run = official.run([simple("a", first), simple("b", second, inputParameters={"x": 1}), simple("c", third)])
    official.work(first, {"a": 1})
    old = official.work(second, {"b": 1})
    official.work(third)
    official.ended(run)
    again = RerunWorkflowRequest(re_run_from_task_id=old.task_id, task_input={"other": True}, correlation_id="new")
    assert official.workflows.rerun_workflow(run, again) == run
    task = official.poll(second)
    assert (task.task_id, task.input_data) == (old.task_id, {"other": True})
    found = official.get(run)
    assert (found.status, found.correlation_id) == ("RUNNING", "new")
    assert [each.reference_task_name for each in found.tasks] == ["a", "b"]
    official.finish(task, output={"b": 2})
    official.work(third, {"c": 2})
    assert official.ended(run).output == {"c": 2}


def test_rerun_from_the_beginning_with_another_workflow_input(official: Official) -> None:
    run = official.run([inline("i", "$.x", x="${workflow.input.x}")], {"x": 1})
    assert official.ended(run).output == {"result": 1}
    official.workflows.rerun_workflow(run, RerunWorkflowRequest(workflow_input={"x": 2}))
    found = official.ended(run)
    assert (found.output, found.input) == ({"result": 2}, {"x": 2})


def test_what_cannot_be_rerun(official: Official) -> None:
    run = official.run([wait("w")])
    assert refused(official.workflows.rerun_workflow, run, RerunWorkflowRequest()).status == 409
    official.workflows.terminate_workflow(run)
    error = refused(official.workflows.rerun_workflow, run, RerunWorkflowRequest(re_run_from_task_id="nonsense"))
    assert (error.status, error.message) == (400, "Task nonsense not found")
    assert official.get(run).status == "TERMINATED"


def test_skip_a_task_that_is_to_come(official: Official) -> None:
    kind = unique("skipped")
    run = official.run([wait("w"), simple("s", kind), inline("i", "$.x", x="${s.output.given}")])
    official.workflows.skip_task_from_workflow(
        run, "s", SkipTaskRequest(task_input={"in": "it's"}, task_output={"given": {"deep": [True, None, "ü"]}})
    )
    official.tasks.update_task_by_ref_name(run, "w", "COMPLETED", None)
    found = official.ended(run)
    skipped = task_of(found, "s")
    assert (skipped.status, skipped.output_data) == ("SKIPPED", {"given": {"deep": [True, None, "ü"]}})
    assert skipped.input_data == {"in": "it's"}
    assert skipped.workflow_task.task_reference_name == "s"
    assert found.output == {"result": {"deep": [True, None, "ü"]}}
    assert official.idle(kind)


def test_what_cannot_be_skipped(official: Official) -> None:
    run = official.run([wait("w"), wait("x")])
    for reference in ("w", "nothing"):
        assert refused(official.workflows.skip_task_from_workflow, run, reference, SkipTaskRequest()).status >= 400
    official.workflows.terminate_workflow(run)
    assert refused(official.workflows.skip_task_from_workflow, run, "x", SkipTaskRequest()).status >= 400


def test_variables_are_changed_from_outside(official: Official) -> None:
    run = official.run([wait("w")], variables={"a": 1, "b": 2}, outputParameters={"all": "${workflow.variables}"})
    official.workflows.update_variables(run, {"b": {"deep": None}, "c": 3})
    assert official.get(run).variables == {"a": 1, "b": {"deep": None}, "c": 3}
    official.tasks.update_task_by_ref_name(run, "w", "COMPLETED", None)
    assert official.ended(run).output == {"all": {"a": 1, "b": {"deep": None}, "c": 3}}


def test_remove(official: Official) -> None:
    run = official.run([wait("w")])
    error = refused(official.workflows.delete_workflow, run)
    assert (error.status, error.message) == (400, f"Cannot archive workflow: {run} with status: RUNNING")
    official.workflows.terminate_workflow(run)
    task = task_of(official.get(run), "w").task_id
    official.workflows.delete_workflow(run)
    assert refused(official.get, run).status == 404
    assert refused(official.tasks.get_task, task).status == 404


# ---- the same key twice


# The package's enumeration lacks the third.
@pytest.mark.parametrize("strategy", [IdempotencyStrategy.FAIL, IdempotencyStrategy.RETURN_EXISTING, "FAIL_ON_RUNNING"])
def test_idempotency_strategies(official: Official, strategy: Any) -> None:
    name, other = official.register(unique("key"), [wait("w")]), official.register(unique("key"), [wait("w")])
    key = unique("k")

    def start(workflow: str) -> str:
        return official.start(workflow, idempotency_key=key, idempotency_strategy=strategy)

    first = start(name)
    assert official.get(first).idempotency_key == key
    assert start(other) != first  # a key belongs to a name
    if strategy == IdempotencyStrategy.RETURN_EXISTING:
        assert start(name) == first
    else:
        assert refused(start, name).status == 409
    official.tasks.update_task_by_ref_name(first, "w", "COMPLETED", None)
    if strategy == IdempotencyStrategy.FAIL:
        assert refused(start, name).status == 409
    elif strategy == IdempotencyStrategy.RETURN_EXISTING:
        assert start(name) == first
    else:
        assert start(name) != first


def test_many_starts_with_one_key_at_once_start_one_run(official: Official) -> None:
    name, key = official.register(unique("race"), [wait("w")]), unique("k")
    with ThreadPoolExecutor(16) as pool:
        starts = [
            pool.submit(official.start, name, idempotency_key=key, idempotency_strategy=IdempotencyStrategy.RETURN_EXISTING)
            for _ in range(32)
        ]
        assert len({each.result() for each in starts}) == 1
    assert len(official.workflows.workflowResourceApi.get_running_workflow(name)) == 1


def test_a_strategy_without_a_key_means_nothing(official: Official) -> None:
    name = official.register(unique("keyless"), [wait("w")])
    assert official.start(name) != official.start(name)
    eventually(lambda: len(official.workflows.workflowResourceApi.get_running_workflow(name)) == 2, "both run")
