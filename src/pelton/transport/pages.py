"""Lists that are bounded by bytes as well as by number: what is read, what is held in memory and what is sent.

A page ends at `MAX_PAGE` bytes, and its cursor says where the rest begins. A list whose API has no pages is refused beyond
`MAX_WHOLE`: a part of it would be taken for all. Rows are read a few at a time where they are large, and each is encoded by
itself, so that one that cannot be shown whole does not hide the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog
from msgspec import Raw, json

from pelton.errors import Code, PeltonError
from pelton.runtime.rows import FEW, next_count

R = TypeVar("R")

MAX_PAGE = 4 << 20  # bytes of the rows on one page; a single larger row is a page
MAX_WHOLE = 4 * MAX_PAGE  # bytes of a list without pages
YIELD = 100  # rows of such a list after which others get their turn

log = structlog.get_logger("pelton.transport")
_json = json.Encoder(enc_hook=str)


class FilledPage(NamedTuple):
    """`shown`: rows, encoded. `place`: of the last row that was taken; where the next page begins. `more`: there may be more."""

    shown: list[Any]
    place: Any
    more: bool


def each_shown(rows: Iterable[R], view: Callable[[R], Any], bare: Callable[[R, str], Any]) -> list[Any]:
    """The rows of a list, each encoded by itself. `bare`: what can be shown of a row that cannot be shown whole, and why. For
    lists in JSON only."""
    return [shown_row(row, view, bare) for row in rows]


def shown_row(row: R, view: Callable[[R], Any], bare: Callable[[R, str], Any]) -> Raw:
    try:
        return Raw(_json.encode(view(row)))
    except Exception as error:  # whatever is in it: somebody else may have written it
        return _bare(row, bare, error)


async def shown_later(row: R, view: Callable[[R], Awaitable[Any]], bare: Callable[[R, str], Any]) -> Raw:
    """The same, for a view that has to read something else."""
    try:
        return Raw(_json.encode(await view(row)))
    except Exception as error:  # as above
        return _bare(row, bare, error)


def _bare(row: R, bare: Callable[[R, str], Any], error: Exception) -> Raw:
    log.warning("a row cannot be shown whole", exc_info=error)
    return Raw(_json.encode(bare(row, f"cannot be shown: {type(error).__name__}")))


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


def cut_page(shown: Iterable[Any]) -> list[Any]:
    """As many of the rows as a page holds, and at least one."""
    found: list[Any] = []
    size = 0
    for row in shown:
        size += len(bytes(row))
        if found and size > MAX_PAGE:
            break
        found.append(row)
    return found


async def whole_list(rows: AsyncIterable[R], show: Callable[[R], Any], remedy: str) -> list[Any]:
    """All of a list that has no pages, encoded; `show` as in `fill_page`. Raises PeltonError TOO_LARGE."""
    shown: list[Any] = []
    size = 0
    async for row in rows:
        encoded = show(row)
        if encoded is None:
            continue
        size += len(bytes(encoded))
        check_whole(size, remedy)
        shown.append(encoded)
        if len(shown) % YIELD == 0:
            await asyncio.sleep(0)
    return shown


def check_whole(size: int, remedy: str) -> None:
    """Raises PeltonError TOO_LARGE if a list without pages has too many bytes."""
    if size > MAX_WHOLE:
        raise PeltonError(Code.TOO_LARGE, f"the list has more than {MAX_WHOLE >> 20} MiB; {remedy}", remedy=remedy)
