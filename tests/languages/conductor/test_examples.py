"""The examples of task types: each is registered as it is, and runs to its end."""

from __future__ import annotations

from typing import Any

from tests.languages.conductor.api import Api

from pelton.languages.conductor.plugin import PLUGIN

EXAMPLES = {each.name: each.document for each in PLUGIN.examples()}


async def started(api: Api, name: str, given: Any = None) -> str:
    await api.ok("POST", "/metadata/workflow", EXAMPLES[name], overwrite=True)
    return await api.start(given, name)


async def test_order_totals(api: Api) -> None:
    orders = [{"customer": "a", "amount": 5}, {"customer": "b", "amount": 7}, {"customer": "a", "amount": 4}]
    found = await api.ended(await started(api, "order_totals", {"orders": orders}))
    assert found["output"] == {"largest": {"customer": "a", "total": 9}}


async def test_approval(api: Api) -> None:
    assert (await api.ended(await started(api, "approval", {"amount": 5})))["output"] == {"approved_by": None}
    run = await started(api, "approval", {"amount": 5000})
    await api.ok("POST", f"/tasks/{run}/approve/COMPLETED", {"by": "ann"})
    assert (await api.ended(run))["output"] == {"approved_by": "ann"}


async def test_waiting_for_others(api: Api) -> None:
    run = await started(api, "waiting_for_others")
    await api.ok("POST", f"/tasks/{run}/COMPLETED/signal", {"n": 1})
    handler = {
        "name": "hooks",
        "event": "conductor:caller:hooks",
        "active": True,
        "actions": [
            {
                "action": "complete_task",
                "complete_task": {"workflowId": "${run}", "taskRefName": "hook", "output": {"n": "${n}"}},
            }
        ],
    }
    await api.ok("POST", "/event", handler)
    sender = {"name": "e", "taskReferenceName": "e", "type": "EVENT", "sink": "conductor:hooks"}
    await api.register([{**sender, "inputParameters": {"run": "${workflow.input.run}", "n": 2}}], "caller")
    await api.start({"run": run}, "caller")
    assert (await api.ended(run))["output"] == {"signal": 1, "hook": 2}


async def test_chosen_worker(api: Api) -> None:
    await api.ok("POST", "/metadata/workflow", EXAMPLES["waiting_for_others"])
    run = await started(api, "chosen_worker", {"worker": "blue"})
    await api.update(await api.one("blue"), output={"done": True})
    found = await api.ended(run)
    assert found["output"]["done"] is True
    other = await api.until(found["output"]["started"], lambda found: found["tasks"] != [])
    assert (other["workflowName"], other["correlationId"]) == ("waiting_for_others", run)
