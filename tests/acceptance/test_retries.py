"""What happens when tasks fail or take too long: retries, time-outs, failure workflows, through the official client."""

from __future__ import annotations

from typing import Any

import pytest
from tests.acceptance.official import Official, Plain, simple, statuses, step, task_of, tasks_of, unique, wait
from tests.patience import promised, retried_when_slow, within

# ---- retries


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        ({"retryLogic": "FIXED", "retryDelaySeconds": 1}, [1, 1]),
        ({"retryLogic": "LINEAR_BACKOFF", "retryDelaySeconds": 1, "backoffScaleFactor": 2}, [2, 4]),
        ({"retryLogic": "EXPONENTIAL_BACKOFF", "retryDelaySeconds": 3}, [3, 6]),
        ({"retryLogic": "EXPONENTIAL_BACKOFF", "retryDelaySeconds": 50, "maxRetryDelaySeconds": 60}, [50, 60]),
    ],
)
def test_the_delay_before_each_attempt(official: Official, policy: dict[str, Any], delays: list[int]) -> None:
    """The later attempts are reported on before their time, by reference name, so that nobody waits for them here."""
    kind = unique("delays")
    official.task_def(kind, retryCount=len(delays), **policy)
    run = official.run([simple("t", kind)])
    official.work(kind, status="FAILED", reason_for_incompletion="first")
    for number, delay in enumerate(delays, 1):
        task = tasks_of(official.get(run), "t")[number]
        assert (task.retry_count, task.status) == (number, "SCHEDULED")
        assert task.callback_after_seconds == task.start_delay_in_seconds == delay
        assert official.idle(kind)
        official.tasks.update_task_by_ref_name(run, "t", "FAILED", {})
    assert [task.status for task in official.ended(run, "FAILED").tasks] == ["FAILED"] * 3


def test_a_retry_is_a_new_task_with_fresh_input(official: Official) -> None:
    kind = unique("fresh")
    official.task_def(kind, retryCount=1, retryDelaySeconds=0)
    task = simple("t", kind, inputParameters={"v": "${workflow.variables.v}", "id": "${CPEWF_TASK_ID}"})
    run = official.run([task], variables={"v": 1})
    first = official.poll(kind)
    assert first.input_data == {"v": 1, "id": first.task_id}
    official.workflows.update_variables(run, {"v": 2})
    official.finish(first, "FAILED", {"partly": True}, reason_for_incompletion="no")
    second = official.poll(kind)
    assert second.task_id != first.task_id
    assert second.input_data == {"v": 2, "id": second.task_id}
    assert (second.retried_task_id, second.retry_count, second.output_data) == (first.task_id, 1, {})
    assert second.reason_for_incompletion == "no"
    official.finish(second)
    found = official.ended(run)
    old, new = found.tasks
    assert (old.status, old.retried, old.output_data) == ("FAILED", True, {"partly": True})
    assert (new.status, new.retried) == ("COMPLETED", False)


def test_the_task_in_the_workflow_overrides_the_count_of_its_definition(official: Official) -> None:
    kind = unique("override")
    official.task_def(kind, retryCount=5, retryDelaySeconds=0)
    run = official.run([simple("t", kind, retryCount=1)])
    for _ in range(2):
        official.work(kind, status="FAILED")
    found = official.ended(run, "FAILED")
    assert len(found.tasks) == 2
    assert found.reason_for_incompletion == f"Task {found.tasks[1].task_id} failed with status: FAILED and reason: 'null'"


def test_without_a_definition_a_worker_task_is_retried_three_times_a_minute_apart(official: Official) -> None:
    kind = unique("adhoc")
    run = official.run([simple("t", kind)])
    official.work(kind, status="FAILED")
    second = tasks_of(official.get(run), "t")[1]
    assert (second.status, second.start_delay_in_seconds) == ("SCHEDULED", 60)
    definition = official.get(run).workflow_definition.tasks[0].task_definition
    assert (definition.retry_count, definition.retry_delay_seconds) == (3, 60)


