"""Waiting for a run: looks are made before, between and after changes, and never without an end."""

from __future__ import annotations

from typing import Self

from pelton.transport.waiting import LONGEST_PAUSE, wait_until_found


class Changes:
    """A watch that says at once that something has changed."""

    def __init__(self) -> None:
        self.open = False
        self.pauses: list[float] = []

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(self, *exc: object) -> None:
        self.open = False

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 - as the port has it
        assert self.open
        self.pauses.append(timeout)
        return True


async def test_looks_are_repeated_until_one_finds_something() -> None:
    watch, found = Changes(), iter([None, None, 5])

    async def look() -> int | None:
        assert watch.open
        return next(found)

    assert await wait_until_found(watch, look, 60) == 5
    assert watch.pauses == [LONGEST_PAUSE, LONGEST_PAUSE]
    assert not watch.open


async def test_one_look_is_made_when_there_is_no_time() -> None:
    watch, looks = Changes(), 0

    async def look() -> int | None:
        nonlocal looks
        looks += 1
        return None

    assert await wait_until_found(watch, look, 0) is None
    assert (looks, watch.pauses) == (1, [])
