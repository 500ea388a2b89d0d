"""Pages of lists that are bounded by bytes as well as by number: what is read, what is held in memory and what is sent.

A page ends at `MAX_PAGE` bytes, and its cursor says where the rest begins. Rows are read a few at a time where they are large.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

R = TypeVar("R")

MAX_PAGE = 4 << 20  # bytes of the rows on one page; a single larger row is a page
FEW, MANY = 4, 100  # rows that are read at once: at first, and while they are small
LARGE = 256 << 10  # bytes of such rows together that are not small


class FilledPage(NamedTuple):
    """`shown`: rows, encoded. `place`: of the last row that was taken; where the next page begins. `more`: there may be more."""

    shown: list[Any]
    place: Any
    more: bool


async def fill_page(
    read: Callable[[Any, int], Awaitable[Sequence[R]]],
    start: Any,
    limit: int,
    place_of: Callable[[R], Any],
    show: Callable[[R], Any],
) -> FilledPage:
    """`read(place, count)`: rows behind a place. `show`: a row encoded, None to leave it out."""
    shown: list[Any] = []
    place, size, taken, count = start, 0, 0, FEW
    while taken < limit:
        most = min(count, limit - taken)
        rows = await read(place, most)
        before = size
        for row in rows:
            encoded = show(row)
            if encoded is not None:
                length = len(bytes(encoded))
                if shown and size + length > MAX_PAGE:
                    return FilledPage(shown, place, True)
                size += length
                shown.append(encoded)
            place, taken = place_of(row), taken + 1
        if len(rows) < most:
            return FilledPage(shown, place, False)
        count = next_count(count, size - before)
        await asyncio.sleep(0)
    return FilledPage(shown, place, True)


def next_count(count: int, size: int) -> int:
    """How many rows to read after `count` of them that had `size` bytes together."""
    return min(MANY, count * 2) if size < LARGE else 1
