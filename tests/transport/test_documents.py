"""What comes as msgpack is held to what JSON can say, whichever way it is looked at."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Struct
from tests.exploring import examples

from pelton.errors import PeltonError
from pelton.transport import documents
from pelton.transport.documents import clean


class Letter(Struct):
    body: Any = None
    more: Any = UNSET


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.just(1j),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=2), st.text(max_size=2), st.integers(0, 2)), below, max_size=3),
        st.builds(Letter, below, below),
    ),
    max_leaves=8,
)


@examples(200)
@given(VALUES)
def test_a_quick_look_decides_as_a_close_one_does(value: Any) -> None:
    quick, close = Letter(copy.deepcopy(value)), Letter(copy.deepcopy(value))
    said: list[str] = []
    for look, letter in ((clean, quick), (documents._clean, close)):
        try:
            look(letter, 200)
            said.append("")
        except PeltonError as error:
            said.append(error.message)
    assert said[0] == said[1]
    assert repr(quick) == repr(close)


@pytest.mark.parametrize("depth", [199, 200, 201])
def test_depth(depth: int) -> None:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    letter = Letter(value)
    if depth <= 200:
        clean(letter, 200)
    else:
        with pytest.raises(PeltonError, match="is nested deeper than 200 levels"):
            clean(letter, 200)


def test_bytes_become_texts() -> None:
    letter = Letter({"a": [b"\xff", {"b": b""}], "c": 1})
    clean(letter)
    assert letter == Letter({"a": ["/w==", {"b": ""}], "c": 1})
