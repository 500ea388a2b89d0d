"""Lists of task definitions by their properties, as lists of tasks have them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.languages.lusid.api import DEFINITIONS, Api
from tests.languages.lusid.machines import TASKS, Desk, here, machine

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEAM, SIZE, TAGS = (f"TaskDefinition/own/{name}" for name in ("Team", "Size", "Tags"))


def properties(**values: Any) -> dict[str, Any]:
    """By what they are: a label, a metric or a set of labels."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = {"team": TEAM, "size": SIZE, "tags": TAGS}[name]
        if isinstance(value, str):
            found[key] = {"key": key, "value": {"labelValue": value}}
        elif isinstance(value, list):
            found[key] = {"key": key, "value": {"labelValueSet": {"values": value}}}
        else:
            found[key] = {"key": key, "value": {"metricValue": {"value": value, "unit": "m"}}}
    return found


KINDS = {
    "a": properties(team="Rates", size=3, tags=["x", "y"]),
    "b": properties(team="Credit", size=20, tags=["y"]),
    "c": properties(team="rates"),
    "d": {},
}


async def of_here(api: Api, path: str, name: str, where: str, **query: Any) -> list[str]:
    member = "id" if path == DEFINITIONS else "taskDefinitionId"
    text = f"{member}.scope eq '{here()}'" + (f" and ({where})" if where else "")
    found = await api.ok("GET", path, filter=text, limit=100, **query)
    return [each[member]["code"] for each in found["values"]]


@pytest.mark.parametrize(
    ("where", "codes"),
    [
        (f"properties[{TEAM}] eq 'Rates'", "ac"),
        (f"properties[{TEAM}] neq 'Rates'", "b"),
        (f"properties[{TEAM}] not exists", "d"),
        (f"not (properties[{TEAM}] eq 'Rates')", "bd"),
        (f"properties[{SIZE}] gt 3", "b"),
        (f"properties[{SIZE}] in 3, 4", "a"),
        (f"properties[{TAGS}] any (~ eq 'y')", "ab"),
        (f"properties[{TAGS}] none (~ eq 'x')", "b"),
        (f"properties['{TAGS}'][0] eq 'y'", "b"),
    ],
)
async def test_definitions_are_found_as_their_tasks_are(desk: Desk, where: str, codes: str) -> None:
    for code, given in KINDS.items():
        await desk.define(machine(code, "New go Done", properties=given))
        await desk.create(code)
    for query in ({}, {"propertyKeys": SIZE}):
        assert "".join(await of_here(desk.api, DEFINITIONS, "id", where, **query)) == codes
        assert "".join(await of_here(desk.api, TASKS, "taskDefinitionId", where, **query)) == codes


async def test_definitions_are_sorted_by_them_and_shown_as_asked_for(desk: Desk) -> None:
    for code, given in KINDS.items():
        await desk.define(machine(code, "New go Done", properties=given))
        await desk.create(code)
    for order in (f"properties[{SIZE}] DESC", f"properties[{SIZE}]", f"properties[{TEAM}] ASC"):
        codes = [await of_here(desk.api, path, "", "", sortBy=order) for path in (DEFINITIONS, TASKS)]
        assert codes[0] == codes[1]
    assert (await of_here(desk.api, DEFINITIONS, "", f"properties[{SIZE}] exists", sortBy=f"properties[{SIZE}] DESC")) == [
        "b",
        "a",
    ]
    asked: Any = {"filter": f"properties[{TEAM}] eq 'Credit' and id.scope eq '{here()}'"}
    [bare] = (await desk.api.ok("GET", DEFINITIONS, **asked))["values"]
    assert "properties" not in bare
    [shown] = (await desk.api.ok("GET", DEFINITIONS, propertyKeys=SIZE, **asked))["values"]
    assert shown["properties"] == {SIZE: KINDS["b"][SIZE]}
