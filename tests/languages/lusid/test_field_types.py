"""What the types of fields take, and how it is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.languages.lusid.definitions.field_types import fitted

KINDS = st.sampled_from(["String", "LusidUserId", "Decimal", "Boolean", "DateTime"])


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("String", "", ""),
        ("LusidUserId", "00u", "00u"),
        ("Decimal", 3, 3),
        ("Decimal", 2.5, 2.5),
        ("Decimal", "12.50", 12.5),
        ("Decimal", "-7", -7),
        ("Decimal", "1e3", 1000),
        ("Boolean", True, True),
        ("Boolean", "False", False),
        ("DateTime", "2024-06-05", "2024-06-05T00:00:00.0000000+00:00"),
        ("DateTime", "2024-06-05T15:12:39.5+02:00", "2024-06-05T13:12:39.5000000+00:00"),
    ],
)
def test_what_fits(kind: str, value: Any, kept: Any) -> None:
    found = fitted(kind, value)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("String", 1),
        ("String", None),
        ("String", "x" * 64_001),
        ("Decimal", True),
        ("Decimal", "many"),
        ("Decimal", "NaN"),
        ("Decimal", "1_000"),
        ("Decimal", "\u0661"),
        ("Decimal", "1e999"),
        ("Decimal", float("inf")),
        ("Decimal", "1" * 500),
        ("Decimal", "0.12345678901234567890123"),
        ("Decimal", []),
        ("Boolean", 1),
        ("Boolean", "yes"),
        ("DateTime", 0),
        ("DateTime", "soon"),
    ],
)
def test_what_does_not(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        fitted(kind, value)


@given(KINDS, st.text(max_size=30) | st.integers() | st.floats() | st.booleans() | st.none())
def test_any_value_fits_or_not_and_what_is_kept_stays(kind: str, value: Any) -> None:
    try:
        kept = fitted(kind, value)
    except ValueError:
        return
    assert fitted(kind, kept) == kept
    json.dumps(kept, allow_nan=False)


@given(st.text(alphabet="0123456789eE+-._ ", max_size=14))
def test_any_text_is_a_number_or_not(text: str) -> None:
    try:
        kept = fitted("Decimal", text)
    except ValueError:
        return
    assert float(kept) == float(text)