def test_an_optional_task_that_fails_for_good_lets_the_run_go_on(official: Official) -> None:
    kind = unique("optional")
    run = official.run(
        [
            simple("t", kind, retryCount=0, optional=True),
            step("INLINE", "after", inputParameters={"expression": "$.s", "s": "${t.status}"}),
        ]
    )
    official.work(kind, {"e": 1}, status="FAILED", reason_for_incompletion="no")
    found = official.ended(run)
    assert statuses(found) == {"t": "COMPLETED_WITH_ERRORS", "after": "COMPLETED"}
    assert task_of(found, "t").output_data == {"e": 1}
    assert found.output == {"result": "COMPLETED_WITH_ERRORS"}


def test_a_cancelled_task_terminates_the_run(official: Official, plain: Plain) -> None:
    """Over plain HTTP: the package's model of a result lacks the status."""
    kind = unique("cancel")
    run = official.run([simple("t", kind)])
    task = official.poll(kind)
    result = {"workflowInstanceId": run, "taskId": task.task_id, "status": "CANCELED", "reasonForIncompletion": "not wanted"}
    plain.ok("POST", "/api/tasks", result)
    found = official.ended(run, "TERMINATED")
    assert "not wanted" in found.reason_for_incompletion


# ---- time-outs


@retried_when_slow
def test_timeouts_by_policy(official: Official) -> None:
    """One second each, all at the same time."""
    runs = {}
    for policy in ("RETRY", "TIME_OUT_WF", "ALERT_ONLY"):
        kind = unique(policy.lower())
        official.task_def(kind, retryCount=0, timeoutSeconds=1, responseTimeoutSeconds=1, timeoutPolicy=policy)
        poll = unique("poll")
        official.task_def(poll, retryCount=0, pollTimeoutSeconds=1, timeoutPolicy=policy)
        runs[policy] = official.run([simple("t", poll)])
    long = unique("attempt")
    official.task_def(long, retryCount=1, retryDelaySeconds=0, timeoutSeconds=1, responseTimeoutSeconds=1, timeoutPolicy="RETRY")
    attempt = official.run([simple("t", long)])
    first = official.poll(long)
    wide = official.run([wait("w")], timeoutSeconds=1, timeoutPolicy="TIME_OUT_WF")
    alert = official.run([wait("w")], timeoutSeconds=1, timeoutPolicy="ALERT_ONLY")

    found = official.ended(runs["TIME_OUT_WF"], "TIMED_OUT")
    assert "Task poll timed out after" in found.reason_for_incompletion
    assert "Poll timeout configured as 1 seconds. Timeout policy configured to TIME_OUT_WF" in found.reason_for_incompletion
    assert statuses(found)["t"] == "TIMED_OUT"
    assert found.end_time - found.start_time > 900
    promised(found.end_time - found.start_time, 5_000)
    assert statuses(official.ended(runs["RETRY"], "TIMED_OUT"))["t"] == "TIMED_OUT"

    with within(0.8):  # or it times out too
        second = official.poll(long)
        official.finish(second)
    assert second.retried_task_id == first.task_id
    assert [task.status for task in official.ended(attempt).tasks] == ["TIMED_OUT", "COMPLETED"]

    found = official.ended(wide, "TIMED_OUT")
    assert "Timeout configured as 1 seconds. Timeout policy configured to TIME_OUT_WF" in found.reason_for_incompletion
    assert found.reason_for_incompletion.startswith("Workflow timed out after")
    assert found.end_time - found.start_time > 900
    promised(found.end_time - found.start_time, 3_000)
    assert statuses(found)["w"] == "CANCELED"
    for run in (alert, runs["ALERT_ONLY"]):
        assert official.get(run).status == "RUNNING"
        official.workflows.terminate_workflow(run)


@retried_when_slow
def test_a_total_timeout_counts_all_attempts(official: Official) -> None:
    kind = unique("total")
    official.task_def(kind, retryCount=10_000, retryDelaySeconds=0, totalTimeoutSeconds=1, responseTimeoutSeconds=10)
    run = official.run([simple("t", kind)])
    attempts = 0
    while official.get(run).status == "RUNNING":
        for task in official.tasks.batch_poll_tasks(kind, "w1", 1, 50):
            official.finish(task, "FAILED")
            attempts += 1
    found = official.get(run)
    assert found.status in {"TIMED_OUT", "FAILED"}
    assert found.end_time - found.start_time >= 900
    promised(found.end_time - found.start_time, 5_000)
    assert attempts > 1


# ---- failure workflows


