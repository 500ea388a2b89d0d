"""Lists: things known by name, filtered, sorted and split into pages.

Filters and sort orders see a row as it appears in the response, but for properties: of those they see the values, of all. Cost:
every row at that instant is read, about 10 us each; with a filter or an order each is also rendered, about 30 us more. The event
loop is yielded every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from msgspec import Raw

from pelton.errors import FieldProblem
from pelton.kernel.expressions.base import ExpressionError, Invalid
from pelton.kernel.matching.filters import folded_reader
from pelton.languages.lusid.errors import LusidError
from pelton.languages.lusid.filters import CompiledFilter, parse_filter
from pelton.languages.lusid.http import paging
from pelton.languages.lusid.http.api_context import as_at
from pelton.languages.lusid.member_paths import split_path
from pelton.transport.http.asgi import Request, Response, json_response
from pelton.transport.listing import Row, SortOrder, sort_rows
from pelton.transport.named import NamedThings, NamedVersion
from pelton.transport.pages import MAX_PAGE, shown_row

T = TypeVar("T")
V = TypeVar("V", bound=NamedVersion)
MAX_SORTS = 20
_POSITION = "\x00position"  # beside the members of a row
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


class Position(NamedTuple):
    """Of a thing in a list: what it is put in order by, and where it is read again when it is shown."""

    created: int
    name: str
    row: int
    keys: tuple[Any, ...]


async def listed(
    request: Request,
    things: NamedThings[V],
    shown: Callable[[V], Row],
    roots: frozenset[str],
    *,
    sorts: bool = True,
    seen: Callable[[V], Row] | None = None,
) -> Response:
    """The answer to a list of what the caller's namespace has, oldest first unless an order is given. `seen`: what filters and
    orders see of a row, if that is not what is shown. A few are in memory at a time: all of them are looked at, and those of the
    page are read again. Raises LusidError."""
    asked = paging.question(request, things.kind_name, as_at(request), sorts)
    condition = condition_of(asked.filter, roots)
    orders = orders_of(asked.sort, roots)
    page = paging.page_of(request, asked)
    pin = await things.reached()
    places: list[Position] = []
    newest = min(page.at, pin) if page.at else pin
    looked = 0
    async for each in things.each(request.caller, page.at):
        looked += 1
        if looked % AT_ONCE == 0:
            await asyncio.sleep(0)
        newest = max(newest, each.row.since)
        keys: tuple[Any, ...] = ()
        if condition is not None or orders:
            view = _seen(each, seen or shown)
            if condition is not None and not await passes(condition, view):
                continue
            keys = tuple(order.read(view) for order in orders)
        places.append(Position(each.created, each.row.name, each.row.id, keys))
    places.sort(key=lambda place: (place.created, place.name))
    rows: list[Row] = [{_POSITION: place} for place in places]
    by_key = [SortOrder(_key_at(at), order.descending) for at, order in enumerate(orders)]
    wanted: list[Position] = [row[_POSITION] for row in sort_rows(rows, by_key)[page.start : page.end]]

    async def one(place: Position) -> Raw:
        return shown_row(await things.version(place.row), shown, bare)

    part = await cut_rows(wanted, one)
    return json_response(paging.paged(part, asked, page, page.at if page.start else newest, len(places)))


def _key_at(at: int) -> Callable[[Row], Any]:
    return lambda row: row[_POSITION].keys[at]


def bare(entity: Any, why: str) -> Row:
    """What can be shown of a thing that cannot be shown whole."""
    name: str = entity.row.name
    scope, slash, code = name.partition("/")
    return {"id": {"scope": scope, "code": code} if slash else name, "displayName": name, "description": why}


async def cut_rows(rows: Sequence[T], show: Callable[[T], Awaitable[Raw]]) -> list[Raw]:
    """As many rows as a page holds, encoded, and at least one: what is left begins the next page."""
    found: list[Raw] = []
    size = 0
    for row in rows:
        encoded = await show(row)
        size += len(bytes(encoded))
        if found and size > MAX_PAGE:
            break
        found.append(encoded)
        if len(found) % AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


def _seen(entity: V, view: Callable[[V], Row]) -> Row:
    try:
        return view(entity)
    except Exception as error:  # a thing that cannot be shown whole is seen as it is shown
        return bare(entity, str(error))


def _bad_sort(message: str) -> LusidError:
    return LusidError("InvalidSort", f"sortBy {message}", problems=[FieldProblem("sortBy", message)])
