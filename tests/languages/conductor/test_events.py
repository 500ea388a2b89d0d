"""Events out of workflows, and into them by handlers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.languages.conductor.api import Api, simple, step, task
from tests.patience import happens

from pelton.runtime.api import EventIn, Ingested
from pelton.runtime.caller import SERVER


async def post(api: Api, kind: str, body: Any, identity: str = "") -> Ingested:
    [posted] = await api.engine.ingest(SERVER, [EventIn(source="test", type=kind, id=identity, body=body)])
    return posted


def handler(action: str, given: dict[str, Any], event: str = "shop:paid", **more: Any) -> dict[str, Any]:
    return {"name": "h", "event": event, "active": True, "actions": [{"action": action, action: given}], **more}


SEED = [
    step(
        "FORK_JOIN",
        "f",
        forkTasks=[
            [step("WAIT", "task_1_ref")],
            [step("WAIT", "task_2_ref"), step("EVENT", "send", sink="conductor:done", inputParameters={"k": "v"})],
        ],
    ),
    step("JOIN", "j", joinOn=["task_1_ref", "send"]),
]


async def test_an_event_of_a_workflow_completes_its_own_wait(api: Api) -> None:
    """The seed's story, by the internal queue."""
    body = {"workflowId": "${workflowInstanceId}", "taskRefName": "task_1_ref", "input": {}}
    await api.ok("POST", "/event", {**handler("complete_task", body, "conductor:wf:done"), "active": "true"})
    run = await api.run(SEED)
    await api.ok("POST", f"/tasks/{run}/task_2_ref/COMPLETED", {})
    found = await api.ended(run)
    sent = task(found, "send")
    assert sent["outputData"] == {
        "k": "v",
        "sink": "conductor:done",
        "asyncComplete": False,
        "workflowInstanceId": run,
        "workflowType": "wf",
        "workflowVersion": 1,
        "correlationId": None,
        "taskToDomain": {},
        "event_produced": "conductor:wf:done",
    }
    assert task(found, "task_1_ref")["outputData"] == {
        "workflowId": run,
        "taskId": None,
        "taskRefName": "task_1_ref",
        "reasonForIncompletion": None,
        "conductor.event.messageId": sent["taskId"],
        "conductor.event.name": "conductor:wf:done",
    }


async def test_an_event_task_is_over_when_the_start_is_answered(api: Api) -> None:
    run = await api.run([step("EVENT", "e", sink="sqs:${workflow.input.q}"), simple("t")], {"q": "orders"})
    found = await api.get(run)
    assert [each["status"] for each in found["tasks"]] == ["COMPLETED", "SCHEDULED"]
    await happens(lambda: api.queue.sent)
    [(address, message)] = api.queue.sent
    assert address == "orders"
    assert msgspec.json.decode(message.body) == found["tasks"][0]["outputData"]


async def test_an_event_task_that_waits_is_published_once(api: Api) -> None:
    run = await api.run([step("EVENT", "e", sink="sqs:q", asyncComplete=True), step("SET_VARIABLE", "s", inputParameters={})])
    assert (await api.get(run))["tasks"][0]["status"] == "IN_PROGRESS"
    for number in range(3):
        await api.ok("POST", f"/workflow/{run}/variables", {"n": number})
    await api.ok("POST", f"/tasks/{run}/e/COMPLETED", {"mine": 1})
    found = await api.ended(run)
    assert task(found, "e")["outputData"] == {"mine": 1}
    assert len(api.queue.sent) == 1


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ("bogus:q", "Error loading queue:bogus:q, for task:{task}, error: Unknown queue type bogus"),
        ("orders", "Error loading queue:orders, for task:{task}, error: Illegal event orders"),
        ("conductorX", "Invalid / Unsupported sink specified: conductorX"),
    ],
)
async def test_a_sink_that_is_none_fails_the_task(api: Api, sink: str, said: str) -> None:
    answer = await api.refused("PUT", "/metadata/workflow", [{"name": "wf", "tasks": [step("EVENT", "e", sink=sink)]}])
    assert sink in str(answer.json["validationErrors"])
    run = await api.run([step("EVENT", "e", sink="${workflow.input.s}")], {"s": sink})
    found = await api.ended(run, "FAILED")
    event = task(found, "e")
    assert event["reasonForIncompletion"].startswith(said.format(task=event["taskId"]))
    assert (event["outputData"]["sink"], event["outputData"]["workflowInstanceId"]) == (sink, run)
    assert ("event_produced" in event["outputData"]) is not sink.startswith("conductorX")


