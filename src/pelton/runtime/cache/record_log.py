"""Records that have changed lately: what a search of the store may not have seen.

A search reads the store at some time, and is decided on later. In between, and while it reads, records change, and what was
changed before may not be written yet. So a search begins with a mark; whoever decides on what it found looks here as well, where
every record is that was not in the store at the mark, or has changed since. A record that is here is looked at here, and any
other is as the search has read it. Nothing has to be committed for that.

An unsettled record is kept with the versions that it would go back to if a group were lost: one of each batch, and the one in
the store. Who decides that a record does not match rests on that decision's group if an older version would match.

Invariants: a record stays here until it is settled and no search is left that began before. Attributes are only worked out when
somebody searches. Bounded: beyond `MOST` settled records the oldest go, and searches that would need them are made again.

Cost: constant for a change; for a search, the records that have one of its attributes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from pelton.kernel.model.process import Records
from pelton.kernel.model.state import Record
from pelton.runtime.cache.runs import RunEntry

MOST = 20_000

RecordPlace = tuple[str, str]  # namespace, process
Conjuncts = Sequence[Sequence[tuple[str, str, bool]]]


class ChangedRecord:
    """The versions of one run's record, oldest first, each with the number of the batch that it is in; 0 = the store."""

    __slots__ = ("_fresh", "entry", "names", "place", "rules", "settled", "versions")

    def __init__(self, entry: RunEntry, place: RecordPlace, rules: Records, before: Record | None) -> None:
        self.entry = entry
        self.place = place
        self.rules = rules
        self.versions: list[tuple[int, Record | None]] = [(0, before)]
        self.names: set[tuple[str, str]] = set()
        self.settled = False
        self._fresh: list[Record] = [before] if before is not None else []  # attributes not worked out yet

    @property
    def current(self) -> Record | None:
        return self.versions[-1][1]

    @property
    def older(self) -> list[Record]:
        """What it may go back to."""
        return [record for _, record in self.versions[:-1] if record is not None]

    def add(self, batch: int, record: Record | None) -> None:
        if self.versions[-1][0] == batch:
            self.versions[-1] = (batch, record)
        else:
            self.versions.append((batch, record))
        if record is not None:
            self._fresh.append(record)

    def committed(self, batch: int) -> None:
        """What was decided up to that batch stays."""
        while len(self.versions) > 1 and self.versions[1][0] <= batch:
            del self.versions[0]

    def new_names(self) -> set[tuple[str, str]]:
        """Attributes that any version has, and none had when this was last called."""
        found = {name for record in self._fresh for name in self.rules.attributes(record.body)} - self.names
        self._fresh.clear()
        self.names |= found
        return found


class RecordLog:
    __slots__ = ("_by_name", "_by_place", "_count", "_floor", "_fresh", "_records", "_searches", "_settled")

    def __init__(self) -> None:
        self._records: dict[int, ChangedRecord] = {}  # by run
        self._by_place: dict[RecordPlace, dict[int, None]] = {}
        self._by_name: dict[tuple[RecordPlace, str, str], dict[int, None]] = {}
        self._fresh: dict[int, None] = {}  # runs whose attributes are to be worked out
        self._settled: OrderedDict[int, int] = OrderedDict()  # run → number of its settling
        self._searches: OrderedDict[int, int] = OrderedDict()  # mark → number of the last settling before it
        self._count = 0
        self._floor = 0  # searches that began before that settling have missed something

    def __len__(self) -> int:
        return len(self._records)

    # ---- searches

    def begin(self) -> int:
        """A mark, before the store is read. `end` must follow."""
        self._count += 1
        self._searches[self._count] = self._count
        return self._count

    def end(self, mark: int) -> None:
        if self._searches.pop(mark, None) is not None:
            self._prune()

    def holds(self, mark: int) -> bool:
        """Whether all that has changed since the mark is here."""
        return mark in self._searches and mark >= self._floor

    def find(self, ns: str, process: str, conjuncts: Conjuncts, runs: Iterator[int] | Sequence[int]) -> list[ChangedRecord]:
        """Of these runs those that are here, and all others of the process here that may match, or may have matched."""
        place = (ns, process)
        here = self._by_place.get(place)
        if not here:
            return []
        found = {run: None for run in runs if run in here}
        for each in conjuncts:
            if not any(prefix for _, _, prefix in each):
                self._index()
                for name, text, _ in each:
                    found.update(self._by_name.get((place, name, text), {}))
                break
        else:
            found.update(here)
        return [self._records[run] for run in found]

    def some(self, ns: str, process: str, most: int) -> list[Record]:
        """Live records of the process that are here, at most so many."""
        here = self._by_place.get((ns, process), {})
        found = (self._records[run].current for run in list(here)[:most])
        return [record for record in found if record is not None and record.live]

    def known(self, run: int) -> ChangedRecord | None:
        return self._records.get(run)

    def _index(self) -> None:
        for run in self._fresh:
            changed = self._records[run]
            for name, text in changed.new_names():
                self._by_name.setdefault((changed.place, name, text), {})[run] = None
        self._fresh.clear()

    # ---- changes

    def changed(
        self, entry: RunEntry, place: RecordPlace, rules: Records, before: Record | None, after: Record | None, batch: int
    ) -> None:
        """A record has changed in a group of that batch."""
        run = entry.key
        known = self._records.get(run)
        if known is None or known.entry is not entry:
            if known is not None:
                self._drop(run)
            known = self._records[run] = ChangedRecord(entry, place, rules, before)
            self._by_place.setdefault(place, {})[run] = None
        if known.settled:
            known.settled = False
            del self._settled[run]
        known.rules = rules
        known.add(batch, after)
        self._fresh[run] = None

    def committed(self, entry: RunEntry, batch: int) -> None:
        """A group with the run was committed, which has pins left."""
        known = self._records.get(entry.key)
        if known is not None and known.entry is entry:
            known.committed(batch)

    def settle(self, entry: RunEntry) -> None:
        """No batch holds the run any more; if it is stale, what it is now is to be read."""
        run = entry.key
        known = self._records.get(run)
        if known is None or known.entry is not entry or known.settled:
            return
        self._count += 1
        if entry.stale:
            self._floor = self._count
            self._drop(run)
            return
        known.settled = True
        known.versions = [(0, known.current)]
        self._settled[run] = self._count
        self._prune()

    def forget(self, run: int) -> None:
        """The run is being removed."""
        self._drop(run)

    def _prune(self) -> None:
        oldest = next(iter(self._searches), 0)
        settled = self._settled
        while settled:
            run, number = next(iter(settled.items()))
            if oldest and number > oldest:
                if len(settled) <= MOST:
                    return
                self._floor = number
            self._drop(run)

    def _drop(self, run: int) -> None:
        known = self._records.pop(run, None)
        if known is None:
            return
        self._settled.pop(run, None)
        self._fresh.pop(run, None)
        here = self._by_place[known.place]
        del here[run]
        if not here:
            del self._by_place[known.place]
        for name, text in known.names:
            runs = self._by_name[known.place, name, text]
            del runs[run]
            if not runs:
                del self._by_name[known.place, name, text]
