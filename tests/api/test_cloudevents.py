"""CloudEvents over HTTP, in every mode, good and bad."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.api.cloudevents import BATCHED, MAX_BATCH, STRUCTURED, from_request, to_json
from pelton.errors import Code, PeltonError
from pelton.runtime.api import EventIn
from pelton.store.rows import EventRow
from pelton.transport.http.errors import WebError

GOOD = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def take(body: Any, kind: str = STRUCTURED, **headers: str) -> list[EventIn]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = {"content-type": kind} if kind else {}
    found.update((name.replace("_", "-"), value) for name, value in headers.items())
    return from_request(found, data)[0]


def row(event: EventIn) -> EventRow:
    return EventRow(
        1,
        event.ns,
        event.source,
        event.id,
        event.type,
        event.subject,
        event.time,
        5,
        event.body,
        event.attributes,
        b"",
        0,
        [],
        [],
        "x",
    )


def test_structured() -> None:
    [event] = take({**GOOD, "subject": "s", "time": "2026-01-31T12:00:00.5+01:00", "data": {"a": 1}, "ext1": 7})
    assert (event.id, event.source, event.type, event.subject, event.body) == ("1", "/s", "t", "s", {"a": 1})
    assert event.time == 1769857200500
    assert event.attributes == {"ext1": 7}


def test_a_batch_keeps_its_order() -> None:
    events = take([{**GOOD, "id": str(number)} for number in range(5)], BATCHED)
    assert [event.id for event in events] == list("01234")
    assert take([], BATCHED) == []


def test_plain_json_needs_only_type_and_source() -> None:
    [event] = take({"type": "t", "source": "s", "data": [1]}, "application/json; charset=utf-8")
    assert (event.id, event.body) == ("", [1])


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/vnd.x+json", b"[1]", [1]),
        ("application/json", b"", None),
        ("text/plain; charset=utf-8", "grüß".encode(), "grüß"),
        ("application/octet-stream", b"\xff\x00", base64.b64encode(b"\xff\x00").decode()),
        ("", b"\xff", base64.b64encode(b"\xff").decode()),
        ("text/plain", b"\xff", base64.b64encode(b"\xff").decode()),
    ],
)
def test_binary(kind: str, body: bytes, expected: Any) -> None:
    [event] = take(body, kind, ce_specversion="1.0", ce_id="1", ce_source="/s", ce_type="t", ce_trace="%C3%BC")
    assert event.body == expected
    assert event.attributes["trace"] == "ü"
    again = to_json(row(event))
    assert ("data_base64" in again) == (isinstance(expected, str) and expected != "grüß")


def test_bytes_come_back_as_they_were() -> None:
    text = base64.b64encode(bytes(range(256))).decode()
    [event] = take({**GOOD, "data_base64": text, "datacontenttype": "image/png"})
    again = to_json(row(event))
    assert again == {**GOOD, "data_base64": text, "datacontenttype": "image/png"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**GOOD, "specversion": "0.3"}, "specversion"),
        ({"id": "1", "source": "s", "type": "t"}, "specversion"),
        ({**GOOD, "id": ""}, "id"),
        ({**GOOD, "id": 5}, "id"),
        ({**GOOD, "source": None}, "source"),
        ({**GOOD, "type": "a\nb"}, "type"),
        ({**GOOD, "type": "x" * 3000}, "type"),
        ({**GOOD, "time": "yesterday"}, "time"),
        ({**GOOD, "time": "2026-01-31T12:00:00"}, "time"),
        ({**GOOD, "Upper": 1}, "Upper"),
        ({**GOOD, "ext": {"a": 1}}, "ext"),
        ({**GOOD, "ext": 1.5}, "ext"),
        ({**GOOD, "data": 1, "data_base64": ""}, "data_base64"),
        ({**GOOD, "data_base64": "?"}, "data_base64"),
        ({**GOOD, "database64": True}, "database64"),
        ([GOOD], ""),
    ],
)
def test_a_bad_event_names_the_field(body: Any, field: str) -> None:
    with pytest.raises(PeltonError) as caught:
        take(body)
    assert caught.value.code is Code.INVALID
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_bad_event_of_a_batch_names_its_place() -> None:
    with pytest.raises(PeltonError) as caught:
        take([GOOD, {**GOOD, "id": 5}], BATCHED)
    assert caught.value.field == "[1].id"


def test_limits() -> None:
    with pytest.raises(PeltonError) as caught:
        take([GOOD] * (MAX_BATCH + 1), BATCHED)
    assert caught.value.code is Code.TOO_LARGE
    with pytest.raises(PeltonError):
        take(b'{"data": ' + b"[" * 500 + b"]" * 500 + b"}")
    with pytest.raises(WebError):
        take(GOOD, "text/xml")


@given(st.sampled_from([STRUCTURED, BATCHED, "application/json", "text/plain", ""]), st.binary(max_size=200), st.booleans())
def test_any_bytes_become_events_or_one_of_two_errors(kind: str, body: bytes, binary: bool) -> None:
    headers = {"ce_id": "1", "ce_type": "t", "ce_source": "s", "ce_specversion": "1.0"} if binary else {}
    with suppress(WebError, PeltonError):
        take(body, kind, **headers)


LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
JSONS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.sampled_from([*GOOD, "time", "data", "data_base64", "subject", "ext"]), JSONS))
def test_any_object_becomes_an_event_that_can_be_shown_or_a_problem(found: dict[str, Any]) -> None:
    try:
        events = take(found)
    except (WebError, PeltonError):
        return
    for event in events:
        assert to_json(row(event))["id"] == event.id
