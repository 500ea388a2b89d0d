"""Reading records: current values, past values, and finding runs by attributes.

A value was valid from `since` up to, but excluding, `until`. Current values are in `record`, the rest in `past`. A list
as of an instant follows the rows of `record`, which stay when a document is removed, and seeks in `past` where the current value
is too new: it costs one seek for each run that existed then or came later, whatever the number of values.

A search reads one index, and of a condition only the part with the fewest rows. Which one that is is not known in advance, so all
are counted, up to a few rows at first and then up to more and more, until one is known to be the smallest: a broad part beside a
narrow one costs no more than the narrow one.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import Any

from pelton.kernel.model.state import Record
from pelton.store.salvage import record_from
from pelton.store.sqlite.reader import Reader

MERGED_LINES = 64  # processes of a namespace up to which their lists are merged; beyond, all records are scanned
FIRST_LOOK = 64  # rows that each part of a condition is counted up to at first
FURTHER = 8  # times as many at each further look
NO_END = b""  # comes after every text in SQLite

Attribute = tuple[str, str, bool]  # name, value, whether the value is only how it begins
Range = tuple[str, str, str | bytes]  # name, the lowest value, what comes after the highest


class RecordReads:
    def __init__(self, reader: Reader, lines: dict[tuple[str, str], int]) -> None:
        self._reader = reader
        self._lines = lines

    def record(self, run: int, at: int, strict: bool = False) -> Record | None:
        row = self._reader.one("record", run)
        if at and (row is None or row[1] > at):
            row = self._reader.one("record_at", run, at)
            if row is not None and row[5] <= at:
                return None
        return None if row is None else _record(row, strict)

    def past(self, run: int, after: int, limit: int) -> list[tuple[Record, int]]:
        return [(_record(row), row[5]) for row in self._reader.all("past", run, after, limit)]

    def records(self, ns: str, process: str, at: int, live: bool | None, after: int, limit: int) -> list[Record]:
        """Lists of several processes are merged while being read, so that no more is read than is returned."""
        read = self._reader
        bounds = (after, -1 if live is None else int(live), limit, *((at,) if at else ()))
        lines = self._of(ns, process)
        if len(lines) > MERGED_LINES:
            return [_record(row) for row in read.all("records_all_at" if at else "records_all", ns, *bounds)]
        statement = "records_at" if at else "records_live" if live else "records_line"
        with read.cursors(statement, lines, *bounds) as cursors:
            rows = list(islice(merge(*cursors, key=_run), limit))
        read.counts.rows_read += len(rows)
        return [_record(row) for row in rows]

    def candidates(self, ns: str, process: str, conjuncts: Sequence[Sequence[Attribute]], most: int) -> list[int] | None:
        where: int | str = self._lines.get((ns, process), 0) if process else ns
        ranges = [[found for attribute in conjunct if (found := _range(attribute))] for conjunct in conjuncts]
        look = FIRST_LOOK if len(ranges) > 1 else most + 1
        while ranges:
            look = min(look, most + 1)
            counts = [self._count(where, conjunct, look) for conjunct in ranges]
            least = min(counts)
            if least < look:
                return self._found(where, ranges[counts.index(least)], least)
            if look > most:
                break
            look *= FURTHER
        return None

    def _count(self, where: int | str, ranges: Sequence[Range], look: int) -> int:
        """Number of rows, counted up to `look`. `where`: a process's line, or a namespace."""
        statement = "attr_count" if type(where) is int else "attr_count_any"
        total = 0
        for span in ranges:
            if total < look:
                total += self._reader.value(statement, where, *span, look - total)
        self._reader.counts.rows_read += total
        return total

    def _found(self, where: int | str, ranges: Sequence[Range], most: int) -> list[int]:
        statement = "attr_runs" if type(where) is int else "attr_runs_any"
        return sorted({run for span in ranges for (run,) in self._reader.all(statement, where, *span, most)})

    def _of(self, ns: str, process: str) -> list[int]:
        """Lines of the process, or of all there are."""
        if process:
            number = self._lines.get((ns, process))
            return [] if number is None else [number]
        return [number for (space, _), number in self._lines.items() if space == ns]


def _record(row: Any, strict: bool = False) -> Record:
    return record_from(row[0], row[1], row[2], row[3] == 1, row[4], strict)


def _run(row: Any) -> int:
    run: int = row[0]
    return run


def _range(attribute: Attribute) -> Range | None:
    """None for a text that no stored text can equal or start with: an unpaired surrogate."""
    name, value, begins = attribute
    try:
        (name + value).encode()
    except UnicodeEncodeError:
        return None
    return name, value, after_all(value) if begins else value + "\0"  # there is nothing between a text and this


def after_all(start: str) -> str | bytes:
    """The first text after all those with this prefix, by code points (as SQLite orders UTF-8)."""
    start = start.rstrip("\U0010ffff")
    if not start:
        return NO_END
    following = ord(start[-1]) + 1
    return start[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are in no text
