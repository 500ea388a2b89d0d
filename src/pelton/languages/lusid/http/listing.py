"""Lists: rows of any kind, filtered, sorted and split into pages.

Filters and sort orders see a row as it appears in the response, but for properties: of those they see the values, of all. Cost:
every row at that instant is read, about 10 us each; with a filter or an order each is also rendered, about 30 us more. The event
loop is yielded every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pelton.errors import FieldProblem
from pelton.kernel.expressions.base import ExpressionError, Invalid
from pelton.kernel.matching.filters import folded_reader
from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.filters import CompiledFilter, parse_filter
from pelton.languages.lusid.http import paging
from pelton.languages.lusid.http.api_context import as_at
from pelton.languages.lusid.member_paths import split_path
from pelton.runtime.caller import Caller
from pelton.transport.http.asgi import Request, Response, json_response
from pelton.transport.listing import Row, SortOrder, sort_rows

T = TypeVar("T")
MAX_SORTS = 20
_ENTITY = "\x00entity"  # beside the members of a row
LONG = 10_000  # values that a filter looks at in one row, some 5 ms
AT_ONCE = 100  # rows that are looked at before others get their turn


def condition_of(text: str, roots: frozenset[str]) -> CompiledFilter | None:
    """A list's filter; None for none. `roots`: the members that rows have. Raises LusidError."""
    if not text:
        return None
    try:
        return parse_filter(text, roots=roots)
    except Invalid as error:
        problem = FieldProblem("filter", error.message)
        raise LusidError("InvalidFilter", f"filter: {error.message}", problems=[problem]) from None


async def passes(condition: CompiledFilter, row: Row) -> bool:
    """Whether a row passes; after one that took long, others have their turn. Raises LusidError."""
    try:
        passed = condition.passes(row)
    except ExpressionError as error:
        problem = FieldProblem("filter", error.message)
        raise LusidError("InvalidFilter", f"filter: {error.message}", problems=[problem]) from None
    if condition.looked > LONG:
        await asyncio.sleep(0)
    return passed


def orders_of(texts: Sequence[str], roots: frozenset[str]) -> list[SortOrder]:
    """Sort orders, the most significant first. Raises LusidError."""
    if len(texts) > MAX_SORTS:
        raise _bad_sort(f"has {len(texts)} orders; at most {MAX_SORTS} are taken")
    return [_order(text, roots) for text in texts]


def _order(text: str, roots: frozenset[str]) -> SortOrder:
    path, _, direction = text.strip().rpartition(" ")
    if not path or direction.upper() not in ("ASC", "DESC"):
        path, direction = text.strip(), "ASC"
    try:
        steps = split_path(path.strip())
    except Invalid as error:
        raise _bad_sort(f"must be a path, and ASC or DESC after it: {error.message}") from None
    if steps[0].casefold() not in {root.casefold() for root in roots}:
        raise _bad_sort(f"names {steps[0][:100]!r}, which is not there; known are {', '.join(sorted(roots))}")
    return SortOrder(folded_reader(steps), direction.upper() == "DESC")


async def listed(
    request: Request,
    kind: str,
    read: Callable[[Caller, int], Awaitable[tuple[list[T], int]]],
    shown: Callable[[T], Row],
    roots: frozenset[str],
    *,
    sorts: bool = True,
    seen: Callable[[T], Row] | None = None,
) -> Response:
    """The answer to a list. `read`: all that the caller's namespace has as at a moment (0 = now), in the default order, and the
    moment at which the same will be read again. `seen`: what filters and orders see of a row, if that is not what is shown.
    Raises LusidError."""
    asked = paging.question(request, kind, as_at(request), sorts)
    condition = condition_of(asked.filter, roots)
    orders = orders_of(asked.sort, roots)
    page = paging.page_of(request, asked)
    entities, pin = await read(request.caller, page.at)
    if condition is None and not orders:
        part, total = [shown(each) for each in entities[page.start : page.end]], len(entities)
    else:
        rows = await _passing(entities, seen or shown, condition)
        part, total = [shown(row[_ENTITY]) for row in sort_rows(rows, orders)[page.start : page.end]], len(rows)
    return json_response(paging.paged(part, asked, page, page.at if page.start else pin, total))


async def _passing(entities: Sequence[T], view: Callable[[T], Row], condition: CompiledFilter | None) -> list[Row]:
    """The rows that pass, some at a time, so that others get their turn in between."""
    found: list[Row] = []
    for start in range(0, len(entities), AT_ONCE):
        rows = [{**view(each), _ENTITY: each} for each in entities[start : start + AT_ONCE]]
        found += rows if condition is None else [row for row in rows if await passes(condition, row)]
        await asyncio.sleep(0)
    return found


def _bad_sort(message: str) -> LusidError:
    return LusidError("InvalidSort", f"sortBy {message}", problems=[FieldProblem("sortBy", message)])
