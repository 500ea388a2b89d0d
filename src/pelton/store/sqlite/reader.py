"""The reading connection: synchronous, on the event loop's thread. A point read takes 5 to 10 us, less than passing it to
another.

Every statement is run to completion before anything else, so no read transaction outlives a call and delays a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import apsw
import structlog

from pelton.kernel.model.state import OpenStep, Step
from pelton.store.packing import UNFIT, decode_any, decode_step
from pelton.store.port import RowCounts
from pelton.store.salvage import unreadable_open, unreadable_step
from pelton.store.sqlite.rows import INPUT, OPEN_COLUMNS, OUTPUT, open_from
from pelton.store.sqlite.sql import load

TOP = (1 << 63) - 1

log = structlog.get_logger("pelton.store")


DAMAGED = (apsw.CorruptError, apsw.NotADBError, apsw.IOError)


class Reader:
    """`damage`: what a read has found wrong with the file, "" if nothing."""

    def __init__(self, db: apsw.Connection, counts: RowCounts) -> None:
        self.db = db
        self.counts = counts
        self.damage = ""
        self.sql = {name: text.replace("{open}", OPEN_COLUMNS) for name, text in load("reads.sql").items()}

    def all(self, name: str, *values: Any) -> list[Any]:
        try:
            rows: list[Any] = self.db.execute(self.sql[name], values).fetchall()
        except DAMAGED as error:
            self._damaged(error)
            raise
        self.counts.rows_read += len(rows)
        return rows

    def one(self, name: str, *values: Any) -> Any:
        """The first row, or None."""
        rows = self.all(name, *values)
        return rows[0] if rows else None

    @contextmanager
    def cursors(self, statement: str, lines: Sequence[int], *bounds: Any) -> Iterator[list[Any]]:
        """A cursor over the rows of each line, to be merged while they are read. All are closed at the end."""
        with ExitStack() as stack:
            try:
                yield [stack.enter_context(closing(self.db.execute(self.sql[statement], (line, *bounds)))) for line in lines]
            except DAMAGED as error:
                self._damaged(error)
                raise

    def _damaged(self, error: Exception) -> None:
        if not self.damage:
            log.critical("a read found the file damaged", error=f"{type(error).__name__}: {error}")
        self.damage = f"{type(error).__name__}: {error}"

    def value(self, name: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.one(name, *values)
        return None if row is None else row[0]

    # ---- rows of runs

    def open(self, row: Any) -> OpenStep | None:
        return None if row is None else self._open(row)

    def opens(self, rows: Sequence[Any]) -> list[OpenStep]:
        return [self._open(row) for row in rows]

    def _open(self, row: Any) -> OpenStep:
        step, bits = open_from(row)
        if bits:
            for part, data in self.all("blobs", step.run, step.n):
                if not bits >> part & 1:
                    continue
                if part == INPUT:
                    step.input = decode_any(data)
                elif part == OUTPUT:
                    step.output = decode_any(data)
                else:
                    step.waits = decode_any(data)
        return step

    def ended(self, row: Any) -> Step | None:
        if row is None:
            return None
        run, n, bits, body = row
        step = decode_step(body)
        if bits:
            for part, data in self.all("blobs", run, n):
                if not bits >> part & 1:
                    continue
                if part == INPUT:
                    step.input = decode_any(data)
                else:
                    step.output = decode_any(data)
        return step

    def endeds(self, rows: Sequence[Any]) -> list[Step]:
        return [step for row in rows if (step := self.ended(row)) is not None]

    # ---- the same for lists, in which a row that cannot be read stands as far as its columns say what it is

    def opens_listed(self, rows: Sequence[Any]) -> list[OpenStep]:
        found: list[OpenStep] = []
        for row in rows:
            try:
                found.append(self._open(row))
            except UNFIT as error:
                run, n = row[:2]
                found.append(unreadable_open(run, n, self.value("open_slot_of", run, n) or "", error))
        return found

    def endeds_listed(self, rows: Sequence[Any]) -> list[Step]:
        found: list[Step] = []
        for row in rows:
            try:
                found += self.endeds([row])
            except UNFIT as error:
                run, n = row[:2]
                found.append(unreadable_step(run, n, self.value("step_slot_of", run, n) or "", error))
        return found
