"""One operation on many ids: what succeeds, what fails, and what ends it all."""

from __future__ import annotations

import asyncio

import pytest

from pelton.errors import Code, PeltonError
from pelton.transport.bulk import apply_to_each


async def test_each_id_succeeds_or_fails_by_itself_and_once() -> None:
    seen: list[str] = []

    async def act(name: str) -> None:
        seen.append(name)
        if name == "b":
            raise PeltonError(Code.CONFLICT, "not now")

    outcome = await apply_to_each(["c", "b", "a", "c"], act)
    assert outcome == (["c", "a"], {"b": "not now"})
    assert sorted(seen) == ["a", "b", "c"]


async def test_a_fault_ends_the_whole_request() -> None:
    async def act(name: str) -> None:
        raise PeltonError(Code.INTERNAL, "broken") if name == "x" else KeyError(name)

    with pytest.raises(PeltonError):
        await apply_to_each(["x"], act)
    with pytest.raises(KeyError):
        await apply_to_each(["y"], act)
    assert (await apply_to_each(["y"], act, refusal=repr)).failed == {"y": "KeyError('y')"}


async def test_no_more_than_so_many_are_under_way_together() -> None:
    running = most = 0

    async def act(name: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    outcome = await apply_to_each(map(str, range(20)), act, at_once=4)
    assert (len(outcome.done), most) == (20, 4)