async def test_a_handler_starts_a_workflow(api: Api) -> None:
    await api.register([simple("t")])
    start = {"name": "wf", "version": 1, "correlationId": "${id}", "input": {"total": "${cart.total}", "all": "${cart}"}}
    await api.ok("POST", "/event", handler("start_workflow", start, condition="$.cart.total > 10"))
    assert (await post(api, "shop:paid", {"id": "A", "cart": {"total": 10}})).state == "unmatched"
    posted = await post(api, "shop:paid", {"id": "A", "cart": {"total": 11}}, "m1")
    assert posted.state == "matched"
    [effect] = posted.effects
    run = api.engine.codec.run_id(effect.run)
    found = await api.get(run)
    assert found["input"] == {
        "total": 11,
        "all": {"total": 11},
        "conductor.event.messageId": "m1",
        "conductor.event.name": "shop:paid",
    }
    assert (found["correlationId"], found["event"]) == ("A", "shop:paid")
    again = await post(api, "shop:paid", {"id": "A", "cart": {"total": 11}}, "m1")
    assert (again.duplicate, again.effects[0].run) == (True, effect.run)


async def test_two_starts_of_one_handler(api: Api) -> None:
    await api.register([simple("t")])
    start = {"action": "start_workflow", "start_workflow": {"name": "wf"}}
    await api.ok("POST", "/event", {"name": "h", "event": "e:x", "active": True, "actions": [start, start]})
    posted = await post(api, "e:x", {})
    assert len({effect.run for effect in posted.effects}) == 2


@pytest.mark.parametrize("strategy", ["RETURN_EXISTING", "FAIL", "FAIL_ON_RUNNING"])
async def test_a_start_with_a_key_is_made_once(api: Api, strategy: str) -> None:
    await api.register([simple("t")])
    start = {"name": "wf", "idempotencyKey": "order-${id}", "idempotencyStrategy": strategy}
    await api.ok("POST", "/event", handler("start_workflow", start))
    both = await asyncio.gather(*(post(api, "shop:paid", {"id": 7}, f"m{number}") for number in range(2)))
    outcomes = {posted.effects[0].outcome: posted.effects[0].run for posted in both}
    again = "unchanged" if strategy == "RETURN_EXISTING" else "failed"
    assert set(outcomes) == {"started", again}
    run = api.engine.codec.run_id(outcomes["started"])
    assert (await api.get(run))["idempotencyKey"] == "order-7"
    if again == "unchanged":
        assert outcomes[again] == outcomes["started"]
    await api.update(await api.one("t"))
    await api.ended(run)
    later = (await post(api, "shop:paid", {"id": 7}, "m3")).effects[0]
    assert later.outcome == ("started" if strategy == "FAIL_ON_RUNNING" else again)
    assert (await post(api, "shop:paid", {"id": 8}, "m4")).effects[0].outcome == "started"


async def test_two_starts_of_one_handler_with_the_same_key(api: Api) -> None:
    await api.register([simple("t")])
    start = {"action": "start_workflow", "start_workflow": {"name": "wf", "idempotencyKey": "k"}}
    await api.ok("POST", "/event", {"name": "h", "event": "e:x", "active": True, "actions": [start, start]})
    posted = await post(api, "e:x", {}, "m1")
    assert sorted(effect.outcome for effect in posted.effects) == ["failed", "started"]


async def test_a_key_that_comes_to_nothing_starts_nothing(api: Api) -> None:
    await api.register([simple("t")])
    await api.ok("POST", "/event", handler("start_workflow", {"name": "wf", "idempotencyKey": "${nope}"}))
    [effect] = (await post(api, "shop:paid", {"id": 7})).effects
    assert (effect.outcome, "comes to nothing" in effect.detail) == ("failed", True)


async def test_strings_of_json_are_expanded_for_conditions(api: Api) -> None:
    await api.register([simple("t")])
    start = {"name": "wf", "input": {"v": "${detail.n}"}}
    await api.ok("POST", "/event", handler("start_workflow", start, condition="$.detail.n == 5"))
    posted = await post(api, "shop:paid", {"detail": ' {"n": 5}', "list": ['{"n": 1}']})
    found = await api.get(api.engine.codec.run_id(posted.effects[0].run))
    assert found["input"]["v"] is None  # the action sees the text, as without a condition


async def test_expansion_for_an_action_without_a_condition(api: Api) -> None:
    await api.register([simple("t")])
    action = {"action": "start_workflow", "start_workflow": {"name": "wf", "input": {"v": "${detail.n}"}}}
    for expand, seen in ((False, None), (True, 5)):
        body = {"name": f"h{expand}", "event": f"e:{expand}", "active": True, "actions": [{**action, "expandInlineJSON": expand}]}
        await api.ok("POST", "/event", body)
        posted = await post(api, f"e:{expand}", {"detail": '{"n": 5}'})
        found = await api.get(api.engine.codec.run_id(posted.effects[0].run))
        assert found["input"]["v"] == seen


async def test_a_condition_that_is_a_member(api: Api) -> None:
    await api.register([simple("t")])
    await api.ok("POST", "/event", handler("start_workflow", {"name": "wf"}, evaluatorType="value-param", condition="go"))
    assert (await post(api, "shop:paid", {"go": "true"})).state == "unmatched"
    assert (await post(api, "shop:paid", {"go": True})).state == "matched"


