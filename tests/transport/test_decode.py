"""Structs out of JSON: what fits is taken, and what does not is reported all at once, each by its path."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType

from pelton.errors import Code, FieldProblem, PeltonError
from pelton.transport.decode import LENIENT, STRICT, Decoder
from pelton.transport.validation import MAX_PROBLEMS, MAX_SHOWN, Problems, describe


class Circle(Struct, tag_field="shape", tag="circle"):
    radius: int


class Box(Struct, tag_field="shape", tag="box"):
    sides: list[int]


class Part(Struct, rename="camel"):
    part_name: Annotated[str, Meta(pattern="[a-z]+", max_length=5, description="1 to 5 small letters")]
    count: int = 1


class Order(Struct, rename="camel"):
    parts: list[Part]
    urgent: bool = False
    size: Literal["small", "large"] = "small"
    outline: Circle | Box | UnsetType = UNSET
    numbers: dict[str, int] = {}
    notes: Any = None


class Loose(Struct):
    name: str = ""
    count: int = 7
    share: float = 0.5
    flag: bool = False
    either: int | str = 0
    numbers: list[int] = []
    texts: dict[str, str] = {}


strict = Decoder(STRICT)
lenient = Decoder(LENIENT, typed_first=True)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["parts", "partName", "count", "outline", "shape", "radius", "numbers", "flag", "size"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def wrong(decoder: Decoder, value: Any, form: type[Any]) -> dict[str, str]:
    with pytest.raises(PeltonError) as caught:
        decoder.convert(value, form)
    assert caught.value.code is Code.INVALID
    return {each.path: each.message for each in caught.value.problems}


def test_what_fits_is_taken_and_null_is_absent() -> None:
    data = (
        b'{"parts":[{"partName":"cog","count":2,"odd":1}],"size":null,"outline":{"shape":"box","sides":[1,2]},"notes":{"x":null}}'
    )
    found = strict.decode(data, Order)
    assert found == Order([Part("cog", 2)], outline=Box([1, 2]), notes={"x": None})


def test_every_field_that_does_not_fit_is_named() -> None:
    found = wrong(
        strict,
        {
            "parts": [{"partName": "Cog"}, {"count": "1"}, 5],
            "urgent": "yes",
            "size": "huge",
            "outline": {"shape": "star"},
            "numbers": {"a": 1.5, "b": 2, "c": None},
        },
        Order,
    )
    assert found == {
        "parts[0].partName": "must be 1 to 5 small letters, not 'Cog'",
        "parts[1].partName": "is required",
        "parts[1].count": "must be a whole number, not '1'",
        "parts[2]": "must be an object, not 5",
        "urgent": "must be true or false, not 'yes'",
        "size": "must be one of small, large, not 'huge'",
        "outline.shape": "must be one of circle, box, not 'star'",
        "numbers.a": "must be a whole number, not 1.5",
    }
    assert wrong(strict, {"parts": [], "outline": {}}, Order) == {"outline.shape": "is required: one of circle, box"}
    assert wrong(Decoder(STRICT, bracket_keys=True), {"parts": [], "numbers": {"a": ""}}, Order).keys() == {"numbers[a]"}


def test_scalars_are_converted_where_their_meaning_is_plain() -> None:
    value = {"name": 5, "count": " 12 ", "share": "3", "flag": "TRUE", "either": "x", "numbers": ["1", 2.0], "texts": {"a": True}}
    assert lenient.convert(value, Loose) == Loose("5", 12, 3.0, True, "x", [1, 2], {"a": "true"})
    assert lenient.convert({"count": "", "flag": " ", "name": ""}, Loose) == Loose()
    bad = {"count": "12x", "flag": "yes", "numbers": [1, "", "z"], "name": {}, "either": 2**63}
    assert wrong(lenient, bad, Loose) == {
        "count": "must be a whole number, not '12x'",
        "flag": "must be true or false, not 'yes'",
        "numbers[1]": "must be given, not ''",
        "numbers[2]": "must be a whole number, not 'z'",
        "name": "must be text, not an object",
        "either": "must be a whole number of at most 64 bits, not 9223372036854775808",
    }


def test_a_null_in_a_map_is_an_entry_only_where_that_is_asked_for() -> None:
    assert lenient.convert({"texts": {"a": None}}, Loose).texts == {}
    keeping = Decoder(LENIENT, keep_null_entries=True)
    assert wrong(keeping, {"texts": {"a": None}}, Loose) == {"texts.a": "must be text, not null"}


def test_one_struct_counts_as_a_list_of_one() -> None:
    assert lenient.convert_list({"name": "a"}, Loose) == [Loose("a")]
    assert lenient.convert_list([{"name": "a"}, {}], Loose) == [Loose("a"), Loose()]
    with pytest.raises(PeltonError) as caught:
        lenient.convert_list([{"count": "x"}, 5], Loose)
    assert [each.path for each in caught.value.problems] == ["[0].count", "[1]"]


@given(ANY, st.sampled_from([(strict, Order), (lenient, Loose), (lenient, Order)]))
def test_any_json_is_a_struct_or_is_refused(value: Any, how: tuple[Decoder, type[Any]]) -> None:
    decoder, form = how
    refused = None
    try:
        assert isinstance(decoder.decode(msgspec.json.encode(value), form), form)
    except PeltonError as error:
        refused = error
    if refused is not None:
        assert refused.code is Code.INVALID
        assert all(each.message for each in refused.problems)


def test_problems_are_bounded_and_raised_together() -> None:
    problems = Problems("order.")
    problems.raise_any()
    for index in range(MAX_PROBLEMS + 10):
        problems.add(f"parts[{index}]", "is odd", index, remedy="leave it out")
    with pytest.raises(PeltonError, match=rf"^order\.parts\[0\] is odd \(and {MAX_PROBLEMS - 1} more\)$") as caught:
        problems.raise_any()
    assert caught.value.problems[0] == FieldProblem("order.parts[0]", "is odd", "0", "leave it out")
    assert len(caught.value.problems) == MAX_PROBLEMS


def test_values_are_described_in_few_characters() -> None:
    assert [describe(each) for each in ({"a": 1}, [1, 2], "it's", None, True, 1.5)] == [
        "an object", "a list of 2", '"it\'s"', "null", "true", "1.5",
    ]  # fmt: skip
    assert len(describe("x" * 1000)) == MAX_SHOWN
