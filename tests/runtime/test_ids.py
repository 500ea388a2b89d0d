"""Keys rise; ids are what they were made from, and nothing else is an id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.runtime.ids import KEY_END, IdCodec, KeyClock

CODEC = IdCodec(b"s" * 32)
KEYS = st.integers(0, KEY_END - 1)


@given(KEYS, st.integers(0, 10**9))
def test_ids_come_back_in_any_case(key: int, n: int) -> None:
    for case in (str, str.upper):
        assert CODEC.parse_run_id(case(CODEC.run_id(key))) == key
        assert CODEC.parse_event_id(case(CODEC.event_id(key))) == key
        assert CODEC.parse_step_id(case(CODEC.step_id(key, n))) == (key, n)


@given(KEYS, KEYS)
def test_ids_are_in_the_order_of_their_keys(one: int, other: int) -> None:
    assert (one < other) == (CODEC.run_id(one) < CODEC.run_id(other))


@given(KEYS)
def test_ids_of_another_kind_or_secret_are_not_ours(key: int) -> None:
    assert CODEC.parse_event_id(CODEC.run_id(key)) is None
    assert IdCodec(b"t" * 32).parse_run_id(CODEC.run_id(key)) is None


@given(KEYS, st.integers(0, 35), st.sampled_from("0123456789abcdef-"))
def test_an_id_that_was_tampered_with_is_not_ours(key: int, place: int, digit: str) -> None:
    text = CODEC.run_id(key)
    changed = text[:place] + digit + text[place + 1 :]
    assert CODEC.parse_run_id(changed) == (key if changed == text else None)


@given(st.text(max_size=60))
def test_no_text_breaks_the_parsers(text: str) -> None:
    CODEC.parse_run_id(text)
    CODEC.parse_event_id(text)
    CODEC.parse_step_id(text)
    CODEC.parse_step_id(CODEC.run_id(5) + "-" + text)


@pytest.mark.parametrize("number", ["", "007", "-1", "+1", " 1", "1 ", "\u0661", "9" * 30, "1_0"])
def test_one_step_has_one_id(number: str) -> None:
    assert CODEC.parse_step_id(f"{CODEC.run_id(5)}-{number}") is None


@given(st.lists(st.integers(1, 2**41), min_size=1, max_size=50))
def test_keys_rise_whatever_the_clock_does(times: list[int]) -> None:
    moments = iter(times)
    now = [next(moments)]
    keys = KeyClock(lambda: now[0], node=7)
    made = []
    for moment in [now[0], *moments]:
        now[0] = moment
        made += [keys() for _ in range(3)]
    assert made == sorted(set(made))
    assert max(made) < KEY_END


def test_a_millisecond_that_is_full_borrows_from_the_next() -> None:
    keys = KeyClock(lambda: 1_000, node=255)
    made = [keys() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert made[-1] >> 21 == 1_002
    assert {key >> 13 & 255 for key in made} == {255}


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="node 256"):
        KeyClock(lambda: 0, node=256)
    with pytest.raises(ValueError, match="16"):
        IdCodec(b"short")


def test_only_ids_of_our_own_messages_are_taken_for_such() -> None:
    ours, other = IdCodec(b"a" * 32), IdCodec(b"b" * 32)
    text = ours.message_id(77, 3, 1)
    assert ours.is_message_id(text)
    assert not other.is_message_id(text)
    for bad in ("", "x", text[:-2], text + "-", text + "x", text.replace("-3-", "-03-"), "1" + text[1:], ours.run_id(77)):
        assert not ours.is_message_id(bad), bad
