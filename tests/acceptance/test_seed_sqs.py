"""The documented round trip: a workflow sends itself a message through SQS, and an event handler completes its WAIT with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.doubling import Doubling
from tests.acceptance.official import Official, Plain, statuses, task_of, tasks_of, unique, wait
from tests.patience import eventually
from tests.server.running import fresh
from tests.sqs_server import SqsServer

QUEUE = "conductor_doug_testing"
# As it is documented, the unknown key `input` included.
HANDLER = """
{
  "name": "complete_task_event",
  "event": "sqs:conductor_doug_testing",
  "actions": [
    {
      "action": "complete_task",
      "complete_task": {
        "workflowId": "${workflowInstanceId}",
        "taskRefName": "task_1_ref",
        "input": {
        }
      }
    }
  ],
  "active": true
}
"""


def workflow(queue: str = QUEUE, before: tuple[Any, ...] = (), pause: str = "1s") -> list[dict[str, Any]]:
    """The documented tasks; `before`: what stands before task_1 in its branch."""
    sends = {
        "name": "send_sqs_message",
        "taskReferenceName": "send_sqs_message_ref",
        "inputParameters": {},
        "type": "EVENT",
        "sink": f"sqs:{queue}",
    }
    return [
        {
            "name": "fork",
            "taskReferenceName": "fork_ref",
            "type": "FORK_JOIN",
            "forkTasks": [
                [*before, {"name": "task_1", "taskReferenceName": "task_1_ref", "type": "WAIT"}],
                [
                    {
                        "name": "task_2",
                        "taskReferenceName": "task_2_ref",
                        "type": "WAIT",
                        "inputParameters": {"duration": pause},
                    },
                    sends,
                ],
            ],
        },
        {"name": "join", "taskReferenceName": "join_ref", "type": "JOIN", "joinOn": ["task_1_ref", "send_sqs_message_ref"]},
    ]


def handler(queue: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(HANDLER)
    return {**found, "name": name, "event": f"sqs:{queue}"}


def url_of(sqs: Any, queue: str) -> str:
    return str(sqs.create_queue(QueueName=queue)["QueueUrl"])


def waiting_messages(sqs: Any, queue: str) -> int:
    """Messages that are on the queue or with a receiver."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url_of(sqs, queue), AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def completed_by_message(run: Any) -> str:
    """Checks that the handler completed the run's WAIT, and gives the message's id."""
    task = task_of(run, "task_1_ref")
    assert len(tasks_of(run, "task_1_ref")) == 1
    output = dict(task.output_data)
    message = output.pop("conductor.event.messageId")
    assert message
    event = output.pop("conductor.event.name")
    assert event == task_of(run, "send_sqs_message_ref").output_data["sink"]
    assert output == {
        "workflowId": run.workflow_id,
        "taskRefName": "task_1_ref",
        "taskId": None,
        "reasonForIncompletion": None,
    }
    assert set(statuses(run).values()) == {"COMPLETED"}
    return str(message)


def test_the_handler_is_there_before_the_run(official: Official) -> None:
    official.register("event_testing", workflow())
    official.events.add_event_handler(json.loads(HANDLER))
    run = official.start("event_testing", version=1)
    completed_by_message(official.ended(run))
    [found] = official.workflows.workflowResourceApi.api_client.call_api(
        "/event/{event}", "GET", {"event": f"sqs:{QUEUE}"}, response_type="list[EventHandler]", _return_http_data_only=True
    )
    assert (found.name, found.active, found.actions[0].complete_task.task_ref_name) == ("complete_task_event", True, "task_1_ref")


def test_the_handler_comes_after_the_message_which_has_the_documented_payload(official: Official, sqs: Any) -> None:
    queue, name = unique("late"), unique("event_testing")
    official.register(name, workflow(queue))
    run = official.start(name)
    official.opened(run, "send_sqs_message_ref", "COMPLETED")
    [message] = eventually(
        lambda: sqs.receive_message(
            QueueUrl=url_of(sqs, queue), VisibilityTimeout=0, MessageAttributeNames=["All"], WaitTimeSeconds=1
        ).get("Messages"),
        "the message is on the queue",
    )
    payload = json.loads(message["Body"])
    documented = {
        "workflowType": name,
        "correlationId": None,
        "workflowVersion": 1,
        "asyncComplete": False,
        "workflowInstanceId": run,
        "sink": f"sqs:{queue}",
    }
    assert {key: payload[key] for key in documented} == documented
    assert set(payload) - set(documented) == {"taskToDomain", "event_produced"}
    assert payload == task_of(official.get(run), "send_sqs_message_ref").output_data
    assert message["MessageAttributes"]["pelton-id"]["StringValue"]
    assert statuses(official.get(run))["task_1_ref"] == "IN_PROGRESS"

    official.events.add_event_handler(handler(queue, unique("late")))
    assert completed_by_message(official.ended(run)) == message["MessageId"]
    eventually(lambda: waiting_messages(sqs, queue) == 0, "the message is deleted")


