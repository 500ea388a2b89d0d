"""The worker's part through the official client: polling, the ways to report, leases, logs and queues."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.acceptance.official import (
    Official,
    Plain,
    refused,
    result_of,
    simple,
    task_of,
    tasks_of,
    unique,
    wait,
)
from tests.patience import PATIENCE, eventually, retried_when_slow, within


def update_v2(official: Official, task: Any, status: str = "COMPLETED", output: Any = None, **more: Any) -> Any:
    """The worker loop's own call: the next task, None when there is none."""
    found = official.tasks.taskResourceApi.update_task_v2(result_of(task, status, output, **more))
    return found if found is not None and found.task_id else None


# ---- polling


def test_a_polled_task_says_all_that_a_worker_needs(official: Official) -> None:
    kind = unique("poll")
    official.task_def(kind, responseTimeoutSeconds=33, inputTemplate={"default": 1, "given": "no"})
    task = simple(
        "t",
        kind,
        inputParameters={"given": "${workflow.input.x}", "fixed": [1, None, {"a": "b"}], "run": "${workflow.workflowId}"},
    )
    name = official.register(unique("wf"), [task])
    run = official.start(name, {"x": {"y": 2.5}}, correlation_id="c", priority=9)
    found = official.poll(kind)
    assert (found.task_type, found.task_def_name, found.reference_task_name) == (kind, kind, "t")
    assert (found.workflow_instance_id, found.workflow_type, found.correlation_id) == (run, name, "c")
    assert found.input_data == {"given": {"y": 2.5}, "fixed": [1, None, {"a": "b"}], "run": run, "default": 1}
    assert (found.status, found.poll_count, found.retry_count, found.worker_id) == ("IN_PROGRESS", 1, 0, "w1")
    assert (found.response_timeout_seconds, found.workflow_priority, found.callback_after_seconds) == (33, 9, 0)
    assert found.scheduled_time <= found.start_time
    assert found.workflow_task.task_reference_name == "t"
    assert official.idle(kind)
    official.finish(found)
    official.ended(run)


def test_a_batch_has_at_most_what_was_asked_for_and_each_task_once(official: Official) -> None:
    kind = unique("batch")
    name = official.register(unique("wf"), [simple("t", kind)])
    runs = {official.start(name) for _ in range(10)}
    first = official.tasks.batch_poll_tasks(kind, worker_id="w1", count=7, timeout_in_millisecond=100)
    second = official.tasks.batch_poll_tasks(kind, worker_id="w2", count=7, timeout_in_millisecond=100)
    assert (len(first), len(second)) == (7, 3)
    assert {task.workflow_instance_id for task in [*first, *second]} == runs
    assert {task.worker_id for task in second} == {"w2"}


@retried_when_slow
def test_a_long_poll_is_answered_when_a_task_comes(official: Official) -> None:
    kind = unique("long")
    name = official.register(unique("wf"), [simple("t", kind)])
    with ThreadPoolExecutor(1) as pool, within(4.5):
        polling = pool.submit(official.tasks.batch_poll_tasks, kind, "w1", 5, 5000)
        eventually(lambda: official.tasks.get_task_poll_data(kind), "the poll has come")
        run = official.start(name)
        [task] = polling.result(PATIENCE)
    assert task.workflow_instance_id == run


@retried_when_slow
def test_an_empty_poll_waits_as_long_as_it_is_told(official: Official) -> None:
    kind = unique("none")
    with within(4.5):
        assert official.tasks.batch_poll_tasks(kind, "w1", 5, 300) == []
    error = refused(official.tasks.batch_poll_tasks, kind, "w1", 1, 5001)
    assert error.status == 400
    assert "timeout" in error.message


def test_higher_priority_first_then_first_come_first_served(official: Official) -> None:
    kind = unique("order")
    name = official.register(unique("wf"), [simple("t", kind)])
    runs = [official.start(name, priority=priority) for priority in (0, 0, 5, 0)]
    polled = [task.workflow_instance_id for task in official.tasks.batch_poll_tasks(kind, "w1", 10, 100)]
    assert sorted(polled) == sorted(runs)
    assert [run for run in polled if run != runs[2]] == [runs[0], runs[1], runs[3]]


