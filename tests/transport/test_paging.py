"""Page tokens: they lead where they were made for, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.errors import Code, PeltonError
from pelton.transport.paging import LONGEST, Page, page_token, question_hash, read_token

INSTANTS = st.integers(0, 2**63 - 1)


@given(INSTANTS, INSTANTS, st.lists(st.text(), max_size=4))
def test_a_token_leads_back_to_its_page(at: int, start: int, parts: list[str]) -> None:
    question = question_hash(*parts)
    text = page_token(question, at, start)
    assert read_token(text, question, 7) == Page(at, start, 7)
    assert read_token(text.replace("+", " "), question, 7).start == start
    with pytest.raises(PeltonError, match="another list"):
        read_token(text, question_hash(*parts, "more"), 7)


def test_questions_differ_by_where_their_parts_end() -> None:
    assert question_hash("ab", "c") != question_hash("a", "bc")


@pytest.mark.parametrize("text", ["x", "AAAA", "!" * 32, "A" * (LONGEST + 4), page_token(b"question", -1, 0)])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(PeltonError) as caught:
        read_token(text, b"question", 7)
    assert caught.value.code is Code.INVALID
    assert caught.value.value == text[:100]