def test_correlation_and_input_are_in_the_payload(official: Official, sqs: Any) -> None:
    queue = unique("payload")
    tasks = [
        {
            "name": "send",
            "taskReferenceName": "send_ref",
            "type": "EVENT",
            "sink": "sqs:${workflow.input.queue}",
            "inputParameters": {"myKey": "${workflow.input.value}", "myNumber": 100, "workflowInstanceId": "overwritten"},
        }
    ]
    name = official.register(unique("payload"), tasks)
    run = official.start(name, {"queue": queue, "value": {"a": [1, None, "ü"]}}, correlation_id="corr-1")
    official.ended(run)
    [message] = eventually(
        lambda: sqs.receive_message(QueueUrl=url_of(sqs, queue), WaitTimeSeconds=1).get("Messages"), "the message is on the queue"
    )
    payload = json.loads(message["Body"])
    assert payload["myKey"] == {"a": [1, None, "ü"]}
    assert payload["myNumber"] == 100
    assert payload["correlationId"] == "corr-1"
    assert payload["workflowInstanceId"] == run
    assert payload["sink"] == f"sqs:{queue}"


def test_the_message_comes_before_the_wait_opens(official: Official, plain: Plain, sqs: Any) -> None:
    queue, name = unique("early"), unique("event_testing")
    official.register(name, workflow(queue, before=(wait("gate"),)))
    official.events.add_event_handler(handler(queue, unique("early")))
    run = official.start(name)
    sent = sqs.send_message(QueueUrl=url_of(sqs, queue), MessageBody=json.dumps({"workflowInstanceId": run, "by": "test"}))
    eventually(lambda: len(plain.events(f"sqs:{queue}")) == 2, "both messages are taken")
    early = official.get(run)
    assert "task_1_ref" not in statuses(early)
    assert early.status == "RUNNING"
    assert len(plain.ok("GET", "/v1/held")["held"]) >= 1

    official.tasks.update_task_by_ref_name(run, "gate", "COMPLETED", {})
    assert completed_by_message(official.ended(run)) == sent["MessageId"]
    eventually(lambda: waiting_messages(sqs, queue) == 0, "both messages are deleted")


def test_twenty_runs_at_once(official: Official, sqs: Any) -> None:
    queue, name = unique("crowd"), unique("event_testing")
    official.register(name, workflow(queue))
    official.events.add_event_handler(handler(queue, unique("crowd")))
    with ThreadPoolExecutor(20) as pool:
        runs = list(pool.map(lambda number: official.start(name, {"number": number}), range(20)))
    assert len(set(runs)) == 20
    messages = {completed_by_message(official.ended(run)) for run in runs}
    assert len(messages) == 20
    eventually(lambda: waiting_messages(sqs, queue) == 0, "all messages are deleted")


# ---- twice


@pytest.fixture
def doubling(sqs_server: SqsServer) -> Iterator[Doubling]:
    found = Doubling(sqs_server.url, sends=True)
    yield found
    found.close()


@pytest.fixture
def doubled(doubling: Doubling, tmp_path: Path, aws: None) -> Iterator[tuple[Official, Plain]]:
    """Clients of a server whose SQS service doubles everything."""
    process = fresh(tmp_path / "data", "--sqs-endpoint", doubling.url)
    official, plain = Official(process.address), Plain(process.address)
    yield official, plain
    official.close()
    plain.close()
    assert process.stop() == 0, "\n".join(process.log)


def test_a_message_that_comes_twice_takes_effect_once(doubled: tuple[Official, Plain], doubling: Doubling, sqs: Any) -> None:
    official, plain = doubled
    queue, name, counted = unique("twice"), unique("event_testing"), unique("counted")
    official.register(name, workflow(queue))
    official.register(counted, [wait("stays_open")])
    official.events.add_event_handler(handler(queue, unique("twice")))
    start = {"name": counted, "version": 1, "input": {"run": "${workflowInstanceId}"}}
    official.handler(unique("count"), f"sqs:{queue}", "start_workflow", start)
    runs = [official.start(name) for _ in range(5)]
    first = {run: completed_by_message(official.ended(run)) for run in runs}
    before = {run: official.get(run).update_time for run in runs}

    # Each was sent twice, so that two messages of a run are on the queue, and each of these was handed out twice.
    eventually(lambda: doubling.again >= 10 and waiting_messages(sqs, queue) == 0, "everything is taken, twice, and deleted")
    events = plain.events(f"sqs:{queue}")
    assert len(events) == len({event["id"] for event in events}) == 5  # two copies of what a run sent are one event
    assert first == {run: completed_by_message(official.get(run)) for run in runs}
    assert before == {run: official.get(run).update_time for run in runs}
    started = official.workflows.workflowResourceApi.get_running_workflow(counted)
    inputs = [official.get(run).input for run in started]
    # One start for each run: neither the copy of its message nor a second delivery makes another.
    assert sorted(each["run"] for each in inputs) == sorted(runs)