def test_domains_keep_workers_apart(official: Official) -> None:
    kind = unique("domain")
    name = official.register(unique("wf"), [simple("t", kind)])
    blue = official.start(name, task_to_domain={kind: "blue"})
    everything = official.start(name, task_to_domain={"*": "blue"})
    free = official.start(name)
    plain_tasks = official.tasks.batch_poll_tasks(kind, "w1", 10, 1)
    assert [task.workflow_instance_id for task in plain_tasks] == [free]
    blue_tasks = official.tasks.batch_poll_tasks(kind, "w1", 10, 100, domain="blue")
    assert [task.workflow_instance_id for task in blue_tasks] == [blue, everything]
    assert {task.domain for task in blue_tasks} == {"blue"}
    assert official.tasks.batch_poll_tasks(kind, "w1", 10, 1, domain="red") == []


def test_a_task_type_may_hold_any_character(official: Official) -> None:
    kind = unique("a/b c%2F:é?#&=+")
    run = official.run([simple("t", kind)])
    task = official.work(kind, {"ok": True})
    assert task.workflow_instance_id == run
    assert official.ended(run).output == {"ok": True}


# ---- reporting


def test_update_completes_and_its_repeat_changes_nothing(official: Official) -> None:
    kind = unique("update")
    run = official.run([simple("t", kind)])
    task = official.poll(kind)
    output = {"text": "ü", "nested": {"list": [1, None, 2.5], "none": None}, "empty": {}, "no": False}
    assert official.finish(task, output=output) == task.task_id
    found = official.ended(run)
    done = task_of(found, "t")
    assert (done.output_data, found.output) == (output, output)
    assert done.start_time <= done.end_time
    assert official.finish(task, "FAILED", {"late": True}, reason_for_incompletion="late") == task.task_id
    after = official.get(run)
    assert (after.status, after.output, after.update_time) == ("COMPLETED", output, found.update_time)


def test_update_v2_answers_with_the_next_task(official: Official) -> None:
    kind = unique("chain")
    run = official.run([simple("a", kind), simple("b", kind, inputParameters={"from": "${a.output.x}"}), simple("c", kind)])
    task = official.poll(kind)
    task = update_v2(official, task, output={"x": 1})
    assert (task.reference_task_name, task.input_data, task.status) == ("b", {"from": 1}, "IN_PROGRESS")
    task = update_v2(official, task)
    assert task.reference_task_name == "c"
    assert update_v2(official, task) is None
    assert [(each.status, each.poll_count) for each in official.ended(run).tasks] == [("COMPLETED", 1)] * 3


def test_update_v2_of_what_is_over_or_unknown_is_no_error(official: Official) -> None:
    """An error would make the package's worker fall back to slower calls for good."""
    kind = unique("late")
    run = official.run([simple("t", kind)])
    task = official.poll(kind)
    official.workflows.terminate_workflow(run)
    assert update_v2(official, task) is None
    task.task_id = "nonsense"
    assert update_v2(official, task) is None
    assert official.get(run).status == "TERMINATED"


def test_update_v2_hands_out_the_retry_of_what_just_failed(official: Official) -> None:
    kind = unique("failing")
    official.task_def(kind, retryCount=1, retryDelaySeconds=0)
    run = official.run([simple("t", kind)])
    first = official.poll(kind)
    second = update_v2(official, first, "FAILED", reason_for_incompletion="once")
    assert (second.retried_task_id, second.retry_count) == (first.task_id, 1)
    update_v2(official, second, output={"second": True})
    assert official.ended(run).output == {"second": True}


def test_updates_of_the_unknown_are_404(official: Official) -> None:
    kind = unique("unknown")
    run = official.run([simple("t", kind)])
    task = official.poll(kind)
    good = task.task_id
    task.task_id = "nonsense"
    error = refused(official.finish, task)
    assert (error.status, error.message) == (404, "No such task found by id: nonsense")
    task.task_id, task.workflow_instance_id = good, "nonsense"
    error = refused(official.finish, task)
    assert (error.status, error.message) == (404, "No such workflow found by id: nonsense")
    assert official.get(run).status == "RUNNING"


