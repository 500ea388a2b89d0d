"""What goes wrong outside: messages that nobody can use, handlers that fail, a queue service that is away. It is shown, it hurts
nobody else, and it heals by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.official import Official, Plain, statuses, step, task_of, unique, wait
from tests.acceptance.pulse import Pulse
from tests.patience import eventually
from tests.server.running import fresh
from tests.sqs_server import SqsServer, free_port

AWAY = 60.0  # seconds within which all is well again once the service is back


def url_of(sqs: Any, queue: str) -> str:
    return str(sqs.create_queue(QueueName=queue)["QueueUrl"])


def left(sqs: Any, queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url_of(sqs, queue), AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def dead_letters(plain: Plain, word: str) -> list[Any]:
    """Those whose address or body has the word."""
    found = plain.ok("GET", "/v1/dead-letters?limit=1000")["dead_letters"]
    return [each for each in found if word in json.dumps(each)]


def metric(plain: Plain, name: str, label: str) -> float | None:
    for line in plain.call("GET", "/metrics").text.splitlines():
        if line.startswith(name + "{") and label in line:
            return float(line.rpartition(" ")[2])
    return None


# ---- poison


def test_messages_that_are_not_json_are_text_and_block_nothing(official: Official, plain: Plain, sqs: Any) -> None:
    queue, target = unique("poison"), official.register(unique("target"), [wait("w")])
    official.handler(unique("h"), f"sqs:{queue}", "start_workflow", {"name": target, "input": {"n": "${n}", "all": "${$}"}})
    bodies = ["hello", "{", "\ufeff", '{"n": NaN}', "<xml/>", '{"n": 1}', "]", '{"n": 2}']
    for body in bodies:
        sqs.send_message(QueueUrl=url_of(sqs, queue), MessageBody=body)
    running = official.workflows.workflowResourceApi.get_running_workflow
    eventually(lambda: len(running(target)) == 8, "each is taken")
    eventually(lambda: left(sqs, queue) == 0, "nothing is left on the queue")
    inputs = [official.get(run).input for run in running(target)]
    assert sorted(each["n"] for each in inputs if each["n"] is not None) == [1, 2]
    assert {each["all"] for each in inputs if each["n"] is None} == {"hello", "{", "\ufeff", '{"n": NaN}', "<xml/>", "]"}
    assert dead_letters(plain, queue) == []
    assert plain.ok("GET", "/health")["healthy"] is True


@pytest.mark.parametrize("condition", ["$.a.b.c > 1", "nosuch()", "throw new Error('x')", "null.x"])
def test_a_handler_whose_condition_fails_is_recorded_and_blocks_nothing(
    official: Official, plain: Plain, sqs: Any, condition: str
) -> None:
    queue, target = unique("failing"), official.register(unique("target"), [wait("w")])
    bad = official.handler(unique("bad"), f"sqs:{queue}", "start_workflow", {"name": target, "input": {}}, condition=condition)
    official.handler(unique("good"), f"sqs:{queue}", "start_workflow", {"name": target, "input": {}})
    for number in range(3):
        sqs.send_message(QueueUrl=url_of(sqs, queue), MessageBody=json.dumps({"n": number}))
    eventually(lambda: len(official.workflows.workflowResourceApi.get_running_workflow(target)) == 3, "the good handler fires")
    eventually(lambda: left(sqs, queue) == 0, "nothing is left on the queue")
    for event in plain.events(f"sqs:{queue}"):
        [decision] = [each for each in plain.ok("GET", f"/v1/events/{event['key']}")["decisions"] if each["handler"] == bad]
        assert decision["verdict"] == "failed"
        assert "Error" in decision["detail"]


def test_a_handler_whose_action_cannot_be_carried_out_is_recorded(official: Official, plain: Plain, sqs: Any) -> None:
    queue = unique("absent")
    for name, action, member in (
        ("start", "start_workflow", {"name": unique("absent"), "input": {}}),
        ("complete", "complete_task", {"workflowId": "${nothing}", "taskRefName": "r"}),
        ("fail", "fail_task", {"workflowId": "8f0b1a52-0000-4000-8000-000000000000", "taskRefName": "r"}),
        ("terminate", "terminate_workflow", {"workflowId": "nonsense"}),
    ):
        official.handler(f"{name}_{queue}", f"sqs:{queue}", action, member)
    sqs.send_message(QueueUrl=url_of(sqs, queue), MessageBody='{"n": 1}')
    eventually(lambda: plain.events(f"sqs:{queue}") and left(sqs, queue) == 0, "the message is taken")
    [event] = plain.events(f"sqs:{queue}")
    found = plain.ok("GET", f"/v1/events/{event['key']}")
    outcomes = {each["handler"].partition("_")[0]: each for each in found["effects"]}
    assert {name: each["outcome"] for name, each in outcomes.items()} == dict.fromkeys(
        ("start", "complete", "fail", "terminate"), "failed"
    )
    assert all(each["detail"] for each in outcomes.values())


def test_what_a_sink_will_never_take_is_a_dead_letter(official: Official, plain: Plain, sqs: Any) -> None:
    """SQS takes 256 KB at most. The run goes on: its message was on its way out, and can be sent again."""
    queue = unique("large")
    tasks = [step("EVENT", "e", sink=f"sqs:{queue}", inputParameters={"x": "${workflow.input.x}"})]
    large = official.run(tasks, {"x": "x" * 300_000})
    small = official.run(tasks, {"x": "small"})
    assert official.ended(large).workflow_id == large
    official.ended(small)
    [letter] = eventually(lambda: dead_letters(plain, queue), "the message is given up")
    assert letter["direction"] == "out"
    assert "262144" in letter["reason"].replace(",", "")
    [message] = eventually(
        lambda: sqs.receive_message(QueueUrl=url_of(sqs, queue), WaitTimeSeconds=1).get("Messages"), "the small one arrives"
    )
    assert json.loads(message["Body"])["workflowInstanceId"] == small


# ---- a service that is away


@pytest.fixture
def away(tmp_path: Path) -> Iterator[SqsServer]:
    """A queue service that is not running yet."""
    found = SqsServer(tmp_path, free_port())
    yield found
    found.stop()


@pytest.fixture
def cut_off(away: SqsServer, tmp_path: Path, aws: None) -> Iterator[tuple[Official, Plain, Pulse]]:
    process = fresh(tmp_path / "data", "--sqs-endpoint", away.url)
    official, plain, pulse = Official(process.address), Plain(process.address), Pulse(process)
    yield official, plain, pulse
    pulse.stop()
    official.close()
    plain.close()
    assert process.stop() == 0, "\n".join(process.log)


def parts(plain: Plain, address: str) -> tuple[Any, Any]:
    """What /health says of an address as a sink and as a source."""
    details = plain.ok("GET", "/health")["details"]
    return details["sinks"].get(address), details["sources"].get(address)


@pytest.mark.slow
def test_a_queue_service_that_is_away_is_shown_and_heals(cut_off: tuple[Official, Plain, Pulse], away: SqsServer) -> None:
    official, plain, pulse = cut_off
    address = f"sqs:{unique('away')}"
    official.handler("h", address, "complete_task", {"workflowId": "${workflowInstanceId}", "taskRefName": "w"})
    official.register("wf", [step("EVENT", "e", sink=address, inputParameters={}), wait("w")])
    runs = [official.start("wf") for _ in range(5)]
    eventually(lambda: all(part is not None and not part["healthy"] for part in parts(plain, address)), "both ways are shown")
    sink, source = parts(plain, address)
    for part in (sink, source):
        assert str(away.port) in part["detail"]
        assert "Traceback" not in part["detail"]
    assert metric(plain, "pelton_sink_healthy", address) == 0
    assert metric(plain, "pelton_source_healthy", address) == 0
    assert sink["waiting"] == 5
    pulse.check()
    assert {official.get(run).status for run in runs} == {"RUNNING"}
    assert {task_of(official.get(run), "e").status for run in runs} == {"COMPLETED"}

    away.start()
    for run in runs:
        official.ended(run, seconds=AWAY)
    eventually(lambda: all(part["healthy"] for part in parts(plain, address)), "both ways are well again")
    assert metric(plain, "pelton_sink_healthy", address) == 1
    assert metric(plain, "pelton_source_healthy", address) == 1

    away.stop()  # and its queues are lost with it
    more = [official.start("wf") for _ in range(3)]
    eventually(lambda: not all(part["healthy"] for part in parts(plain, address)), "it is noticed")
    pulse.check()
    away.start()
    for run in more:
        assert statuses(official.ended(run, seconds=AWAY)) == {"e": "COMPLETED", "w": "COMPLETED"}
    assert plain.ok("GET", "/v1/dead-letters")["dead_letters"] == []