async def test_a_condition_that_throws_is_recorded(api: Api) -> None:
    await api.register([simple("t")])
    await api.ok("POST", "/event", handler("start_workflow", {"name": "wf"}, condition="$.a.b == True"))
    posted = await post(api, "shop:paid", {})
    [decision] = posted.decisions
    assert (decision.verdict, posted.effects) == ("failed", [])
    assert "Error" in decision.detail


async def test_an_event_before_its_wait_is_kept_for_it(api: Api) -> None:
    body = {"workflowId": "${wf}", "taskRefName": "w", "output": {"got": "${x}"}}
    await api.ok("POST", "/event", handler("complete_task", body))
    run = await api.run([simple("first"), step("WAIT", "w")])
    posted = await post(api, "shop:paid", {"wf": run, "x": 1})
    assert posted.state == "held"
    assert (await api.get(run))["status"] == "RUNNING"
    await api.update(await api.one("first"))
    found = await api.ended(run)
    assert task(found, "w")["outputData"]["got"] == 1


async def test_fail_task(api: Api) -> None:
    body = {"taskId": "${task}", "reasonForIncompletion": "because ${why}"}
    await api.ok("POST", "/event", handler("fail_task", body))
    run = await api.run([step("WAIT", "w")])
    identity = (await api.get(run))["tasks"][0]["taskId"]
    await post(api, "shop:paid", {"task": identity, "why": "no"})
    found = await api.ended(run, "FAILED")
    assert found["reasonForIncompletion"] == f"Task {identity} failed with status: FAILED and reason: 'because no'"


async def test_terminate_and_variables(api: Api) -> None:
    await api.ok("POST", "/event", handler("terminate_workflow", {"workflowId": "${id}", "terminationReason": "x"}, "e:stop"))
    update = {"workflowId": "${id}", "variables": {"l": "${add}"}, "appendArray": True}
    await api.ok("POST", "/event", {**handler("update_workflow_variables", update, "e:set"), "name": "h2"})
    run = await api.run([step("WAIT", "w")], variables={"l": [1]})
    await post(api, "e:set", {"id": run, "add": [2]})
    assert (await api.get(run))["variables"] == {"l": [1, 2]}
    await post(api, "e:stop", {"id": run})
    assert (await api.get(run))["reasonForIncompletion"] == "x"


async def test_an_action_that_names_nothing_is_recorded_as_failed(api: Api) -> None:
    await api.ok("POST", "/event", handler("complete_task", {"workflowId": "${wf}", "taskRefName": "w"}))
    for body in ({}, {"wf": "nope"}, "text", {"wf": 5}):
        posted = await post(api, "shop:paid", body)
        assert posted.state == "failed"
        assert posted.effects[0].outcome == "failed"
        assert posted.effects[0].detail


async def test_handlers_over_http(api: Api) -> None:
    given = handler("start_workflow", {"name": "wf"}, "conductor:a/b:c", condition=True)
    await api.ok("POST", "/event", [given])
    assert (await api.refused("POST", "/event", given)).json["message"] == "EventHandler with name h already exists!"
    path = "/event/conductor%3Aa%2Fb%3Ac"
    [found] = await api.ok("GET", path)
    assert (found["name"], found["condition"], found["active"]) == ("h", "true", True)
    await api.ok("PUT", "/event/", {**given, "active": False})
    assert await api.ok("GET", path) == []
    assert len(await api.ok("GET", path, activeOnly="False")) == 1
    assert (await post(api, "conductor:a/b:c", {})).decisions[0].verdict == "inactive"
    assert len(await api.ok("GET", "/event")) == 1
    await api.ok("DELETE", "/event/h")
    assert (await api.refused("DELETE", "/event/h")).json["message"] == "EventHandler with name h not found!"
    assert (await api.refused("PUT", "/event", given)).status == 404


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (
            {"event": "a:b", "actions": [{"action": "start_workflow", "start_workflow": {"name": "x"}}]},
            "addEventHandler.arg0.name",
        ),
        ({**handler("start_workflow", {"name": "x"}), "event": ""}, "addEventHandler.arg0.event"),
        ({"name": "h", "event": "a:b", "actions": []}, "addEventHandler.arg0.actions"),
        ({"name": "h", "event": "a:b", "actions": [{"action": "fail_task"}]}, "addEventHandler.arg0.actions[0].fail_task"),
        ({"name": "h", "event": "a:b", "actions": [{"action": "odd"}]}, "actions[0].action"),
        ({"name": "h", "event": "a:b", "actions": {}}, "actions"),
        (handler("start_workflow", {"name": "x"}, condition="$.("), "addEventHandler.arg0.condition"),
    ],
)
async def test_a_bad_handler_is_refused_by_path(api: Api, given: dict[str, Any], path: str) -> None:
    answer = await api.refused("POST", "/event", given)
    assert answer.status == 400
    assert path in [each["path"] for each in answer.json["validationErrors"]]