def test_the_failure_workflow_gets_what_failed(official: Official) -> None:
    kind, comp = unique("bad"), unique("comp")
    sequel = official.register(unique("sequel"), [simple("c", comp, inputParameters={"all": "${workflow.input}"})])
    name = official.register(unique("failing"), [simple("t", kind, retryCount=0)], failureWorkflow=sequel)
    run = official.start(name, {"order": {"n": 1}}, correlation_id="c")
    bad = official.work(kind, status="FAILED", reason_for_incompletion="broken")
    task = official.poll(comp)
    found = task.input_data["all"]
    assert (found["order"], found["workflowId"], found["failureStatus"]) == ({"n": 1}, run, "FAILED")
    assert found["failureTaskId"] == bad.task_id
    assert "broken" in found["reason"]
    assert found["failedWorkflow"]["workflowId"] == run
    assert official.get(task.workflow_instance_id).correlation_id == "c"
    assert official.ended(run, "FAILED").output["conductor.failure_workflow"] == task.workflow_instance_id


def test_a_failure_workflow_that_does_not_exist_is_told_in_the_output(official: Official) -> None:
    run = official.run([step("INLINE", "i", inputParameters={"expression": "null.x"})], failureWorkflow=unique("absent"))
    found = official.ended(run, "FAILED")
    assert "conductor.failure_workflow" in found.output
    assert "failed to start" in found.output["conductor.failure_workflow"]


# ---- three levels


def levels(official: Official, kind: str) -> tuple[str, list[str]]:
    """Starts top, which calls middle, which calls bottom, which needs a worker. Ids of the three runs."""
    bottom = official.register(unique("bottom"), [simple("t", kind, retryCount=0)], outputParameters={"x": "${t.output.x}"})
    middle = official.register(
        unique("middle"),
        [step("SUB_WORKFLOW", "down", subWorkflowParam={"name": bottom, "version": 1})],
        outputParameters={"x": "${down.output.x}"},
    )
    name = official.register(
        unique("top"),
        [step("SUB_WORKFLOW", "down", subWorkflowParam={"name": middle, "version": 1})],
        outputParameters={"x": "${down.output.x}"},
    )
    top = official.start(name)
    second = official.opened(top, "down").sub_workflow_id
    third = official.opened(second, "down").sub_workflow_id
    return name, [top, second, third]


def test_retry_at_the_bottom_revives_the_parents(official: Official) -> None:
    kind = unique("deep")
    _, runs = levels(official, kind)
    official.work(kind, status="FAILED", reason_for_incompletion="broken")
    for run in runs:
        official.ended(run, "FAILED")
    assert "broken" in official.get(runs[0]).reason_for_incompletion
    official.workflows.retry_workflow(runs[2])
    for run in runs[:2]:
        found = official.until(run, lambda found: found.status == "RUNNING", "the parents run again")
        assert statuses(found)["down"] == "IN_PROGRESS"
    task = official.poll(kind)
    assert task.workflow_instance_id == runs[2]
    official.finish(task, output={"x": 7})
    for run in runs:
        assert official.ended(run).output == {"x": 7}


def test_retry_at_the_top_with_the_children(official: Official) -> None:
    kind = unique("deep")
    _, runs = levels(official, kind)
    official.work(kind, status="FAILED", reason_for_incompletion="broken")
    official.ended(runs[0], "FAILED")
    official.workflows.retry_workflow(runs[0], resume_subworkflow_tasks=True)
    task = official.poll(kind)
    assert task.workflow_instance_id == runs[2]
    official.finish(task, output={"x": 8})
    for run in runs:
        assert official.ended(run).output == {"x": 8}


def test_retry_at_the_top_starts_the_child_anew(official: Official) -> None:
    kind = unique("deep")
    _, runs = levels(official, kind)
    official.work(kind, status="FAILED", reason_for_incompletion="broken")
    official.ended(runs[0], "FAILED")
    official.workflows.retry_workflow(runs[0])
    task = official.poll(kind)
    assert task.workflow_instance_id not in runs
    official.finish(task, output={"x": 9})
    found = official.ended(runs[0])
    assert found.output == {"x": 9}
    assert [each.status for each in tasks_of(found, "down")] == ["FAILED", "COMPLETED"]
    assert official.get(runs[2]).status == "FAILED"
