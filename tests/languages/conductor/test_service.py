"""The server's own things under this language's addresses, tags and schemas, and more changes of workflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.languages.conductor.api import Api, serving, simple, step
from tests.patience import happens

import pelton
from pelton.runtime.api import EventIn
from pelton.runtime.secrets.cipher import Cipher


async def test_secrets_go_in_and_never_come_out(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        api.engine.vault._cipher = Cipher(b"k" * 32)
        await api.call("PUT", "/secrets/TOKEN", raw=b"s3cret")
        await api.call("PUT", "/environment/OTHER", raw=b'"quoted"')
        assert await api.ok("GET", "/secrets") == await api.ok("POST", "/secrets") == ["OTHER", "TOKEN"]
        assert await api.ok("GET", "/secrets/TOKEN/exists") is True
        assert await api.ok("GET", "/secrets/NONE/exists") is False
        assert (await api.refused("GET", "/secrets/TOKEN")).status == 403
        assert (await api.refused("GET", "/environment/OTHER")).status == 403
        assert (await api.refused("GET", "/secrets/NONE")).status == 404
        assert await api.ok("GET", "/environment") == [{"name": name, "value": "***"} for name in ("OTHER", "TOKEN")]
        tag = {"key": "team", "value": "x", "type": "METADATA"}
        await api.ok("PUT", "/secrets/TOKEN/tags", [tag])
        for path in ("/secrets/v2", "/secrets-v2"):
            assert [(each["name"], each["tags"]) for each in await api.ok("GET", path)] == [("OTHER", []), ("TOKEN", [tag])]
        await api.register([simple("t", inputParameters={"a": "${workflow.secrets.TOKEN}", "b": "${workflow.secrets.OTHER}"})])
        await api.start()
        assert (await api.one("t"))["inputData"] == {"a": "s3cret", "b": "quoted"}
        await api.ok("DELETE", "/secrets/TOKEN")
        await api.ok("DELETE", "/environment/OTHER")
        assert await api.ok("GET", "/secrets") == []
        assert (await api.refused("GET", "/secrets/TOKEN/tags")).status == 404


async def test_tags_of_workflows_and_tasks(api: Api) -> None:
    await api.register([simple("t")])
    await api.ok("POST", "/metadata/taskdefs", [{"name": "t"}])
    one, two = ({"key": key, "value": "v", "type": "METADATA"} for key in "ab")
    for path in ("/metadata/workflow/wf/tags", "/metadata/task/t/tags"):
        await api.ok("POST", path, one)
        await api.ok("POST", path, two)
        assert await api.ok("GET", path) == [one, two]
        await api.ok("DELETE", path, one)
        assert await api.ok("GET", path) == [two]
        await api.ok("PUT", path, [one])
        assert await api.ok("GET", path) == [one]
        await api.refused("PUT", path, [{"key": ""}])
    assert await api.ok("GET", "/metadata/tags/workflow/wf") == [one]
    assert (await api.refused("GET", "/metadata/workflow/none/tags")).status == 404


async def test_schemas_are_kept_by_name_and_version(api: Api) -> None:
    body = {"name": "order", "version": 1, "type": "JSON", "data": {"type": "object"}}
    await api.ok("POST", "/schema", body)
    await api.ok("POST", "/schema", [{**body, "data": {"type": "array"}}], newVersion="true")
    assert [each["version"] for each in await api.ok("GET", "/schema")] == [1, 2]
    assert (await api.ok("GET", "/schema/order"))["data"] == {"type": "array"}
    assert (await api.ok("GET", "/schema/order/1"))["data"] == {"type": "object"}
    assert (await api.ok("GET", "/schema", short="true"))[0] == {"name": "order", "version": 1}
    await api.ok("DELETE", "/schema/order/1")
    assert (await api.refused("GET", "/schema/order/1")).status == 404
    await api.ok("DELETE", "/schema/order")
    assert await api.ok("GET", "/schema") == []
    for bad in ({"name": ""}, {"name": "x", "type": "XML"}, {"name": "x", "version": 0}):
        assert (await api.refused("POST", "/schema", bad)).status == 400
    for method in ("GET", "DELETE"):
        assert (await api.refused(method, "/schema/none")).status == 404


async def test_a_workflow_as_a_function(api: Api) -> None:
    script = step(
        "INLINE", "i", inputParameters={"evaluatorType": "javascript", "expression": "$.n + 1", "n": "${workflow.input.n}"}
    )
    await api.register([script], name="next", outputParameters={"n": "${i.output.result}"})
    assert await api.ok("POST", "/workflow/execute/next", {"n": 4}) == {"n": 5}
    assert await api.ok("GET", "/workflow/execute/next", n="x") == {"n": "x1"}
    assert (await api.refused("POST", "/workflow/execute/none", {})).status == 404
    await api.register([step("WAIT", "w")], name="waits")
    refused = await api.refused("POST", "/workflow/execute/waits", {})
    assert (refused.status, "waits for something" in refused.json["message"]) == (409, True)


async def test_variables_and_a_report_in_one_call(api: Api) -> None:
    run = await api.run([step("WAIT", "w"), simple("t")], outputParameters={"v": "${workflow.variables.v}", "o": "${w.output.a}"})
    body = {"taskReferenceName": "w", "taskResult": {"status": "COMPLETED", "outputData": {"a": 1}}, "variables": {"v": 2}}
    asked = {**body, "taskResult": {**body["taskResult"], "workflowInstanceId": run, "taskId": "any"}}  # type: ignore[dict-item]
    answer = await api.ok("POST", f"/workflow/{run}/state", asked, waitForSeconds=1, waitUntilTaskRef="", requestId="r")
    assert (answer["workflowId"], answer["requestId"], answer["status"]) == (run, "r", "RUNNING")
    await api.update(await api.one("t"))
    assert (await api.ended(run))["output"] == {"v": 2, "o": 1}
    assert (await api.refused("POST", f"/workflow/{run}/state", asked)).status in (404, 409)


async def test_a_running_workflow_moves_to_a_newer_version(api: Api) -> None:
    run = await api.run([simple("a")], version=1)
    await api.register([simple("a"), simple("b")], version=2)
    await api.ok("POST", f"/workflow/{run}/upgrade", {"name": "wf", "version": 2})
    assert (await api.get(run))["workflowVersion"] == 2
    await api.update(await api.one("a"))
    await api.update(await api.one("b"))
    await api.ended(run)
    other = await api.start(version=1)
    assert (await api.refused("POST", f"/workflow/{other}/upgrade", {"version": 9})).status == 404
    assert (await api.refused("POST", f"/workflow/{other}/upgrade", {"name": "other"})).status == 400


async def test_what_the_server_is_and_what_waits(api: Api) -> None:
    assert await api.ok("GET", "/version") == pelton.__version__
    assert (await api.ok("GET", "/admin/config"))["version"] == pelton.__version__
    assert "id" in await api.ok("GET", "/token/userInfo")
    runs = [await api.run([simple("t")]), await api.start()]
    await api.one("t")
    pending = await api.ok("GET", "/admin/task/t")
    assert [each["workflowInstanceId"] for each in pending] == [runs[1]]
    assert await api.ok("GET", "/tasks/queue/all/verbose") == {"t": {"a": {"size": 1, "uacked": 1}}}
    assert await api.ok("POST", "/tasks/queue/requeue/t") == "1"
    assert await api.ok("POST", f"/admin/sweep/requeue/{runs[0]}") == f"true.{runs[0]}"
    assert await api.ok("POST", f"/admin/consistency/verifyAndRepair/{runs[0]}") == "false"
    assert await api.ok("GET", f"/workflow/{runs[0]}/size") > 100
    assert (await api.refused("GET", "/workflow/none/size")).status == 404


def handler(name: str, **more: Any) -> dict[str, Any]:
    actions = [{"action": "start_workflow", "start_workflow": {"name": "wf", "input": {}}}]
    return {"name": name, "event": "shop:paid", "active": True, "actions": actions, **more}


async def test_what_became_of_events(api: Api) -> None:
    await api.register([simple("t")])
    await api.ok("POST", "/event", handler("h"))
    await api.ok("POST", "/event", handler("never", condition="$.n > 5"))
    await api.ok("POST", "/event", handler("off", active=False, event="shop:sold"))
    assert await api.ok("GET", "/admin/queues") == {"shop:paid": "shop:paid"}
    assert await api.ok("GET", "/admin/queues", verbose="true") == {"shop:paid": {"shop:paid": 0}}
    [posted] = await api.engine.ingest(api.caller, [EventIn(source="test", type="shop:paid", id="m1", body={"n": 1})])
    assert [effect.outcome for effect in posted.effects] == ["started"]
    found = await api.ok("GET", "/event/execution")
    by_name = {each["name"]: each for each in found}
    assert (by_name["h"]["status"], by_name["h"]["action"], by_name["h"]["messageId"]) == ("COMPLETED", "start_workflow", "m1")
    assert by_name["h"]["id"] == "m1_0"
    assert by_name["never"]["status"] == "SKIPPED"
    assert await api.ok("GET", "/event/execution/shop:paid") == found
    assert await api.ok("GET", "/event/execution/shop:none") == []
    await happens(lambda: api.poll("t"))


async def test_a_waiting_task_is_completed_through_its_queue(api: Api) -> None:
    run = await api.run([step("WAIT", "w"), step("WAIT", "x")])
    assert await api.ok("GET", "/queue") == {"COMPLETED": "conductor:COMPLETED", "FAILED": "conductor:FAILED"}
    assert await api.ok("GET", "/queue/size") == {"conductor:COMPLETED": 0, "conductor:FAILED": 0}
    assert (await api.refused("POST", f"/queue/update/{run}/w/SKIPPED", {})).json["message"] == (
        "There is no queue for handling SKIPPED status"
    )
    await api.ok("POST", f"/queue/update/{run}/w/COMPLETED", {"a": 1})
    await api.ok("POST", f"/queue/update/{run}/w/COMPLETED", {"a": 2})  # dropped
    found = await api.until(run, lambda found: len(found["tasks"]) == 2)
    assert found["tasks"][0]["outputData"] == {"a": 1}
    identity = found["tasks"][1]["taskId"]
    await api.ok("POST", f"/queue/update/{run}/task/{identity}/FAILED", {})
    await api.ended(run, "FAILED")
    assert (await api.refused("POST", f"/queue/update/{run}/task/none/FAILED", {})).status == 404


async def test_settings_of_event_queues_are_kept(api: Api) -> None:
    assert await api.ok("GET", "/event/queue/config") == {}
    await api.ok("PUT", "/event/queue/config/kafka/orders", {"consumer": {"x": "1"}})
    assert await api.ok("GET", "/event/queue/config/kafka/orders") == {"consumer": {"x": "1"}}
    assert await api.ok("GET", "/event/queue/config") == {"kafka:orders": {"consumer": {"x": "1"}}}
    await api.ok("DELETE", "/event/queue/config/kafka/orders")
    await api.ok("DELETE", "/event/queue/config/kafka/orders")
    assert await api.ok("GET", "/event/queue/config/kafka/orders") == {}
