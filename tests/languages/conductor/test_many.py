"""Several workflows in one request."""

from __future__ import annotations

from tests.languages.conductor.api import Api, simple, task


async def test_acts_on_many(api: Api) -> None:
    await api.register([simple("a")])
    first, second = await api.start(), await api.start()
    done = await api.ok("PUT", "/workflow/bulk/pause", [first, second, first, "nope"])
    assert done == {
        "bulkErrorResults": {"nope": "No such workflow found by id: nope"},
        "bulkSuccessfulResults": [first, second],
    }
    assert (await api.get(first))["status"] == "PAUSED"
    done = await api.ok("PUT", "/workflow/bulk/resume", [first])
    assert done == {"bulkErrorResults": {}, "bulkSuccessfulResults": [first]}
    done = await api.ok("POST", "/workflow/bulk/terminate", [first, second], reason="enough")
    assert done["bulkSuccessfulResults"] == [first, second]
    assert (await api.get(second))["reasonForIncompletion"] == "enough"
    assert (await api.ok("POST", "/workflow/bulk/retry", [first]))["bulkSuccessfulResults"] == [first]
    assert first in (await api.ok("POST", "/workflow/bulk/restart", [first, second]))["bulkErrorResults"]
    assert (await api.get(second))["status"] == "RUNNING"
    assert first in (await api.ok("DELETE", "/workflow/bulk/remove", [first]))["bulkErrorResults"]
    done = await api.ok("DELETE", "/workflow/bulk/terminate-remove", [first, second])
    assert done["bulkSuccessfulResults"] == [first, second]
    assert (await api.refused("GET", f"/workflow/{first}")).status == 404


async def test_a_list_of_ids_has_limits(api: Api) -> None:
    answer = await api.refused("PUT", "/workflow/bulk/pause", [])
    assert (answer.status, answer.json["message"]) == (400, "WorkflowIds list cannot be null.")
    assert (await api.refused("PUT", "/workflow/bulk/pause", [str(number) for number in range(1001)])).status == 400
    assert (await api.refused("PUT", "/workflow/bulk/pause", {"ids": []})).status == 400


async def test_terminating_and_removing(api: Api) -> None:
    run = await api.run([simple("a")])
    await api.update(await api.one("a"))
    assert (await api.refused("DELETE", f"/workflow/{run}/terminate-remove")).status == 409
    assert (await api.get(run))["status"] == "COMPLETED"


async def test_workflows_by_correlation(api: Api) -> None:
    await api.register([simple("a")])
    await api.register([simple("a")], "other")
    first = await api.start(correlationId="c/1")
    await api.ok("DELETE", f"/workflow/{first}")
    second = await api.start(correlationId="c/1")
    third = await api.start(name="other", correlationId="c2")
    path = "/workflow/wf/correlated/c%2F1"
    [found] = await api.ok("GET", path)
    assert (found["workflowId"], found["correlationId"], found["tasks"]) == (second, "c/1", [])
    both = await api.ok("GET", path, includeClosed=True, includeTasks="true")
    assert [each["workflowId"] for each in both] == [second, first]
    assert task(both[1], "a")["status"] == "CANCELED"
    found = await api.ok("POST", "/workflow/wf/correlated", ["c/1", "c2"], includeClosed="True")
    assert {name: [each["workflowId"] for each in runs] for name, runs in found.items()} == {"c/1": [second, first], "c2": []}
    found = await api.ok(
        "POST", "/workflow/correlated/batch", {"correlationIds": ["c/1", "c2"], "workflowNames": ["wf", "other"]}
    )
    assert {name: [each["workflowId"] for each in runs] for name, runs in found.items()} == {"c/1": [second], "c2": [third]}


async def test_tasks_that_were_put_off_are_due_at_once(api: Api) -> None:
    run = await api.run([simple("a")])
    found = await api.one("a")
    await api.update(found, "IN_PROGRESS", callbackAfterSeconds=3600)
    assert await api.poll("a") == []
    assert (await api.call("POST", f"/workflow/{run}/resetcallbacks", {})).status == 204
    again = await api.one("a")
    assert (again["taskId"], again["callbackAfterSeconds"]) == (found["taskId"], 0)
    await api.update(again)
    await api.ended(run)
    assert (await api.refused("POST", f"/workflow/{run}/resetcallbacks")).status == 409
