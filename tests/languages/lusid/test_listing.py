"""Filters, orders and pages of lists."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.languages.lusid.api import DEFINITIONS, HANDLERS, INTAKE, ON_FILE, WORKERS, Api, named, update_of

from pelton.kernel.expressions.base import Invalid
from pelton.languages.lusid.http import listing
from pelton.languages.lusid.http.listing import orders_of
from pelton.languages.lusid.member_paths import split_path
from pelton.store import portions
from pelton.transport.listing import sort_rows

ROOTS = frozenset({"a", "b"})
VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["x", "X", "y", ""]) | st.just([])
)


def codes(answer: Any) -> list[str]:
    return [each["id"]["code"] for each in answer["values"]]


async def filled(api: Api, count: int) -> None:
    for number in range(count):
        await api.made(DEFINITIONS, named(INTAKE, f"d{number:02}", description="even" if number % 2 == 0 else None))


async def test_a_page_has_ten_rows_unless_said_otherwise(api: Api) -> None:
    await filled(api, 12)
    first = await api.ok("GET", DEFINITIONS)
    assert codes(first) == [f"d{number:02}" for number in range(10)]
    assert "previousPage" not in first
    assert first["links"] == []
    second = await api.ok("GET", DEFINITIONS, page=first["nextPage"])
    assert codes(second) == ["d10", "d11"]
    assert "nextPage" not in second
    assert codes(await api.ok("GET", DEFINITIONS, page=second["previousPage"])) == codes(first)
    assert len(codes(await api.ok("GET", DEFINITIONS, limit=5000))) == 12
    for limit in ("0", "-1", "5001", "x", "1.5"):
        await api.refused(400, "GET", DEFINITIONS, limit=limit)


async def test_tokens_are_base64_and_for_one_question(api: Api) -> None:
    await filled(api, 3)
    question: dict[str, Any] = {"filter": "description eq 'even'", "sortBy": ["id.code DESC"], "limit": 1}
    token = (await api.ok("GET", DEFINITIONS, **question))["nextPage"]
    assert len(token) <= 500
    base64.b64decode(token, validate=True)
    assert codes(await api.ok("GET", DEFINITIONS, **question, page=token)) == ["d00"]
    others: list[dict[str, Any]] = [
        {**question, "filter": "description exists"},
        {**question, "filter": ""},
        {**question, "sortBy": ["id.code ASC"]},
        {**question, "sortBy": []},
        {**question, "asAt": "9999-12-31"},
    ]
    for other in others:
        assert (await api.refused(400, "GET", DEFINITIONS, **other, page=token))["name"] == "InvalidPageToken"
    assert (await api.refused(400, "GET", WORKERS, **question | {"filter": ""}, page=token))["name"] == "InvalidPageToken"
    for bad in ("x", "AAAA", token[:-4], token + "AAAA", "!" * 20, "A" * 600, "é"):
        assert (await api.refused(400, "GET", DEFINITIONS, **question, page=bad))["name"] == "InvalidPageToken"
    assert codes(await api.ok("GET", DEFINITIONS, **{**question, "limit": 2}, page=token)) == ["d00"]  # the limit may change


async def test_lists_are_read_piece_by_piece(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "FEW", 3)
    monkeypatch.setattr(listing, "AT_ONCE", 2)
    await filled(api, 9)
    everything = [f"d{number:02}" for number in range(9)]
    at = (await api.ok("GET", f"{DEFINITIONS}/acme/d08"))["version"]["asAtModified"]
    for more in ({}, {"asAt": at}, {"filter": "id.scope eq 'acme'"}, {"sortBy": "id.code"}):
        assert codes(await api.ok("GET", DEFINITIONS, **more)) == everything


async def test_filters_see_what_answers_show(api: Api) -> None:
    await filled(api, 3)
    await api.ok("PUT", f"{DEFINITIONS}/acme/d01", update_of(INTAKE, displayName="Changed"), user="bob")
    for text, expected in (
        ("version.asAtVersionNumber gt 1", ["d01"]),
        ("version.userIdModified eq 'BOB'", ["d01"]),
        ("description not exists", ["d01"]),
        ("states any (name eq 'closed')", ["d00", "d01", "d02"]),
        ("version.asAtCreated lt 2020-01-01", []),
        ("not (displayname eq 'intake')", ["d01"]),
        ("ID.Code in 'd00','d02'", ["d00", "d02"]),
    ):
        assert codes(await api.ok("GET", DEFINITIONS, filter=text)) == expected, text


async def test_filters_that_are_none(api: Api) -> None:
    for text in ("id.code", "id.code eq", "id.code eq \u2018x\u2019", "nothing eq 'x'", "x" * 16_385, "id.code eq 'x"):
        for path in (DEFINITIONS, HANDLERS, WORKERS):
            found = await api.refused(400, "GET", path, filter=text)
            assert found["name"] == "InvalidFilter"
            assert list(found["errors"]) == ["filter"]


async def test_orders_that_are_none(api: Api) -> None:
    for text in ("nothing ASC", "id.code SIDEWAYS", "id.code  ASC DESC", "id..code", ".", "id[ ASC", "DESC", " "):
        assert (await api.refused(400, "GET", DEFINITIONS, sortBy=text))["name"] == "InvalidSort", text


async def test_handlers_are_listed_in_the_order_in_which_they_were_made(api: Api) -> None:
    await api.made(DEFINITIONS, INTAKE)
    for code in ("b", "a"):
        await api.made(HANDLERS, named(ON_FILE, code))
    assert codes(await api.ok("GET", HANDLERS)) == ["b", "a"]
    assert codes(await api.ok("GET", HANDLERS, sortBy="nothing")) == ["b", "a"]  # this list has no such parameter
    assert codes(await api.ok("GET", HANDLERS, filter="taskActivity.type eq 'CreateNewTask' and id.code eq 'a'")) == ["a"]


@given(st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), max_size=12), st.sampled_from(["ASC", "DESC", "asc", ""]))
def test_rows_without_a_value_come_last_and_nothing_is_lost(rows: list[dict[str, Any]], direction: str) -> None:
    found = sort_rows(rows, orders_of([f"A {direction}".strip(), "b DESC"], ROOTS))
    assert sorted(map(repr, found)) == sorted(map(repr, rows))
    absent = [row["a"] is None or row["a"] == [] for row in found]
    assert absent == sorted(absent)
    numbers = [row["a"] for row in found if type(row["a"]) is int]
    assert numbers == sorted(numbers, reverse=direction == "DESC")


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("body.filePath", ["body", "filePath"]),
        ("body.identifiers[Instrument/default/Figi]", ["body", "identifiers", "Instrument/default/Figi"]),
        ("fields['a.b'].c", ["fields", "a.b", "c"]),
        ("a", ["a"]),
        ("a[b][c]", ["a", "b", "c"]),
    ],
)
def test_paths(text: str, steps: list[str]) -> None:
    assert split_path(text) == steps


@given(st.text(alphabet="ab.[]' ", max_size=12))
def test_any_text_is_a_path_or_none(text: str) -> None:
    try:
        steps = split_path(text)
    except Invalid:
        return
    assert steps
    assert all(steps)
