"""Addresses that the original has, and that are not served: never are they taken for the name of a workflow or a task."""

from __future__ import annotations

import pytest
from tests.languages.conductor.api import Api, simple, step

from pelton.languages.conductor.http.reserved import RESERVED, shape

EACH = [(method, pattern) for pattern, methods in RESERVED for method in methods]


def test_no_address_is_reserved_twice() -> None:
    assert len(EACH) == len(set(EACH))


async def test_a_mock_run_starts_nothing(api: Api) -> None:
    """Whether or not it can be made, a workflow of that name has nothing to do with it."""
    await api.register([simple("t")], "test")
    await api.call("POST", "/workflow/test", {"name": "wf", "workflowDef": {"name": "wf", "tasks": [step("WAIT", "w")]}})
    assert await api.ok("GET", "/workflow/running/test", version=1) == []


@pytest.mark.parametrize(("method", "pattern"), EACH)
async def test_what_is_not_served_says_so(api: Api, method: str, pattern: str) -> None:
    if (method, shape(pattern)) in [(each, shape(route)) for each, route in api.routes]:
        return
    path = pattern.replace("{", "").replace("}", "")
    answer = await api.refused(method, path, {})
    assert answer.status == 501
    assert f"{method} {pattern} is not supported" in answer.text


async def test_routes_that_are_served_stay(api: Api) -> None:
    await api.register([simple("t")])
    run = await api.start()
    assert (await api.get(run))["status"] == "RUNNING"
    assert (await api.refused("GET", "/workflow/nothing")).status == 404
    assert await api.ok("GET", "/tasks/queue/all") == {"t": 1}
