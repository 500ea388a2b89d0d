"""By what tasks are found: keys of numbers and moments, however they are made, and when nothing can have changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from operator import is_
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.languages.lusid.api import DEFINITIONS, HANDLERS, INTAKE, ON_FILE, serving

from pelton.languages.lusid.definitions.record import apply_changes, attributes, basis, read_definition
from pelton.languages.lusid.filters.values import index_value
from pelton.languages.lusid.times import EPOCH, parse_moment, print_moment
from pelton.runtime.api import EventIn
from pelton.runtime.caller import SERVER
from pelton.store.group import Group

DEFINITION = read_definition(
    "acme/intake",
    {
        "states": [{"name": "New"}, {"name": "Closed"}],
        "initialState": {"name": "New"},
        "transitions": [{"fromState": "New", "toState": "Closed", "trigger": "close"}],
        "fieldSchema": [
            {"name": "Path", "type": "String"},
            {"name": "rows", "type": "Decimal"},
            {"name": "b", "type": "Boolean"},
        ],
    },
    0,
)


@given(
    st.integers()
    | st.integers(-(10**40), 10**40).map(lambda n: n * 10**20)
    | st.sampled_from([0, 10**1000, 10**1001, -(10**1001)])
)
def test_a_whole_number_has_the_key_of_the_same_decimal(number: int) -> None:
    assert index_value(number) == index_value(Decimal(number))


@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_has_the_key_of_the_same_float(number: int) -> None:
    assert index_value(number) == index_value(float(number))


@given(
    st.integers(-62 * 10**15, 253_000 * 10**12),
    st.integers(-23 * 60, 23 * 60),
    st.sampled_from(["", "seconds", "minutes", "microseconds"]),
)
def test_moments_are_read_as_the_calendar_has_them(microseconds: int, offset: int, precision: str) -> None:
    at = (EPOCH + timedelta(microseconds=microseconds)).astimezone(timezone(timedelta(minutes=offset)))
    text = at.isoformat(timespec=precision or "auto")
    expected = (datetime.fromisoformat(text).astimezone(UTC) - EPOCH) // timedelta(microseconds=1)
    assert parse_moment(text) == expected
    assert parse_moment(print_moment(expected)) == expected
    assert len(print_moment(expected)) == 33


@pytest.mark.parametrize(
    "text",
    [
        "2024-06-05T24:00Z", "2024-06-05T23:60Z", "2024-06-05T23:59:60Z", "2024-06-05T23:59+24:00", "2024-06-05T23:59+05:60",
        "2024-02-30", "0000-01-01", "2024-13-01", "2024-06-05T", "2024-06-05 5:00",
    ],
)  # fmt: skip
def test_what_is_no_moment(text: str) -> None:
    assert parse_moment(text) is None


_CHANGES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "fields": st.dictionaries(st.sampled_from(["Path"]), st.none() | st.sampled_from(["a", "A", "2024-06-05"]))
        | st.dictionaries(st.sampled_from(["rows"]), st.none() | st.sampled_from([1, 1.0, 0, 2.5]))
        | st.dictionaries(st.sampled_from(["b"]), st.none() | st.booleans()),
        "correlationIds": st.lists(st.sampled_from(["c", "d"]), max_size=2),
        "stackingKey": st.sampled_from(["k", "l"]),
    },
)


@given(st.lists(st.tuples(_CHANGES, st.sampled_from(["New", "Closed"])), min_size=1, max_size=5), st.booleans())
def test_a_task_whose_basis_is_the_same_is_found_by_the_same(steps: list[tuple[dict[str, Any], str]], child: bool) -> None:
    document: dict[str, Any] = {"state": "New", "fields": {"Path": "a", "rows": 1, "b": True}, "correlationIds": ["c"]}
    if child:
        document["parent"] = 7
    for changes, state in steps:
        after = {**apply_changes(DEFINITION, document, changes), "state": state}
        if all(map(is_, basis(DEFINITION, document), basis(DEFINITION, after))):
            assert attributes(DEFINITION, document) == attributes(DEFINITION, after)
        document = after


def test_a_change_of_state_alone_leaves_the_basis() -> None:
    document: dict[str, Any] = {"state": "New", "fields": {"Path": "a"}, "correlationIds": ["c"], "stackingKey": "k", "parent": 7}
    moved = {**document, "moved": 5}
    assert all(map(is_, basis(DEFINITION, document), basis(DEFINITION, moved)))
    closed = {**document, "state": "Closed"}
    assert not all(map(is_, basis(DEFINITION, document), basis(DEFINITION, closed)))


async def test_making_a_task_is_an_ordinary_group_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups with rows of rare kinds are encoded and judged with far more work."""
    seen: list[set[str]] = []
    async with serving(tmp_path) as api:
        await api.made(DEFINITIONS, INTAKE)
        await api.made(HANDLERS, ON_FILE)
        store, commit = api.engine.store, api.engine.store.commit

        def noticed(groups: list[Group]) -> Any:
            seen.extend(set(group.filled) for group in groups if group.events)
            return commit(groups)

        monkeypatch.setattr(store, "commit", noticed)
        body = {"filePath": "/acme/inbox/a.csv", "fileId": "1"}
        event = EventIn(ns="default", source="t", type="FileCreated", id="1", body=body, attributes={"userid": "ann"})
        [posted] = await api.engine.ingest(SERVER, [event])
        assert [effect.outcome for effect in posted.effects] == ["started"]
    assert seen == [{"number", "runs", "handlers", "events"}]
