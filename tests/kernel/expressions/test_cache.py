"""Compiled forms that are kept while they are in use."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from pelton.kernel.expressions.base import Invalid
from pelton.kernel.expressions.cache import LARGE, LARGE_KEPT, SMALL_KEPT, remembered
from pelton.kernel.matching.conditions import compile_condition


def test_the_latest_are_remembered_and_large_ones_drive_out_no_small_ones() -> None:
    made: list[str] = []

    @remembered
    def make(source: str) -> list[str]:
        made.append(source)
        return [source]

    first = make("small")
    for number in range(LARGE_KEPT + 1):
        make(f"{number}".ljust(LARGE + 1))
    assert make("small") is first
    assert len(made) == LARGE_KEPT + 2
    make("0".ljust(LARGE + 1))
    assert len(made) == LARGE_KEPT + 3
    for number in range(SMALL_KEPT):
        make(f"{number}")
    assert make("small") == first
    assert make("small") is not first


def test_what_fails_fails_again() -> None:
    @remembered
    def make(source: str) -> Any:
        raise Invalid(source)

    for _ in range(2):
        with pytest.raises(Invalid):
            make("x")


def test_a_condition_that_was_forgotten_decides_as_before() -> None:
    first = compile_condition("$.customer == 17 && $.total > 100")
    others = [compile_condition(f"$.customer == {number}") for number in range(SMALL_KEPT + 10)]
    assert first.passes({"customer": 17, "total": 101})
    assert not first.passes({"customer": 17, "total": 1})
    assert first.test({"customer": 17, "total": 1}).trace[0].text == "$.total > 100"
    assert [each.passes({"customer": 3}) for each in others[:5]] == [False, False, False, True, False]


def test_many_conditions_hold_few_objects_each() -> None:
    for number in range(SMALL_KEPT):  # so that nothing more is remembered than before
        compile_condition(f"$.warm == {number} && $.n > 0")
    gc.collect()
    before = len(gc.get_objects())
    found = [compile_condition(f"$.topic == 't{number}' && $.n > 0") for number in range(1_000)]
    gc.collect()
    assert len(gc.get_objects()) - before <= 6 * len(found)
