"""Forms and moments: any JSON is a form or a refusal that names the fields, and any text a moment or none."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.languages.lusid import decode, forms, times
from pelton.languages.lusid.errors import NAMES, LusidError
from pelton.languages.lusid.http.errors import render
from pelton.transport.http.errors import WebError
from pelton.transport.validation import MAX_PROBLEMS

FORMS = [forms.CreateTaskDefinition, forms.UpdateTaskDefinition, forms.CreateEventHandler, forms.CreateWorker, forms.ManualEvent]
KEYS = st.sampled_from(
    [
        "id",
        "scope",
        "code",
        "displayName",
        "states",
        "name",
        "initialState",
        "actions",
        "actionDetails",
        "type",
        "setTo",
        "taskFields",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just("RunWorker")
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=6),
    max_leaves=15,
)

DEFINITION: dict[str, Any] = {
    "id": {"scope": "acme", "code": "intake"},
    "displayName": "Intake",
    "description": None,
    "states": [{"name": "New", "category": None}],
    "initialState": {"name": "New"},
    "actions": [{"name": "a", "actionDetails": {"type": "TriggerParentTask", "trigger": "t"}, "runAsUserId": None}],
}


def paths(value: Any, form: Any) -> dict[str, str]:
    with pytest.raises(PeltonError) as caught:
        decode.convert(value, form)
    return {each.path: each.message for each in caught.value.problems}


@given(ANY, st.sampled_from(FORMS))
def test_any_json_is_a_form_or_refused(value: Any, form: Any) -> None:
    made = refused = None
    try:
        made = decode.convert(value, form)
    except PeltonError as error:
        refused = error
    if refused is not None:
        assert refused.code is Code.INVALID
        assert refused.problems
    elif made is not None:
        assert decode.convert(decode.plain(made), form) == made


def test_null_is_absent_and_nothing_is_added() -> None:
    form = decode.convert(DEFINITION, forms.CreateTaskDefinition)
    kept = dict(DEFINITION)
    del kept["description"]
    kept["states"] = [{"name": "New"}]
    kept["actions"] = [{"name": "a", "actionDetails": {"type": "TriggerParentTask", "trigger": "t"}}]
    assert decode.plain(form) == kept


def test_every_field_that_is_wrong_is_named() -> None:
    found = paths(
        {
            "id": {"scope": "a b", "code": "x" * 65},
            "states": [{"name": "A"}, {}, None, {"name": ""}],
            "initialState": "A",
            "fieldSchema": [{"name": "f", "type": "Integer"}, {"name": "g", "type": "String", "containsUrl": "yes"}],
            "actions": [{"name": "a", "actionDetails": {"type": "Unheard"}}, {"name": "b", "actionDetails": {}}],
        },
        forms.CreateTaskDefinition,
    )
    assert set(found) == {
        "id.scope", "id.code", "displayName", "states[1].name", "states[2]", "states[3].name", "initialState",
        "fieldSchema[0].type", "fieldSchema[1].containsUrl", "actions[0].actionDetails.type", "actions[1].actionDetails.type",
    }  # fmt: skip
    assert found["displayName"] == "is required"
    assert found["id.scope"] == "must be 1 to 64 characters of letters, digits, - and _, not 'a b'"
    assert found["fieldSchema[0].type"].startswith("must be one of String, Decimal")


def test_whole_numbers_are_whole_numbers() -> None:
    action = {"type": "RunWorker", "workerId": {"scope": "s", "code": "c"}}
    for wrong in (1.0, "1", True, -1, 10**9):
        value = {**DEFINITION, "actions": [{"name": "a", "actionDetails": {**action, "workerTimeout": wrong}}]}
        assert set(paths(value, forms.CreateTaskDefinition)) == {"actions[0].actionDetails.workerTimeout"}


def test_the_list_of_problems_is_bounded() -> None:
    assert len(paths({**DEFINITION, "states": [{}] * 10_000}, forms.CreateTaskDefinition)) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"[" * 500, b'{"a":123456789012345678901234567890}', b"[]", b'"x"', b"null"]
)
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(PeltonError) as caught:
        decode.decode(data, forms.CreateTaskDefinition)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-06-05", "2024-06-05T00:00:00+00:00"),
        ("2024-06-05T15:12", "2024-06-05T15:12:00+00:00"),
        ("2024-06-05T15:12Z", "2024-06-05T15:12:00+00:00"),
        ("2024-06-05T15:12:39", "2024-06-05T15:12:39+00:00"),
        ("2024-06-05T15:12:39.3", "2024-06-05T15:12:39.300000+00:00"),
        ("2024-06-05T15:12:39.3181750+00:00", "2024-06-05T15:12:39.318175+00:00"),
        ("2024-06-05T15:12:39.3181759Z", "2024-06-05T15:12:39.318175+00:00"),
        ("2024-06-05T15:12:39+02:12", "2024-06-05T13:00:39+00:00"),
        ("2024-06-05T15:12:39 02:12", "2024-06-05T13:00:39+00:00"),
        ("2024-06-05T15:12:39-0200", "2024-06-05T17:12:39+00:00"),
        ("9999-12-31T23:59:59.9999999+00:00", "9999-12-31T23:59:59.999999+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    expected = datetime.fromisoformat(moment)
    assert times.parse_moment(text) == (expected - times.EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text", ["", "now", "2024", "2024-13-01", "2024-02-30", "2024-06-05T25:00", "2024-06-05T10:00+99:00", "٢٠٢٤-01-01"]
)
def test_what_is_no_moment(text: str) -> None:
    assert times.parse_moment(text) is None


@given(st.integers(times.parse_moment("0002-01-01"), times.parse_moment("9998-01-01")), st.sampled_from([0, 330, -660]))
def test_a_moment_that_is_printed_is_read_back(micros: int, offset: int) -> None:
    text = times.print_moment(micros)
    assert len(text) == 33
    assert text.endswith("0+00:00")
    at = (times.EPOCH + timedelta(microseconds=micros)).astimezone(timezone(timedelta(minutes=offset)))
    assert times.parse_moment(text) == times.parse_moment(at.isoformat()) == micros


def body(error: Exception) -> tuple[int, dict[str, str], Any]:
    answer = render(error)
    assert answer is not None
    return answer.status, {name.decode(): value.decode() for name, value in answer.headers}, msgspec.json.decode(answer.body)


def test_problem_bodies() -> None:
    status, headers, found = body(LusidError("WorkerNotFound", "there is no worker a/b"))
    assert (status, found["name"], found["code"], found["status"]) == (404, "WorkerNotFound", 1444, 404)
    assert found["detail"] == "there is no worker a/b"
    assert found["title"]
    assert "errors" not in found
    assert not headers
    _, _, found = body(
        WebError(400, "m", problems=[FieldProblem("a.b", "one"), FieldProblem("a.b", "two"), FieldProblem("c", "x")])
    )
    assert found["name"] == "ValidationError"
    assert found["errors"] == {"a.b": ["one", "two"], "c": ["x"]}
    assert body(WebError(418, "odd"))[2]["name"] == "InternalError"
    assert render(KeyError("x")) is None


def test_only_those_who_may_try_again_are_told_when() -> None:
    for error in (
        WebError(400, "x", headers={"Retry-After": "9"}),
        PeltonError(Code.EXISTS, "x"),
        PeltonError(Code.NOT_FOUND, "x"),
    ):
        assert "retry-after" not in {name.lower() for name in body(error)[1]}
    assert body(PeltonError(Code.BUSY, "x"))[1]["retry-after"] == "1"
    assert body(WebError(429, "x", headers={"retry-after": "7"}))[1]["retry-after"] == "7"


def test_the_rules_say_their_own_names() -> None:
    refusal = PeltonError(Code.INVALID, "m", trace=[{"name": "FieldReadOnly", "field": "fields[x]"}])
    status, _, found = body(refusal)
    assert (status, found["name"], found["errors"]) == (400, "FieldReadOnly", {"fields[x]": ["m"]})
    for trace in ([], ["text"], [{"name": "Unheard"}], [{"name": ["x"], "field": 5}]):
        assert body(PeltonError(Code.GUARD, "m", trace=trace))[2]["name"] == "GuardConditionNotMet"


def test_every_name_has_a_number_of_its_own() -> None:
    assert len({known.code for known in NAMES.values()}) == len(NAMES)
