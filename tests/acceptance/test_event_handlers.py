"""What event handlers do: every action, every kind of condition, the inlining of JSON; events come from runs, SQS and outside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.acceptance.official import Official, Plain, simple, statuses, step, task_of, unique, wait
from tests.patience import eventually


def post(plain: Plain, kind: str, data: Any, **more: Any) -> Any:
    """An event from outside, through the native API."""
    event = {"specversion": "1.0", "id": unique("id"), "source": "/test", "type": kind, "data": data, **more}
    answer = plain.call("POST", "/v1/events", event, headers={"content-type": "application/cloudevents+json"})
    assert answer.status in {200, 201}, answer.text
    return answer.json


def started_by(official: Official, name: str, count: int = 1) -> list[Any]:
    """The runs of that name, once there are so many."""
    running = official.workflows.workflowResourceApi.get_running_workflow
    runs = eventually(lambda: (found := running(name)) and len(found) >= count and found, f"{count} runs of {name}")
    return [official.get(run) for run in runs]


# ---- events of runs


def test_an_event_of_one_run_starts_another(official: Official) -> None:
    target = official.register(unique("target"), [wait("w")])
    sender = unique("sender")
    event = f"conductor:{sender}:done"
    start = {
        "name": target,
        "version": 1,
        "correlationId": "${correlationId}",
        "input": {
            "whole": "${order}",
            "text": "order ${order.n} of ${workflowType}",
            "gone": "${nothing.here}",
            "fixed": [1, None],
        },
        "taskToDomain": {"*": "blue"},
    }
    official.handler(unique("starter"), event, "start_workflow", start)
    official.register(sender, [step("EVENT", "e", sink="conductor:done", inputParameters={"order": "${workflow.input.order}"})])
    run = official.start(sender, {"order": {"n": 7}}, correlation_id="corr-9")
    sent = task_of(official.ended(run), "e")
    [found] = started_by(official, target)
    identity = found.input.pop("conductor.event.messageId")
    assert identity == sent.task_id
    assert found.input.pop("conductor.event.name") == event
    assert found.input == {"whole": {"n": 7}, "text": f"order 7 of {sender}", "gone": None, "fixed": [1, None]}
    assert (found.event, found.correlation_id, found.task_to_domain) == (event, "corr-9", {"*": "blue"})


def test_a_run_completes_its_own_wait_however_early_the_event(official: Official) -> None:
    """The WAIT opens only after the EVENT has been sent and handled."""
    name = unique("own")
    complete = {"workflowId": "${workflowInstanceId}", "taskRefName": "w", "output": {"n": "${n}"}}
    official.handler(unique("own"), f"conductor:{name}:e", "complete_task", complete)
    official.register(name, [step("EVENT", "e", sink="conductor", inputParameters={"n": 5}), wait("gate"), wait("w")])
    run = official.start(name)
    official.opened(run, "gate")
    official.tasks.update_task_by_ref_name(run, "gate", "COMPLETED", {})
    found = official.ended(run)
    output = task_of(found, "w").output_data
    assert output["n"] == 5
    assert output["conductor.event.name"] == f"conductor:{name}:e"
    assert output["workflowId"] == run


def test_each_handler_of_an_event_takes_it_once(official: Official) -> None:
    sender, targets = unique("sender"), [official.register(unique("target"), [wait("w")]) for _ in range(3)]
    for target in targets:
        official.handler(unique("h"), f"conductor:{sender}:e", "start_workflow", {"name": target, "input": {}})
    official.register(sender, [step("EVENT", "e", sink="conductor", inputParameters={})])
    for _ in range(4):
        official.start(sender)
    for target in targets:
        assert len({run.input["conductor.event.messageId"] for run in started_by(official, target, 4)}) == 4
        assert len(started_by(official, target)) == 4


def test_handlers_change_at_once(official: Official, plain: Plain) -> None:
    kind, target = unique("kind"), official.register(unique("target"), [wait("w")])
    name = official.handler(unique("h"), kind, "start_workflow", {"name": target, "input": {"by": "first"}})
    post(plain, kind, {})
    body = {"name": name, "event": kind, "active": True, "actions": [
        {"action": "start_workflow", "start_workflow": {"name": target, "input": {"by": "second"}}}]}  # fmt: skip
    official.api.call_api("/event", "PUT", body=body)
    post(plain, kind, {})
    official.api.call_api("/event", "PUT", body={**body, "active": False})
    post(plain, kind, {})
    official.api.call_api("/event", "PUT", body=body)
    official.api.call_api("/event/{name}", "DELETE", {"name": name})
    assert post(plain, kind, {})["state"] == "unmatched"
    assert sorted(run.input["by"] for run in started_by(official, target, 2)) == ["first", "second"]


# ---- actions


def test_complete_task_by_reference_and_by_id(official: Official, plain: Plain) -> None:
    kind = unique("complete")
    official.handler(
        unique("h"),
        kind,
        "complete_task",
        {"workflowId": "${run}", "taskRefName": "${ref}", "taskId": "${id}", "output": {"told": "${told}"}},
    )
    queue = unique("worker")
    run = official.run(
        [wait("a"), step("EVENT", "b", sink="conductor", asyncComplete=True, inputParameters={}), simple("c", queue)]
    )
    post(plain, kind, {"run": run, "ref": "a", "told": {"x": 1}})
    first = task_of(official.until(run, lambda found: statuses(found).get("b"), "a is completed"), "a")
    assert first.output_data["told"] == {"x": 1}
    assert first.output_data["taskRefName"] == "a"
    post(plain, kind, {"id": official.opened(run, "b").task_id, "told": 2})
    task = official.poll(queue)
    post(plain, kind, {"id": task.task_id, "told": 3})
    found = official.ended(run)
    assert [each.output_data["told"] for each in found.tasks] == [{"x": 1}, 2, 3]
    assert task_of(found, "c").output_data["taskId"] == task.task_id
    post(plain, kind, {"id": task.task_id, "told": 4})  # over already
    assert task_of(official.get(run), "c").output_data["told"] == 3


def test_complete_task_in_a_loop_takes_the_highest_iteration(official: Official, plain: Plain) -> None:
    kind = unique("loop")
    official.handler(unique("h"), kind, "complete_task", {"workflowId": "${run}", "taskRefName": "w", "output": {"n": "${n}"}})
    run = official.run([step("DO_WHILE", "loop", loopCondition="$.loop.iteration < 3", loopOver=[wait("w")])])
    for number in (1, 2, 3):
        official.opened(run, f"w__{number}")
        post(plain, kind, {"run": run, "n": number})
    found = official.ended(run)
    assert [task_of(found, f"w__{number}").output_data["n"] for number in (1, 2, 3)] == [1, 2, 3]


def test_fail_task_goes_through_the_ordinary_rules(official: Official, plain: Plain) -> None:
    kind, queue = unique("fail"), unique("worker")
    fail = {"workflowId": "${run}", "taskRefName": "${ref}", "reasonForIncompletion": "told: ${why}", "output": {"o": 1}}
    official.handler(unique("h"), kind, "fail_task", fail)
    official.task_def(queue, retryCount=1, retryDelaySeconds=0)
    run = official.run([simple("t", queue), wait("w")])
    official.poll(queue)
    post(plain, kind, {"run": run, "ref": "t", "why": "bad"})
    second = official.poll(queue)
    assert second.retry_count == 1
    official.finish(second)
    post(plain, kind, {"run": run, "ref": "w", "why": "worse"})
    found = official.ended(run, "FAILED")
    assert task_of(found, "w").reason_for_incompletion == "told: worse"
    assert task_of(found, "w").output_data["o"] == 1
    assert "told: worse" in found.reason_for_incompletion


def test_terminate_workflow(official: Official, plain: Plain) -> None:
    kind = unique("terminate")
    official.handler(unique("h"), kind, "terminate_workflow", {"workflowId": "${run}", "terminationReason": "told: ${why}"})
    run = official.run([wait("w")])
    post(plain, kind, {"run": run, "why": "enough"})
    assert official.ended(run, "TERMINATED").reason_for_incompletion == "told: enough"


def test_update_workflow_variables(official: Official, plain: Plain) -> None:
    kind, append = unique("variables"), unique("append")
    change = {"workflowId": "${run}", "variables": {"a": "${a}", "list": "${list}"}}
    official.handler(unique("h"), kind, "update_workflow_variables", change)
    official.handler(unique("h"), append, "update_workflow_variables", {**change, "appendArray": True})
    run = official.run([wait("w")], variables={"a": 0, "list": [0], "kept": True})
    post(plain, kind, {"run": run, "a": {"x": 1}, "list": [1]})
    official.until(run, lambda found: found.variables == {"a": {"x": 1}, "list": [1], "kept": True}, "they are set")
    post(plain, append, {"run": run, "a": 2, "list": [2, 3]})
    official.until(run, lambda found: found.variables == {"a": 2, "list": [1, 2, 3], "kept": True}, "they are appended")


def test_the_actions_of_a_handler_that_fails_are_recorded_and_the_others_go_on(official: Official, plain: Plain) -> None:
    kind, good = unique("mixed"), official.register(unique("target"), [wait("w")])
    bad = official.handler(unique("bad"), kind, "start_workflow", {"name": unique("absent"), "input": {}})
    official.handler(unique("good"), kind, "start_workflow", {"name": good, "input": {}})
    posted = post(plain, kind, {})
    assert len(started_by(official, good)) == 1
    [effect] = [each for each in posted["effects"] if each["handler"] == bad]
    assert effect["outcome"] == "failed"
    assert "absent" in effect["detail"]


# ---- conditions


@pytest.mark.parametrize(
    ("condition", "evaluator", "payload", "fires"),
    [
        ("$.n > 3", "javascript", {"n": 4}, True),
        ("$.n > 3", "javascript", {"n": 3}, False),
        ("$.n > 3", None, {"n": 4}, True),
        ("$.n > 3", "graaljs", {"n": 4}, True),
        ("$.a.b === 'x' && $.list.includes(2)", "javascript", {"a": {"b": "x"}, "list": [1, 2]}, True),
        ("if ($.n % 2 == 0) { true; } else { false; }", "javascript", {"n": 4}, True),
        ("(function () { return $.n; })()", "javascript", {"n": 5}, True),  # a number above 0 is true
        ("$.n", "javascript", {"n": 0}, False),
        ("$.flag", "javascript", {"flag": "true"}, False),  # a text never is
        ("$.flag", "javascript", {"flag": True}, True),
        ("$.absent", "javascript", {}, False),
        ("$.data.n == 1", "javascript", {"data": '{"n": 1}'}, True),  # texts that hold JSON are expanded for conditions
        ("flag", "value-param", {"flag": True}, True),
        ("flag", "value-param", {"flag": False}, False),
        ("flag", "value-param", {"flag": "true"}, False),
        ("flag", "value-param", {}, False),
        ("", "javascript", {}, True),
        ("true", None, {}, True),
    ],
)
def test_conditions(
    official: Official, plain: Plain, condition: str, evaluator: str | None, payload: dict[str, Any], fires: bool
) -> None:
    kind, target = unique("condition"), official.register(unique("target"), [wait("w")])
    more = {"condition": condition, **({"evaluatorType": evaluator} if evaluator else {})}
    official.handler(unique("h"), kind, "start_workflow", {"name": target, "input": {}}, **more)
    posted = post(plain, kind, payload)
    assert len(official.workflows.workflowResourceApi.get_running_workflow(target)) == int(fires), posted


def test_a_condition_that_throws_is_recorded_with_its_error_and_blocks_nothing(official: Official, plain: Plain) -> None:
    kind, target = unique("throws"), official.register(unique("target"), [wait("w")])
    bad = official.handler(
        unique("bad"), kind, "start_workflow", {"name": target, "input": {}}, condition="$.a.b.c > 0", evaluatorType="javascript"
    )
    official.handler(unique("good"), kind, "start_workflow", {"name": target, "input": {}})
    posted = post(plain, kind, {"x": 1})
    assert len(started_by(official, target)) == 1
    [decision] = [each for each in posted["decisions"] if each["handler"] == bad]
    assert decision["verdict"] == "failed"
    assert "TypeError" in decision["detail"]
    post(plain, kind, {"a": {"b": {"c": 1}}})
    assert len(started_by(official, target, 3)) == 3


# ---- JSON in texts


@pytest.mark.parametrize("expand", [False, True])
def test_expand_inline_json(official: Official, plain: Plain, expand: bool) -> None:
    kind, target = unique("expand"), official.register(unique("target"), [wait("w")])
    start = {"name": target, "input": {"n": "${outer.inner.n}", "whole": "${outer}", "list": "${list}", "text": "${text}"}}
    official.events.add_event_handler(
        {"name": unique("h"), "event": kind, "active": True, "actions": [
            {"action": "start_workflow", "start_workflow": start, "expandInlineJSON": expand}]}
    )  # fmt: skip
    inner = json.dumps({"inner": json.dumps({"n": 5})})
    post(plain, kind, {"outer": inner, "list": ['{"a": 1}'], "text": "{not json"})
    [found] = started_by(official, target)
    given = {key: value for key, value in found.input.items() if not key.startswith("conductor.")}
    if expand:
        assert given == {"n": 5, "whole": {"inner": {"n": 5}}, "list": ['{"a": 1}'], "text": "{not json"}
    else:
        assert given == {"n": None, "whole": inner, "list": ['{"a": 1}'], "text": "{not json"}
