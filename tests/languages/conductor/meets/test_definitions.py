"""What people's definitions hold: names in all scripts, numbers of any size, times that mean "never", older forms."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from tests.languages.conductor.api import Api, simple, step, task
from tests.languages.conductor.test_events import handler, post

NEVER = 2**53 - 1
HUGE = 123456789012345678901234567890

NAMES = [
    "line one\r\nline two",
    "tab\there",
    "全角　空白",
    "no\u00a0break",
    "👩\u200d💻 review",
    "\u200f\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd\u200e",
    "soft\u00adhyphen",
    "narrow\u202fblank",
    "para\u2029graph",
    "\uff26\uff35\uff2c\uff2c",
]


@pytest.mark.parametrize("name", NAMES)
async def test_names_hold_whatever_people_write(api: Api, name: str) -> None:
    await api.ok("POST", "/metadata/taskdefs", [{"name": name}])
    assert (await api.ok("GET", f"/metadata/taskdefs/{quote(name, safe='')}"))["name"] == name
    await api.register([simple(name, name)], name)
    await api.ok("POST", "/event", {**handler("start_workflow", {"name": name}), "name": name})
    posted = await post(api, "shop:paid", {})
    run = api.engine.codec.run_id(posted.effects[0].run)
    assert (
        await api.call(
            "POST", "/tasks", {"workflowInstanceId": run, "taskId": (await api.one(name))["taskId"], "status": "COMPLETED"}
        )
    ).status == 200
    found = await api.ended(run)
    assert task(found, name)["taskDefName"] == name
    assert found["workflowName"] == name


@pytest.mark.parametrize("name", ["nul\0", "bell\x07", "escape\x1b[0m", "delete\x7f", " ", "\u3000", "", "\r\n"])
async def test_names_that_are_empty_or_control_terminals_are_refused(api: Api, name: str) -> None:
    await api.refused(
        "PUT", "/metadata/workflow", [{"name": "wf", "tasks": [simple("a", name)] if name else [{**simple("a"), "name": ""}]}]
    )
    await api.refused("POST", "/metadata/taskdefs", [{"name": name}])


# ---- times that mean "never"


async def test_times_beyond_all_bounds_count_as_the_longest_that_there_is(api: Api) -> None:
    policy = {
        "name": "t", "retryCount": 1, "timeoutSeconds": NEVER, "responseTimeoutSeconds": NEVER, "totalTimeoutSeconds": NEVER,
        "retryDelaySeconds": NEVER, "maxRetryDelaySeconds": NEVER, "pollTimeoutSeconds": NEVER, "backoffJitterMs": NEVER,
    }  # fmt: skip
    await api.ok("POST", "/metadata/taskdefs", [policy])
    assert (await api.ok("GET", "/metadata/taskdefs/t"))["timeoutSeconds"] == NEVER
    run = await api.run([simple("t"), simple("u", startDelay=NEVER)], timeoutSeconds=NEVER)
    found = await api.one("t")
    assert (await api.update(found, "IN_PROGRESS", callbackAfterSeconds=NEVER)).status == 200
    shown = task(await api.get(run), "t")
    assert (shown["status"], shown["callbackAfterSeconds"] > 10**9) == ("SCHEDULED", True)
    assert (await api.update(found, "FAILED")).status == 200
    assert task(await api.get(run), "t")["retryCount"] == 1
    await api.ok("DELETE", f"/workflow/{run}")


@pytest.mark.parametrize("member", ["timeoutSeconds", "responseTimeoutSeconds", "retryDelaySeconds", "concurrentExecLimit"])
async def test_times_below_nought_are_refused(api: Api, member: str) -> None:
    answer = await api.refused("POST", "/metadata/taskdefs", [{"name": "t", member: -1}])
    assert member in answer.text


# ---- whole numbers of any size


async def test_whole_numbers_of_any_size_are_kept(api: Api) -> None:
    body = {"wei": "${workflow.input.wei}", "fixed": -HUGE}
    end = step("SET_VARIABLE", "s", inputParameters={"out": "${t.output.wei}", "in": "${workflow.input.wei}"})
    run = await api.run([simple("t", inputParameters=body), end, step("WAIT", "w")], {"wei": HUGE, "deep": [{"n": [HUGE]}]})
    found = await api.one("t")
    assert found["inputData"] == {"wei": HUGE, "fixed": -HUGE}
    assert (await api.update(found, output={"wei": HUGE})).status == 200
    await api.ok("POST", f"/workflow/{run}/variables", {"set": HUGE})
    await api.ok("POST", f"/tasks/{run}/w/COMPLETED", {"z": HUGE})
    done = await api.ended(run)
    assert done["variables"] == {"out": HUGE, "in": HUGE, "set": HUGE}
    assert done["input"] == {"wei": HUGE, "deep": [{"n": [HUGE]}]}
    assert task(done, "w")["outputData"] == {"z": HUGE}


async def test_a_number_of_any_size_in_every_way_to_start_and_to_report(api: Api) -> None:
    await api.register([simple("t")])
    given = {"n": HUGE}
    first = await api.ok("POST", "/workflow", {"name": "wf", "input": given})
    found = await api.one("t")
    report = {"workflowInstanceId": first, "taskId": found["taskId"], "status": "COMPLETED", "outputData": given}
    assert (await api.call("POST", "/tasks/update-v2", report)).status in (200, 204)
    assert (await api.ended(first))["output"] == given
    answer = await api.call(
        "POST", "/workflow/execute/wf/1", {"name": "wf", "input": given}, waitForSeconds=1, waitUntilTaskRef="t"
    )
    assert (answer.status, answer.json["input"]["n"]) == (200, HUGE)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/workflow", {"name": "wf", "priority": HUGE}),
        ("/workflow", {"name": "wf", "version": HUGE}),
        ("/metadata/workflow", {"name": "x", "version": HUGE, "tasks": [simple("t")]}),
        ("/metadata/workflow", {"name": "x", "schemaVersion": HUGE, "tasks": [simple("t")]}),
    ],
)
async def test_numbers_that_mean_something_to_the_server_keep_their_bounds(api: Api, path: str, body: dict[str, Any]) -> None:
    await api.register([simple("t")])
    assert (await api.refused("POST", path, body)).status == 400


# ---- forms of other years


async def test_templates_in_an_inline_definition_may_name_nothing(api: Api) -> None:
    inner = {"name": "in", "tasks": [step("SET_VARIABLE", "s", inputParameters={"x": "${nowhere.output.a}", "y": 1})]}
    found = await api.ended(
        await api.run([step("SUB_WORKFLOW", "c", subWorkflowParam={"name": "in", "workflowDefinition": inner})])
    )
    child = await api.get(task(found, "c")["subWorkflowId"])
    assert child["variables"] == {"x": None, "y": 1}


async def test_a_template_at_the_top_that_names_nothing_is_refused(api: Api) -> None:
    bad = step("SET_VARIABLE", "s", inputParameters={"x": "${nowhere.output.a}"})
    assert "nowhere" in (await api.refused("PUT", "/metadata/workflow", [{"name": "wf", "tasks": [bad]}])).text


async def test_a_definition_without_a_version_number(api: Api) -> None:
    body = step("SET_VARIABLE", "s", inputParameters={"v": 0})
    await api.register([body], version=0)
    assert (await api.ok("GET", "/metadata/workflow/wf"))["version"] == 0
    assert (await api.ended(await api.start()))["workflowVersion"] == 0
    await api.register([simple("t")], version=1)
    assert (await api.ok("GET", "/metadata/workflow/wf"))["version"] == 1
    assert len(await api.ok("GET", "/metadata/workflow/wf/versions")) == 2
    await api.ok("DELETE", "/metadata/workflow/wf/0")
    assert [row["version"] for row in await api.ok("GET", "/metadata/workflow/wf/versions")] == [1]


async def test_a_definition_without_a_version_number_inside_a_start(api: Api) -> None:
    inner = {"name": "in", "version": 0, "tasks": [step("SET_VARIABLE", "s", inputParameters={"v": 0})]}
    run = await api.ok("POST", "/workflow", {"name": "in", "workflowDef": inner})
    assert (await api.ended(run))["variables"] == {"v": 0}


@pytest.mark.parametrize("version", ["", 0, "0", None])
async def test_a_sub_workflow_without_a_version_number(api: Api, version: Any) -> None:
    await api.register([step("SET_VARIABLE", "s", inputParameters={"v": 2})], "low", version=2)
    param = {"name": "low", "version": version, "idempotencyKey": "k", "idempotencyStrategy": "FAIL"}
    found = await api.ended(await api.run([step("SUB_WORKFLOW", "c", subWorkflowParam=param)]))
    assert task(found, "c")["inputData"]["subWorkflowVersion"] == 2
