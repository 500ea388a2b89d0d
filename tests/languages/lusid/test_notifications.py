"""Events raised by hand, and the registry of event types."""

from __future__ import annotations

import re
from typing import Any

from tests.languages.lusid.api import DEFINITIONS, HANDLERS, INTAKE, ON_FILE, TYPES, Api, changed

from pelton.runtime.caller import SERVER

MANUAL = "/notification/api/manualevent"


async def test_an_event_raised_by_hand_is_posted(api: Api) -> None:
    sent = {"subject": "s", "message": "m", "jsonMessage": {"path": "/x", "rows": 3}}
    answer = await api.ok("POST", MANUAL, sent, status=201, user="ann")
    assert answer["body"] == sent
    header = answer["header"]
    assert (header["eventType"], header["userId"]) == ("Manual", "ann")
    assert re.fullmatch(r".{33}", header["timestamp"])
    [event] = await api.engine.events(SERVER)
    assert (event.type, event.body, event.event_id) == ("Manual", sent, header["requestId"])
    assert event.attributes["userid"] == "ann"


async def test_handlers_see_its_header_and_body(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    pattern = {
        "eventType": "Manual",
        "filter": "body.jsonMessage.rows gt 2 and header.userId eq 'ann' and header.requestId exists",
    }
    activity = {"type": "CreateNewTask", "taskFields": {"path": {"mapFrom": "body.jsonMessage.path"}}}
    await api.made(HANDLERS, changed({**ON_FILE, "taskActivity": activity}, "eventMatchingPattern", pattern))
    for user, expected in (("ann", "fired"), ("bob", "false")):
        await api.ok("POST", MANUAL, {"subject": "s", "message": "m", "jsonMessage": {"rows": 3}}, status=201, user=user)
        event = (await api.engine.events(SERVER))[0]
        assert (await api.engine.explain(SERVER, event.key, "acme/on-file")).verdict == expected


async def test_what_is_missing_is_named(api: Api) -> None:
    for sent, field in (
        ({"message": "m"}, "subject"),
        ({"subject": "s"}, "message"),
        ({"subject": "", "message": "m"}, "subject"),
    ):
        assert list((await api.refused(400, "POST", MANUAL, sent))["errors"]) == [field]
    assert await api.engine.events(SERVER) == []


async def test_event_types_that_come_with_the_service(api: Api) -> None:
    values = (await api.ok("GET", TYPES))["values"]
    ids = [each["id"] for each in values]
    assert ids == sorted(ids)
    assert {"FileCreated", "FileUpdated", "FileDeleted", "Manual", "PortfolioCreated"} <= set(ids)
    created = await api.ok("GET", f"{TYPES}/FileCreated")
    assert {"name": "filePath", "type": "String"} in created["bodySchema"]
    assert {"name": "userId", "type": "String"} in created["headerSchema"]
    assert (await api.refused(404, "GET", f"{TYPES}/Nothing"))["name"] == "EventTypeNotFound"
    assert (await api.refused(409, "POST", TYPES, {"id": "Manual"}))["name"] == "EventTypeAlreadyExists"


async def test_event_types_of_operators(api: Api) -> None:
    given: dict[str, Any] = {"id": "ScanDone", "displayName": "Scan done", "bodySchema": [{"name": "where", "type": "String"}]}
    made = await api.made(TYPES, given)
    assert made["bodySchema"] == given["bodySchema"]
    assert await api.ok("GET", f"{TYPES}/ScanDone") == made
    assert made in (await api.ok("GET", TYPES))["values"]
    await api.refused(409, "POST", TYPES, given)
    changed_ = await api.ok("PUT", f"{TYPES}/ScanDone", {"bodySchema": []})
    assert changed_["bodySchema"] == []
    await api.refused(400, "PUT", f"{TYPES}/ScanDone", {"id": "Other"})
    for wrong, field in (({"id": "Scan done"}, "id"), ({"id": "X", "bodySchema": [{"name": "a"}]}, "bodySchema[0].type")):
        assert list((await api.refused(400, "POST", TYPES, wrong))["errors"]) == [field]
    await api.ok("DELETE", f"{TYPES}/ScanDone")
    await api.refused(404, "GET", f"{TYPES}/ScanDone")