@retried_when_slow
def test_in_progress_comes_back_after_its_time_with_what_it_had(official: Official) -> None:
    kind = unique("slowly")
    run = official.run([simple("t", kind)])
    task = official.poll(kind)
    official.finish(task, "IN_PROGRESS", {"part": 1}, callback_after_seconds=1)
    shown = task_of(official.get(run), "t")
    assert (shown.status, shown.output_data) == ("SCHEDULED", {"part": 1})
    assert official.idle(kind)
    with within(5):
        again = official.poll(kind)
    assert (again.task_id, again.poll_count, again.output_data) == (task.task_id, 2, {"part": 1})
    official.finish(again, output={"part": 2})
    assert official.ended(run).output == {"part": 2}


def test_failed_with_terminal_error_is_not_retried(official: Official) -> None:
    kind = unique("terminal")
    official.task_def(kind, retryCount=5, retryDelaySeconds=0)
    run = official.run([simple("t", kind)])
    task = official.work(kind, {"seen": 1}, status="FAILED_WITH_TERMINAL_ERROR", reason_for_incompletion="hopeless")
    found = official.ended(run, "FAILED")
    [only] = found.tasks
    assert (only.status, only.output_data, only.reason_for_incompletion) == (
        "FAILED_WITH_TERMINAL_ERROR",
        {"seen": 1},
        "hopeless",
    )
    assert found.reason_for_incompletion == f"Task {task.task_id} failed with status: FAILED and reason: 'hopeless'"


def test_update_by_reference(official: Official) -> None:
    run = official.run([wait("a"), wait("b")])
    found = official.tasks.update_task_by_ref_name(run, "a", "COMPLETED", {"x": 1})
    assert found == task_of(official.get(run), "a").task_id
    assert task_of(official.get(run), "a").output_data == {"result": {"x": 1}}
    for reference in ("a", "nothing"):  # over already; never there
        assert official.tasks.update_task_by_ref_name(run, reference, "COMPLETED", {}) in {None, ""}
    assert official.tasks.update_task_by_ref_name("nonsense", "a", "COMPLETED", {}) in {None, ""}
    official.tasks.update_task_by_ref_name(run, "b", "FAILED_WITH_TERMINAL_ERROR", {"why": "no"})
    assert task_of(official.ended(run, "FAILED"), "b").output_data == {"result": {"why": "no"}}


def test_update_by_reference_with_the_run_as_the_answer(official: Official) -> None:
    run = official.run([wait("a"), wait("b")])
    found = official.tasks.update_task_sync(run, "a", "COMPLETED", {"x": 1})
    assert (found.workflow_id, found.status) == (run, "RUNNING")
    assert task_of(found, "a").output_data == {"x": 1}
    assert task_of(found, "b").status == "IN_PROGRESS"
    error = refused(official.tasks.update_task_sync, run, "a", "COMPLETED", {})
    assert (error.status, error.message) == (404, f"Found no running task a of workflow {run} to update")
    assert official.tasks.update_task_sync(run, "b", "COMPLETED", "text").output == {"result": "text"}


def test_the_executors_updates(official: Official) -> None:
    kind = unique("executor")
    run = official.run([simple("t", kind), wait("a"), wait("b")])
    task = official.poll(kind)
    official.executor.update_task(task.task_id, run, {"x": 1}, "COMPLETED")
    official.executor.update_task_by_ref_name({"y": 2}, run, "a", "COMPLETED")
    found = official.executor.update_task_by_ref_name_sync({"z": 3}, run, "b", "COMPLETED")
    assert found.status == "COMPLETED"
    assert [each.output_data for each in found.tasks] == [{"x": 1}, {"y": 2}, {"z": 3}]


# ---- leases


