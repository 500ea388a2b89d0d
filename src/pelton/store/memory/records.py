"""Reading records from the tables: current values, past values, and finding runs by attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from pelton.kernel.model.state import Record
from pelton.store.memory.table import LAST, PRIMARY, After, Entry
from pelton.store.memory.tables import PastRow, RecordRow, Tables
from pelton.store.port import RowCounts
from pelton.store.salvage import record_from

Attribute = tuple[str, str, bool]  # name, value, whether the value is only how it begins


class MemoryRecords:
    def __init__(self, tables: Tables, counts: RowCounts) -> None:
        self._tables = tables
        self._counts = counts

    def record(self, run: int, at: int, strict: bool = False) -> Record | None:
        row = self._tables.records.get(run)
        return None if row is None else self._as_of(run, row, at, strict)

    def past(self, run: int, after: int, limit: int) -> list[tuple[Record, int]]:
        past = self._tables.past
        keys = islice(past.keys(PRIMARY, (run, after + 1), (run, LAST)), limit)
        return [(self._superseded(*key, past.rows[key]), past.rows[key].until) for key in keys]

    def records(self, ns: str, process: str, at: int, live: bool | None, after: int, limit: int) -> list[Record]:
        place = (ns, process) if process else (ns,)
        runs = self._tables.records.keys("process" if process else "all", (*place, after + 1), (*place, LAST))
        return list(islice(self._listed(runs, at, live), limit))

    def _listed(self, runs: Iterator[int], at: int, live: bool | None) -> Iterator[Record]:
        for run in runs:
            record = self._as_of(run, self._tables.records.rows[run], at)
            if record is not None and (live is None or record.live == live):
                yield record

    def _as_of(self, run: int, row: RecordRow, at: int, strict: bool = False) -> Record | None:
        if row.body is not None and (not at or row.since <= at):
            self._counts.rows_read += 1
            return record_from(run, row.since, row.number, row.live, row.body, strict)
        if not at or row.born > at:
            return None
        key = self._tables.past.last(PRIMARY, (run,), (run, at + 1))
        if key is None or self._tables.past.rows[key].until <= at:
            return None
        return self._superseded(*key, self._tables.past.rows[key])

    def _superseded(self, run: int, since: int, row: PastRow) -> Record:
        self._counts.rows_read += 1
        return record_from(run, since, row.number, row.live, row.body)

    def candidates(self, ns: str, process: str, conjuncts: Sequence[Sequence[Attribute]], most: int) -> list[int] | None:
        attributes = self._tables.attributes
        index, place = ("process", (ns, process)) if process else ("all", (ns,))
        ranges = [[_range(place, attribute) for attribute in conjunct] for conjunct in conjuncts]
        counts = [sum(attributes.count(index, low, high) for low, high in conjunct) for conjunct in ranges]
        if not counts or min(counts) > most:
            return None
        fewest = ranges[counts.index(min(counts))]
        self._counts.rows_read += min(counts)
        return sorted({key[0] for low, high in fewest for key in attributes.keys(index, low, high)})


def _range(place: tuple[Any, ...], attribute: Attribute) -> tuple[Entry, Entry]:
    name, value, begins = attribute
    return (*place, name, value), (*place, name, After(value) if begins else value + "\0")
