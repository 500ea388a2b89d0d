"""Idempotency keys of runs that go on after their end: a live run has its key, and no other may take it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple, step

from pelton.kernel.model.signals import Rewind, Terminate

LIVE = {"name": "wf", "idempotencyKey": "k", "idempotencyStrategy": "FAIL_ON_RUNNING"}


async def failed(api: Api) -> str:
    await api.register([simple("a", retryCount=0)])
    run: str = await api.ok("POST", "/workflow", LIVE)
    await api.update(await api.one("a"), "FAILED", reasonForIncompletion="no paper")
    await api.ended(run, "FAILED")
    return run


async def go_on(api: Api, run: str, way: str) -> Any:
    if way == "retry":
        return await api.call("POST", f"/workflow/{run}/retry")
    if way == "restart":
        return await api.call("POST", f"/workflow/{run}/restart", {})
    task = (await api.get(run))["tasks"][0]["taskId"]
    return await api.call("POST", f"/workflow/{run}/rerun", {"reRunFromTaskId": task})


@pytest.mark.parametrize("way", ["retry", "restart", "rerun"])
async def test_a_run_that_goes_on_has_its_key_again(api: Api, way: str) -> None:
    run = await failed(api)
    assert (await go_on(api, run, way)).status in (200, 204)
    assert (await api.refused("POST", "/workflow", LIVE)).status == 409
    assert (await api.refused("POST", "/workflow", {**LIVE, "idempotencyStrategy": "FAIL"})).status == 409
    assert await api.ok("POST", "/workflow", {**LIVE, "idempotencyStrategy": "RETURN_EXISTING"}) == run
    await api.update(await api.one("a"))
    await api.ended(run)
    again = await api.ok("POST", "/workflow", LIVE)
    assert again != run


@pytest.mark.parametrize("way", ["retry", "restart", "rerun"])
async def test_a_run_whose_key_another_live_run_has_cannot_go_on(api: Api, way: str) -> None:
    run = await failed(api)
    other = await api.ok("POST", "/workflow", LIVE)
    answer = await go_on(api, run, way)
    assert answer.status == 409
    assert run in answer.json["message"]
    assert "key" in answer.json["message"]
    assert (await api.get(run))["status"] == "FAILED"
    assert (await api.get(other))["status"] == "RUNNING"
    await api.update(await api.one("a"))
    await api.ended(other)
    assert (await go_on(api, run, way)).status in (200, 204)
    await api.update(await api.one("a"))
    await api.ended(run)


async def test_a_retry_and_a_start_with_the_same_key_at_once_leave_one_live_run(api: Api) -> None:
    run = await failed(api)
    for _ in range(5):
        answers = await asyncio.gather(
            api.call("POST", f"/workflow/{run}/retry"), api.call("POST", "/workflow", LIVE), api.call("POST", "/workflow", LIVE)
        )
        assert sorted(answer.status for answer in answers)[1:] == [409, 409], [answer.body for answer in answers]
        live = await api.ok("GET", "/workflow/running/wf")
        assert len(live) == 1
        await api.update(await api.one("a"), "FAILED")
        run = live[0]
        await api.ended(run, "FAILED")


async def test_a_child_that_is_retried_revives_its_parent_with_the_parents_key(api: Api) -> None:
    await api.register([simple("a", retryCount=0)], "child")
    await api.register([step("SUB_WORKFLOW", "s", subWorkflowParam={"name": "child", "version": 1})])
    parent = await api.ok("POST", "/workflow", LIVE)
    await api.update(await api.one("a"), "FAILED")
    child = (await api.ended(parent, "FAILED"))["tasks"][0]["subWorkflowId"]
    other = await api.ok("POST", "/workflow", LIVE)
    refused = await api.refused("POST", f"/workflow/{child}/retry")
    assert (refused.status, parent in refused.json["message"]) == (409, True)
    assert (await api.get(child))["status"] == "FAILED"
    await api.ok("DELETE", f"/workflow/{other}")
    await api.ok("POST", f"/workflow/{child}/retry")
    assert (await api.get(parent))["status"] == "RUNNING"
    assert (await api.refused("POST", "/workflow", LIVE)).status == 409


async def test_a_run_that_goes_on_and_ends_again_in_one_commit_frees_its_key(api: Api) -> None:
    run = await failed(api)
    signals = [Rewind(to="failed"), Terminate(reason="fire")]
    await asyncio.gather(*(api.engine.signal(api.caller, parsed(api, run), signal) for signal in signals))
    await api.ended(run, "TERMINATED")
    other = await api.ok("POST", "/workflow", LIVE)
    await asyncio.gather(*(api.engine.signal(api.caller, parsed(api, other), signal) for signal in (Terminate(), *signals[:1])))
    assert (await api.get(other))["status"] == "RUNNING"
    assert (await api.refused("POST", "/workflow", LIVE)).status == 409


def parsed(api: Api, run: str) -> int:
    key = api.engine.codec.parse_run_id(run)
    assert key is not None
    return key
