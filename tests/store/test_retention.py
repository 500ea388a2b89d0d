"""How long data is to be kept, as people write it."""

from __future__ import annotations

import pytest

from pelton.store.retention import Keep, keep_text, parse_keep

DAY = 86_400_000


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("30d", Keep(30 * DAY)),
        ("1000000", Keep(None, 1_000_000)),
        ("30d,1000000", Keep(30 * DAY, 1_000_000)),
        (" 5 , 2w ", Keep(14 * DAY, 5)),
        ("90s", Keep(90_000)),
        ("0", Keep(None, 0)),
        ("0d", Keep(0)),
        ("forever", Keep()),
    ],
)
def test_an_age_a_number_or_both(text: str, keep: Keep) -> None:
    assert parse_keep(text) == keep
    assert parse_keep(keep_text(keep)) == keep


@pytest.mark.parametrize("text", ["", "d", "-1", "1.5d", "30 days", "30d,30d", "1,2", "101y", "9999999999999999", "30d,", "٣d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither|two|may be at most"):
        parse_keep(text)
