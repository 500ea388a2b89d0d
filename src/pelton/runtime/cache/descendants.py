"""How many descendants events and runs have, as far as this server has asked: see `DescendantsRow`.

What is decided here counts at once, before it is committed. Where other servers write too, the number is read again now and then:
so many of theirs may be missing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from pelton.store.port import Store
from pelton.store.rows import DESCENDANTS_SPAN, DescendantsRow

MOST = 10_000  # ancestors that are remembered
DEFAULT = 10_000  # descendants
LOOKS = 16  # readings on the way to the limit, where other servers write

Ancestor = tuple[str, int]  # namespace, ancestor


class Descendants:
    __slots__ = ("_known", "_own", "_store", "limit")

    def __init__(self, store: Store) -> None:
        self.limit = DEFAULT
        self._store = store
        self._known: OrderedDict[Ancestor, DescendantsRow] = OrderedDict()
        self._own: dict[Ancestor, int] = {}  # counted here since it was read

    def count(self, place: Ancestor, now: int) -> int | None:
        """None: it has to be read first."""
        row = self._known.get(place)
        if row is None:
            return None
        return row.count if now < row.since + DESCENDANTS_SPAN else 0

    async def read(self, place: Ancestor) -> None:
        row = await self._store.descendants(*place)
        self._learn(place, row or DescendantsRow(*place, 0, 0))

    def begin(self, place: Ancestor) -> int:
        """It begins here, so that nobody has counted any."""
        self._learn(place, DescendantsRow(*place, 0, 0))
        return 0

    def _learn(self, place: Ancestor, row: DescendantsRow) -> None:
        self._known.setdefault(place, row)  # it may have been read beside this
        self._own.setdefault(place, 0)
        if len(self._known) > MOST:
            self.forget(next(iter(self._known)))

    def add(self, rows: Sequence[DescendantsRow]) -> None:
        for row in rows:
            place = row.ns, row.ancestor
            known = self._known.get(place)
            if known is None:
                continue
            if known.count and row.since < known.since + DESCENDANTS_SPAN:
                known.count += row.count
            else:
                self._known[place] = DescendantsRow(*place, row.count, row.since)
            self._known.move_to_end(place)
            self._own[place] += row.count
            if self._store.shared and self._own[place] > self.limit // LOOKS:
                self.forget(place)

    def forget(self, place: Ancestor) -> None:
        """It is to be read again: what was counted here is lost, or others count as well."""
        self._known.pop(place, None)
        self._own.pop(place, None)
