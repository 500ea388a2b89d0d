"""Reading lists a few rows at a time where the rows are large: so what is in memory is bounded by bytes, not by number alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pelton.store.port import LAST_VERSION, Store
from pelton.store.rows import DefinitionRow

FEW, MANY = 4, 100  # rows that are read at once: at first, and while they are small
LARGE = 256 << 10  # bytes of such rows together that are not small


def next_count(count: int, size: int) -> int:
    """How many rows to read after `count` of them that had `size` bytes together."""
    return min(MANY, count * 2) if size < LARGE else 1


async def each_definition(
    store: Store, ns: str, kind: str, at: int = 0, after: str = "", name: str = ""
) -> AsyncIterator[DefinitionRow]:
    """Definitions by name and version, those with names after `after`, or the versions of one `name`. Others have their turn in
    between."""
    version, count = LAST_VERSION, FEW
    if name:
        after, version = name, -1
    while True:
        rows = await store.definitions(ns, kind, at=at, after=after, after_version=version, limit=count)
        for row in rows:
            if name and row.name != name:
                return
            yield row
        if len(rows) < count:
            return
        after, version = rows[-1].name, rows[-1].version
        count = next_count(count, sum(len(row.body) for row in rows))
        await asyncio.sleep(0)
