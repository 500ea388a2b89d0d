"""Attributes by which runs were looked up here, and whether this process has since changed which runs have them.

What was found is read from the store, and decided on later. In between, other requests may have changed what was found, or
added to it. So the answer carries what it rests on, and is read again when that no longer holds: each record's instant, and the
number of changes of the attribute itself. Where other servers write too, the commit checks the same in the store.

Cost: nothing for attributes that nobody looks up; a number for each of the latest `MOST` that somebody does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pelton.kernel.model.state import Record
from pelton.store.group import Lookup

MOST = 4_096


class SearchResult(NamedTuple):
    """What a search found. `moves`: by attribute, as `Lookups.begin` said before it; `revisions`: likewise, the store's."""

    records: Sequence[Record]
    moves: dict[Lookup, int]
    revisions: dict[Lookup, int]
    more: bool = False


class Lookups:
    __slots__ = ("_count", "_known")

    def __init__(self) -> None:
        self._known: OrderedDict[Lookup, int] = OrderedDict()
        self._count = 0

    def begin(self, lookup: Lookup) -> int:
        """Called before a search: from now on its changes are counted. Returns the number as of now."""
        known = self._known.get(lookup)
        if known is None:
            self._count += 1
            known = self._known[lookup] = self._count
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(lookup)
        return known

    @property
    def idle(self) -> bool:
        """Whether nobody has looked anything up."""
        return not self._known

    def hold(self, moves: dict[Lookup, int]) -> bool:
        """Whether nothing has been added to, or taken from, what these searches look for."""
        return all(self._known.get(lookup) == number for lookup, number in moves.items())

    def moved(self, lookups: Iterable[Lookup]) -> None:
        for lookup in lookups:
            if lookup in self._known:
                self._count += 1
                self._known[lookup] = self._count

    def forget(self) -> None:
        """Runs were removed, with whatever they were found by."""
        self._known.clear()