@retried_when_slow
def test_a_lease_that_is_extended_keeps_the_task(official: Official) -> None:
    kind, other = unique("lease"), unique("lost")
    for name in (kind, other):
        official.task_def(name, responseTimeoutSeconds=1, retryCount=1, retryDelaySeconds=0)
    kept, lost = official.run([simple("t", kind)]), official.run([simple("t", other)])
    stale = official.poll(other)
    task = official.poll(kind)

    def timed_out() -> bool:
        """A heartbeat, in time; whether twice the time-out is over, and the other one's task was taken back."""
        with within(0.8):
            official.tasks.update_task(result_of(task, "IN_PROGRESS", extend_lease=True))
            return len(tasks_of(official.get(lost), "t")) == 2 and time.time() * 1000 > task.start_time + 2_000

    eventually(timed_out, "the time-out comes", look=0.15)
    [only] = official.get(kept).tasks
    assert (only.status, only.poll_count) == ("IN_PROGRESS", 1)
    official.finish(task, output={"kept": True})
    assert official.ended(kept).output == {"kept": True}

    first, second = official.get(lost).tasks
    assert (first.status, first.task_id) == ("TIMED_OUT", stale.task_id)
    assert "responseTimeout: 1 exceeded" in first.reason_for_incompletion
    official.finish(stale, output={"too": "late"})
    again = official.poll(other)
    assert again.task_id == second.task_id
    official.finish(again, output={"second": True})
    assert official.ended(lost).output == {"second": True}


# ---- logs and queues


def test_logs_by_themselves_and_with_an_update(official: Official) -> None:
    kind = unique("logs")
    run = official.run([simple("t", kind)])
    task = official.poll(kind)
    assert official.tasks.get_task_logs(task.task_id) in ([], None)
    before = time.time() * 1000
    lines = ["plain", 'with "quotes" and \\ and\nlines\tand ü', "{not: json", "[1, 2]", "5", ""]
    for line in lines[:-1]:
        official.tasks.add_task_log(task.task_id, line)
    found = official.tasks.get_task_logs(task.task_id)
    assert [each.log for each in found] == lines[:-1]
    assert {each.task_id for each in found} == {task.task_id}
    assert all(before - 5_000 < each.created_time < time.time() * 1000 + 5_000 for each in found)

    result = result_of(task, "COMPLETED")
    result.log("from the result")
    official.tasks.update_task(result)
    found = official.tasks.get_task_logs(task.task_id)
    assert found[-1].log == "from the result"
    assert all(before - 5_000 < each.created_time < time.time() * 1000 + 5_000 for each in found)
    official.ended(run)
    assert official.tasks.get_task_logs("nonsense") in ([], None)


def test_queue_sizes_count_what_may_be_polled(official: Official) -> None:
    kind = unique("sizes")
    name = official.register(unique("wf"), [simple("t", kind)])
    for _ in range(3):
        official.start(name)
    assert official.tasks.get_queue_size_for_task(kind) == 3
    official.poll(kind)
    assert official.tasks.get_queue_size_for_task(kind) == 2
    other = unique("empty")
    assert official.tasks.taskResourceApi.size(task_type=[kind, other]) == {kind: 2, other: 0}
    assert official.tasks.taskResourceApi.all()[kind] == 2


def test_poll_data_says_who_polled_when(official: Official) -> None:
    kind = unique("polled")
    before = time.time() * 1000
    official.tasks.batch_poll_tasks(kind, "worker-7", 1, 1, domain="d")
    [found] = official.tasks.get_task_poll_data(kind)
    assert (found.queue_name, found.worker_id, found.domain) == (kind, "worker-7", "d")
    assert before - 5_000 < found.last_poll_time < time.time() * 1000 + 5_000
    assert kind in {each.queue_name for each in official.tasks.taskResourceApi.get_all_poll_data()}


def test_unknown_tasks_are_404(official: Official) -> None:
    error = refused(official.tasks.get_task, "nonsense")
    assert (error.status, error.message) == (404, "Task not found for taskId: nonsense")


# ---- delays


def test_a_start_delay_hides_the_task_for_its_seconds(official: Official) -> None:
    kind = unique("delay")
    run = official.run([simple("t", kind, startDelay=1)])
    assert official.idle(kind)
    task = official.poll(kind)
    assert task.start_time - task.scheduled_time >= 900
    official.finish(task)
    official.ended(run)


def test_a_page_of_nothing_is_an_empty_list_on_the_wire(plain: Plain) -> None:
    answer = plain.call("GET", f"/api/tasks/poll/batch/{unique('x')}?timeout=1")
    assert (answer.status, answer.json) == (200, [])
    answer = plain.call("GET", f"/api/tasks/poll/{unique('x')}")
    assert (answer.status, answer.body) == (204, b"")
