"""What rows look like as bytes, whatever is in them."""

from __future__ import annotations

from typing import Any

import pytest

from pelton.kernel.model.signals import EventArrived
from pelton.store.packing import UNSIZED, decoder, pack, size_of


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64, 10**40, -(2**63), -(10**40)])
def test_whole_numbers_of_any_size_come_back(number: int) -> None:
    event = EventArrived(id=1, name="e", body={"n": [number]})
    assert decoder(EventArrived)(pack(event)) == event
    assert size_of({"n": number}) > len(str(number)) // 3


def test_everything_has_a_size() -> None:
    assert size_of({"a": "x" * 1_000}) > 1_000
    assert size_of({"a": ["x" * 1_000, 10**40]}) > 1_000
    assert size_of({"a": object()}) > 0
    assert size_of(nested(100_000)) == UNSIZED
    assert size_of("half of a pair: \ud800") == UNSIZED
