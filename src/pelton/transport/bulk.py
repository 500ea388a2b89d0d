"""One operation on many items of one request, each of which succeeds or fails independently."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from pelton.errors import Category, PeltonError

AT_ONCE = 50  # operations that are under way together


class BulkOutcome(NamedTuple):
    """`done`: those that succeeded, in the order of the request. `failed`: why the others did not, by id."""

    done: list[str]
    failed: dict[str, str]


def refusal(error: Exception) -> str | None:
    """The text of an error to report for one item; None for a fault, which fails the whole request."""
    return error.message if isinstance(error, PeltonError) and error.category is not Category.FAULT else None


async def apply_to_each(
    ids: Iterable[str],
    operation: Callable[[str], Awaitable[object]],
    *,
    refusal: Callable[[Exception], str | None] = refusal,
    at_once: int = AT_ONCE,
) -> BulkOutcome:
    """Applies `operation` to every id, at most `at_once` at a time; a repeated id counts once.

    Raises an exception of `operation` for which `refusal` returns None. The caller limits the number of ids.
    """

    async def one(name: str) -> str | None:
        try:
            await operation(name)
        except Exception as error:
            reason = refusal(error)
            if reason is None:
                raise
            return reason
        return None

    names = list(dict.fromkeys(ids))
    failed: dict[str, str] = {}
    for start in range(0, len(names), at_once):
        some = names[start : start + at_once]
        reasons = await asyncio.gather(*(one(name) for name in some))
        failed |= {name: reason for name, reason in zip(some, reasons, strict=True) if reason is not None}
    return BulkOutcome([name for name in names if name not in failed], failed)
