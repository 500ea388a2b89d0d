"""Forms: what an answer must be, which forms there are, and that a check ends soon for any of them."""

from __future__ import annotations

from typing import Any

import pytest

from pelton.errors import Code
from pelton.kernel.machine.draft import Refusal
from pelton.runtime.people.forms import MOST_STEPS, check_answer, check_form

ITEMS = {
    "type": "array",
    "items": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "uniqueItems": True,
    "maxItems": 2,
}


def problems(form: Any, answer: Any, **more: Any) -> list[str]:
    check_form(form)
    try:
        check_answer(form, answer, **more)
    except Refusal as refusal:
        return [f"{each['field']} {each['problem']}" for each in refusal.trace]
    return []


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ({"type": "integer"}, [1, 2.0, -3], [1.5, "1", True, None]),
        ({"type": ["string", "null"]}, ["", None], [1, []]),
        ({"enum": [1, "a", None]}, [1, 1.0, "a", None], [True, "b", 2]),
        ({"const": {"a": [1]}}, [{"a": [1.0]}], [{"a": [True]}, {}]),
        ({"minimum": 1, "exclusiveMaximum": 3}, [1, 2.9, "text"], [0, 3]),
        ({"multipleOf": 0.1}, [0.3, 1], [0.35]),
        ({"minLength": 2, "maxLength": 3}, ["ab", "üüü", 7], ["a", "abcd"]),
        (ITEMS, [[], [{"n": 1}]], [[{"n": 1}, {"n": 1.0}], [1], [{"n": "x"}], [{}, {"a": 1}, {"b": 1}]]),
        ({"required": ["a"], "maxProperties": 1}, [{"a": 1}, 5], [{}, {"a": 1, "b": 2}]),
        ({"properties": {"a": True, "b": False}}, [{"a": 1, "c": 2}], [{"b": 1}]),
        ({"properties": {"a": True}, "additionalProperties": {"type": "string"}}, [{"a": 1, "c": "x"}], [{"c": 1}]),
        ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, ["x", 5], [4]),
        ({"oneOf": [{"minimum": 5}, {"maximum": 9}]}, [1, 10], [7]),
        ({"allOf": [{"minimum": 5}, {"maximum": 9}], "not": {"const": 7}}, [5, 9], [4, 10, 7]),
    ],
)  # fmt: skip
def test_what_fits_and_what_does_not(form: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert problems(form, value) == [], value
    for value in bad:
        assert problems(form, value) != [], value


def test_a_refusal_names_every_place_and_what_is_wrong_there() -> None:
    form = {"properties": {"items": ITEMS, "who": {"enum": ["a", "b"]}}, "required": ["who", "why"]}
    assert problems(form, {"items": [{"n": "x"}], "who": "c"}) == [
        "answer.why is required",
        'answer.items[0].n must be of type integer, not "x"',
        'answer.who must be one of "a", "b", not "c"',
    ]
    assert problems(form, {"who": "c"}, partial=True) == ['answer.who must be one of "a", "b", not "c"']


@pytest.mark.parametrize(
    ("form", "place"),
    [
        (5, "form"),
        ({"type": "thing"}, "form.type"),
        ({"type": []}, "form.type"),
        ({"properties": []}, "form.properties"),
        ({"properties": {"a": 1}}, "form.properties.a"),
        ({"items": {"minimum": "1"}}, "form.items.minimum"),
        ({"multipleOf": 0}, "form.multipleOf"),
        ({"maxLength": -1}, "form.maxLength"),
        ({"anyOf": []}, "form.anyOf"),
        ({"required": "a"}, "form.required"),
        ({"pattern": "(a*)*b"}, "form.pattern"),
        ({"allOf": [{"$ref": "#"}]}, "form.allOf[0].$ref"),
        ({"if": {}}, "form.if"),
    ],
)
def test_a_form_that_could_not_be_checked_is_refused_with_the_place(form: Any, place: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_form(form)
    assert (caught.value.code, caught.value.trace[0]["field"]) == (Code.INVALID, place)


def nested(depth: int) -> Any:
    form: Any = {"type": "string"}
    for _ in range(depth):
        form = {"items": form}
    return form


@pytest.mark.parametrize("form", [nested(100), {"allOf": [{}] * 5_000}, {"title": "x" * 70_000}])
def test_a_form_that_is_too_large_is_refused(form: Any) -> None:
    with pytest.raises(Refusal) as caught:
        check_form(form)
    assert caught.value.code is Code.TOO_LARGE


@pytest.mark.parametrize(
    "form",
    [
        {"items": {"allOf": [{"minimum": 0}] * 1_500}},
        {"items": {"enum": [str(number) for number in range(5_000)]}},
        {"allOf": [{"uniqueItems": True}] * 1_500},
    ],
)
def test_a_check_that_would_take_too_long_is_refused(form: Any) -> None:
    check_form(form)
    with pytest.raises(Refusal) as caught:
        check_answer(form, list(range(5_000)))
    assert caught.value.code is Code.TOO_LARGE
    assert str(MOST_STEPS) in caught.value.detail
