"""Texts of refusals say values as JSON has them, and where to go from there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio
from tests.acceptance.lusid.world import DEFINITIONS, HANDLERS, TASKS, WORK, creates, merged
from tests.acceptance.official import unique

from pelton.testing import running_server


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with running_server() as server, httpx.AsyncClient(base_url=server.url, timeout=60) as made:
        yield made


async def test_a_guard_says_what_it_saw(http: httpx.AsyncClient) -> None:
    identity = {"scope": "acme", "code": "words"}
    begin, check, finish = WORK["transitions"]
    guarded = {**begin, "guard": "fields['urgent'] eq true and fields['path'] eq 'x'"}
    body = merged(WORK, id=identity, transitions=[guarded, check, finish])
    assert (await http.post(DEFINITIONS, json=body)).status_code == 201
    for fields, saw in (
        ([], "saw null"),
        ([{"name": "urgent", "value": False}], "saw false"),
        ([{"name": "urgent", "value": True}, {"name": "path", "value": "150"}], 'saw "150"'),
    ):
        given = {"taskDefinitionId": identity, "fields": fields}
        answer = await http.post(TASKS, params={"trigger": "begin"}, json=given)
        assert answer.status_code == 400
        assert saw in answer.text.replace('\\"', '"')
        assert not {"None", "True", "False"} & set(answer.json()["detail"].replace(":", " ").split())


async def test_members_are_listed_as_they_are_written(http: httpx.AsyncClient) -> None:
    for query in ({"filter": "sat eq 'x'"}, {"sortBy": "sat"}):
        answer = await http.get(TASKS, params=query)
        assert answer.status_code == 400
        assert "taskDefinitionId" in answer.text


async def test_a_missing_calendar_is_loaded_somewhere(http: httpx.AsyncClient) -> None:
    identity = {"scope": "acme", "code": "words"}
    await http.post(DEFINITIONS, json=merged(WORK, id=identity))
    pattern: dict[str, Any] = {
        "context": {"timeZone": "UTC", "holidayCalendars": [{"scope": "acme", "code": "none"}]},
        "recurrencePattern": {
            "timeConstraints": {"startDate": "2026-01-01", "timesOfDay": [{"type": "Specified", "hours": 9, "minutes": 0}]},
            "dateRegularity": {"type": "Day", "frequency": 1},
            "businessDayAdjustment": "None",
        },
    }
    handler = {
        "id": {"scope": "acme", "code": unique("on")},
        "displayName": "x",
        "description": "x",
        "status": "Active",
        "scheduleMatchingPattern": pattern,
        "runAsUserId": {"setTo": "robot"},
        "taskDefinitionId": identity,
        "taskActivity": creates(),
    }
    answer = await http.post(HANDLERS, json=handler)
    assert answer.status_code == 400
    assert "PUT /workflow/api/calendars/acme/none" in answer.text
