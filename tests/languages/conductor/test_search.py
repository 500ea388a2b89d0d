"""Searching workflows and tasks: the query language, free text, pages and orders."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.conductor.api import Api, simple, step

from pelton.errors import PeltonError
from pelton.languages.conductor.search import grammar, workflows
from pelton.languages.conductor.search.grammar import QueryCondition, Sort


async def some(api: Api) -> dict[str, str]:
    """Workflows by a name for the test: three that are done, one that failed, one that runs, and a child."""
    await api.register([step("INLINE", "i", inputParameters={"expression": "1", "evaluatorType": "javascript"})], name="order_a")
    await api.register([simple("work", retryCount=0)], name="order_b")
    await api.register([step("SUB_WORKFLOW", "sub", subWorkflowParam={"name": "order_a", "version": 1})], name="parent")
    found = {
        "a1": await api.start({"customer": "Ann's shop"}, "order_a", correlationId="case-1"),
        "a2": await api.start({"customer": "Bob"}, "order_a", correlationId="case-2"),
        "b1": await api.start({"n": 1}, "order_b", correlationId="case-1"),
    }
    await api.update(await api.one("work"), "FAILED", reasonForIncompletion="no stock")
    await api.ended(found["b1"], "FAILED")
    found["b2"] = await api.start({"n": 2}, "order_b")
    found["p"] = await api.start({}, "parent")
    whole = await api.ended(found["p"])
    found["child"] = whole["tasks"][0]["subWorkflowId"]
    for name in ("a1", "a2"):
        await api.ended(found[name])
    return found


async def names(api: Api, found: dict[str, str], path: str = "/workflow/search", **query: Any) -> list[str]:
    """By the names of `some`; the total must fit."""
    by_id = {identity: name for name, identity in found.items()}
    answer = await api.ok("GET", path, **query)
    if "size" not in query and "start" not in query:
        assert answer["totalHits"] == len(answer["results"])
    return [by_id[each["workflowId"]] for each in answer["results"]]


async def test_what_queries_find(api: Api) -> None:
    found = await some(api)
    every = ["child", "p", "b2", "b1", "a2", "a1"]
    assert await names(api, found) == every
    assert await names(api, found, freeText="*", query="", sort="") == every
    b1 = await api.get(found["b1"])
    cases: list[tuple[str, list[str]]] = [
        ("status=COMPLETED", ["child", "p", "a2", "a1"]),
        ("status = 'FAILED'", ["b1"]),
        ("status IN (FAILED, RUNNING)", ["b2", "b1"]),
        ('status IN ("FAILED","RUNNING") AND workflowType=order_b', ["b2", "b1"]),
        ("workflowType=order_*", ["child", "b2", "b1", "a2", "a1"]),
        ("workflowType='order_a' AND status=COMPLETED", ["child", "a2", "a1"]),
        ("workflowType IN (order_b,parent)", ["p", "b2", "b1"]),
        ("workflowType = none", []),
        ("status=NONE", []),
        ("status=COMPLETED OR status=FAILED", []),
        ("foo=1", every),
        ("foo=1 AND status=FAILED", ["b1"]),
        (f"workflowId='{found['a2']}'", ["a2"]),
        (f"workflowId IN ({found['a2']}, {found['b1']},none)", ["b1", "a2"]),
        (f"workflowId IN ({found['a2']},{found['b1']}) AND workflowType=order_b", ["b1"]),
        ("workflowId=none", []),
        ("correlationId=case-1", ["b1", "a1"]),
        ("correlationId = 'case-*'", ["b1", "a2", "a1"]),
        ("correlationId=case-1 AND status=COMPLETED", ["a1"]),
        (f"parentWorkflowId={found['p']}", ["child"]),
        (f"startTime>{b1['startTime'] + 3_600_000}", []),
        (f"startTime<{b1['startTime'] + 3_600_000} AND startTime>{b1['startTime'] - 3_600_000} AND status=FAILED", ["b1"]),
        (f"startTime={b1['startTime']} AND workflowType=order_b AND status=FAILED", ["b1"]),
        (f"endTime={b1['endTime']} AND status=FAILED", ["b1"]),
        (f"endTime<{b1['endTime'] + 3_600_000} AND endTime>0 AND workflowType=order_b", ["b1"]),
        ("updateTime<5", []),
        ("version=1 AND workflowType=parent", ["p"]),
    ]
    for query, expected in cases:
        assert await names(api, found, query=query) == expected, query
    assert await names(api, found, topLevelOnly="true", query="workflowType=order_a") == ["a2", "a1"]


async def test_free_text_is_found_in_names_ids_inputs_and_reasons(api: Api) -> None:
    found = await some(api)
    cases = [
        ("ann's SHOP", ["a1"]),
        ("ORDER_b", ["b2", "b1"]),
        ("no stock", ["b1"]),
        ("case-2", ["a2"]),
        (found["a2"], ["a2"]),
        ("nowhere", []),
    ]
    for text, expected in cases:
        assert await names(api, found, freeText=text) == expected, text
    assert await names(api, found, freeText="case-1", query="status=FAILED") == ["b1"]


async def test_pages_and_orders(api: Api) -> None:
    found = await some(api)
    for start in range(7):
        answer = await api.ok("GET", "/workflow/search", start=start, size=2)
        assert answer["totalHits"] == 6
        assert await names(api, found, start=start, size=2) == ["child", "p", "b2", "b1", "a2", "a1"][start : start + 2]
    assert await api.ok("GET", "/workflow/search", size=0) == {"totalHits": 6, "results": []}
    orders = [
        ("startTime:ASC", ["a1", "a2", "b1", "b2", "p", "child"]),
        ("startTime:DESC", ["child", "p", "b2", "b1", "a2", "a1"]),
        ("workflowType:ASC|startTime:ASC", ["a1", "a2", "child", "b1", "b2", "p"]),
        ("status:ASC|startTime:DESC", ["child", "p", "a2", "a1", "b1", "b2"]),
        ("correlationId:DESC|startTime:ASC", ["a2", "a1", "b1", "b2", "p", "child"]),
        ("foo:ASC", ["child", "p", "b2", "b1", "a2", "a1"]),
    ]
    for sort, expected in orders:
        assert await names(api, found, sort=sort) == expected, sort
        assert await names(api, found, sort=sort, start=1, size=3) == expected[1:4], sort
    assert (await names(api, found, sort="endTime:DESC"))[0] in ("p", "child")


async def test_a_summary_and_a_whole_workflow(api: Api) -> None:
    found = await some(api)
    [summary] = (await api.ok("GET", "/workflow/search", query=f"workflowId={found['b1']}"))["results"]
    assert summary["input"] == '{"n":1}'
    assert summary["output"] == "{}"
    assert (summary["workflowType"], summary["version"], summary["status"]) == ("order_b", 1, "FAILED")
    assert (summary["failedReferenceTaskNames"], summary["failedTaskNames"]) == ("work", ["work"])
    assert "no stock" in summary["reasonForIncompletion"]
    assert summary["startTime"].endswith("Z")
    assert len(summary["startTime"]) == len("2026-01-01T00:00:00.000Z")
    assert summary["correlationId"] == "case-1"
    [child] = (await api.ok("GET", "/workflow/search", query=f"workflowId={found['child']}"))["results"]
    assert child["parentWorkflowId"] == found["p"]
    [whole] = (await api.ok("GET", "/workflow/search-v2", query=f"workflowId={found['b1']}"))["results"]
    assert (whole["workflowId"], whole["tasks"], whole["input"]) == (found["b1"], [], {"n": 1})


async def test_tasks_are_found_by_their_fields(api: Api) -> None:
    found = await some(api)
    whole = await api.get(found["b1"])
    task = whole["tasks"][0]["taskId"]

    async def search(query: str, **more: Any) -> list[tuple[str, str]]:
        answer = await api.ok("GET", "/tasks/search", query=query, **more)
        assert answer["totalHits"] == len(answer["results"])
        return [(each["referenceTaskName"], each["status"]) for each in answer["results"]]

    assert await search("taskType=work") == [("work", "SCHEDULED"), ("work", "FAILED")]
    assert await search("taskDefName IN (work) AND status=FAILED") == [("work", "FAILED")]
    assert await search("status=SCHEDULED") == [("work", "SCHEDULED")]
    assert await search(f"taskId='{task}'") == [("work", "FAILED")]
    assert await search(f"workflowId={found['p']}") == [("sub", "COMPLETED")]
    assert await search("workflowType=order_a AND status=COMPLETED AND taskType=INLINE") == [("i", "COMPLETED")] * 3
    assert await search("", freeText="no stock") == [("work", "FAILED")]
    assert await search("taskType=work", sort="status:ASC") == [("work", "FAILED"), ("work", "SCHEDULED")]
    assert await search("taskType=none") == []
    answer = await api.ok("GET", "/tasks/search", query="taskType=work", start=1, size=1)
    assert (answer["totalHits"], [each["taskId"] for each in answer["results"]]) == (2, [task])
    [summary] = (await api.ok("GET", "/tasks/search", query=f"taskId={task}"))["results"]
    assert (summary["workflowId"], summary["workflowType"], summary["taskDefName"]) == (found["b1"], "order_b", "work")
    [v2] = (await api.ok("GET", "/tasks/search-v2", query=f"taskId={task}"))["results"]
    assert v2["taskId"] == task
    assert v2["reasonForIncompletion"] == "no stock"
    for path in ("/workflow/search-by-tasks", "/workflow/search-by-tasks-v2"):
        assert await names(api, found, path, query="taskType=work") == ["b2", "b1"]
        assert await names(api, found, path, query="taskType=work AND status=FAILED") == ["b1"]


async def test_many_by_their_ids(api: Api) -> None:
    found = await some(api)
    answer = await api.ok("POST", "/workflow/bulk/search", [found["a1"], "none", found["b1"]], includeTasks="true")
    assert [each["workflowId"] for each in answer["bulkSuccessfulResults"]] == [found["a1"], found["b1"]]
    assert answer["bulkSuccessfulResults"][1]["tasks"][0]["status"] == "FAILED"
    assert answer["bulkErrorResults"] == {"none": "No such workflow found by id: none"}
    await api.refused("POST", "/workflow/bulk/search", [])


async def test_what_is_refused(api: Api) -> None:
    for path in ("/workflow/search", "/tasks/search"):
        for query in ({"query": "status"}, {"query": "status=COMPLETED AND what"}, {"query": "startTime>soon"}, {"size": 5001}):
            assert (await api.refused("GET", path, **query)).status == 400, query
    await some(api)
    refused = await api.refused("GET", "/workflow/search", query="startTime>soon")
    assert "epoch milliseconds" in refused.json["message"]


async def test_a_search_that_would_look_at_too_much_says_how_to_narrow_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await some(api)
    monkeypatch.setattr(workflows, "HEADS", 4)
    refused = await api.refused("GET", "/workflow/search", sort="endTime:DESC")
    assert (refused.status, "narrow it by workflowType" in refused.text) == (413, True)
    assert await names(api, found, sort="endTime:DESC", query="workflowType=order_b") == ["b1", "b2"]
    monkeypatch.setattr(workflows, "WHOLE", 2)
    assert await names(api, found, freeText="order") == ["child"]  # in the newest


async def test_definitions_that_are_gone_or_were_never_stored_are_found_too(api: Api) -> None:
    run = await api.ok(
        "POST", "/workflow", {"name": "x", "workflowDef": {"name": "inline", "version": 1, "tasks": [simple("t")]}}
    )
    assert [each["workflowId"] for each in (await api.ok("GET", "/workflow/search", query="workflowType=inline"))["results"]] == [
        run
    ]
    other = await api.run([simple("u")], name="wf")
    await api.ok("DELETE", "/metadata/workflow/wf/1")
    assert await names(api, {"other": other, "run": run}) == ["other", "run"]


def test_queries_are_parsed() -> None:
    assert grammar.parse("a = 'x AND y' and b IN ('p, q', r) AND c>5") == [
        QueryCondition("a", "=", ("x AND y",)),
        QueryCondition("b", "in", ("p, q", "r")),
        QueryCondition("c", ">", ("5",)),
    ]
    assert grammar.parse("a>=5 AND b<= 6") == [QueryCondition("a", ">=", ("5",)), QueryCondition("b", "<=", ("6",))]
    assert grammar.parse(" ") == []
    assert grammar.parse_sort("a:ASC|b|c:DESC", {"a", "b"}) == [Sort("a", True), Sort("b", False)]
    for bad in ("a", "=5", "a NOT IN (1)", "a=1 AND "):
        with pytest.raises(PeltonError, match="Incorrectly formatted query string"):
            grammar.parse(bad)
    for pattern, text, expected in (
        ("a*b", "ab", True),
        ("a*b", "axxb", True),
        ("ab*b", "ab", False),
        ("*a*a*", "aa", True),
        ("*a*a*", "a", False),
        ("x*", "ax", False),
    ):
        assert grammar.wildcard(pattern)(text) is expected, (pattern, text)
    for text, bounds in (
        ("t>5", (6, 0)),
        ("t<5", (0, 5)),
        ("t=5", (5, 6)),
        ("t>5 AND t<9 AND t<7", (6, 7)),
        ("t IN (3,9)", (3, 10)),
    ):
        assert grammar.time_bounds(grammar.parse(text)) == bounds
