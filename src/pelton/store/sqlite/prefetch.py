"""What a run rests on, in one go: a handful of statements, fewer than the single reads that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pelton.kernel.model.reads import StepKey
from pelton.kernel.model.state import THREADED, OpenStep, Run, Step, Thread
from pelton.store.packing import decode_any, decode_thread
from pelton.store.prefetched import PREFETCH_ROWS, ByteBudget, Prefetched, is_short
from pelton.store.sqlite.reader import TOP, Reader
from pelton.store.sqlite.records import RecordReads
from pelton.store.sqlite.runs import RunReader

OPEN_BODY, OPEN_PARTS = 7, 8  # positions in OPEN_COLUMNS; the columns of the parts follow
STEP_PARTS, STEP_BODY = 2, 3


class Prefetcher:
    def __init__(self, reader: Reader, runs: RunReader, records: RecordReads) -> None:
        self._reader = reader
        self._runs = runs
        self._records = records

    def prefetch(self, key: int, n: int) -> Prefetched | None:
        run = self._runs.head(key)
        if run is None:
            return None
        room = ByteBudget()
        opened = self._open(run, room)
        ended = self._ended(run, room) if opened is not None and is_short(run) else None
        step = self._step(run, n, opened, ended) if n > 0 else None
        record = self._records.record(key, 0, strict=True)
        threads, variables = self._threads(run, room), self._variables(run, room)
        return Prefetched(run, step, opened, ended, threads, variables, record, room.taken)

    def _step(self, run: Run, n: int, opened: list[OpenStep] | None, ended: list[Step] | None) -> Any:
        for row in opened or ():
            if row.n == n:
                return row
        for step in ended or ():
            if step.n == n:
                return step
        known = opened is not None and ended is not None
        return None if known else self._runs.answer(run, StepKey(n))

    def _open(self, run: Run, room: ByteBudget) -> list[OpenStep] | None:
        read = self._reader
        if run.open > PREFETCH_ROWS:
            return None
        rows = read.all("open_all", run.key)
        size = sum(len(column) for row in rows for column in (row[OPEN_BODY], *row[OPEN_PARTS + 1 :]) if column is not None)
        return read.opens(rows) if room.takes(size + self._blobs(run, rows, OPEN_PARTS)) else None

    def _ended(self, run: Run, room: ByteBudget) -> list[Step] | None:
        read = self._reader
        rows = read.all("step_range", run.key, 0, TOP, PREFETCH_ROWS)
        size = sum(len(row[STEP_BODY]) for row in rows)
        return read.endeds(rows) if room.takes(size + self._blobs(run, rows, STEP_PARTS)) else None

    def _blobs(self, run: Run, rows: Sequence[Any], parts: int) -> int:
        return sum(self._reader.value("blob_size", run.key, row[1]) or 0 for row in rows if row[parts])

    def _threads(self, run: Run, room: ByteBudget) -> list[Thread] | None:
        if not run.flags & THREADED:
            return []
        if run.threads > PREFETCH_ROWS:
            return None
        bodies = [body for (body,) in self._reader.all("threads", run.key)]
        return [decode_thread(body) for body in bodies] if room.takes(sum(map(len, bodies))) else None

    def _variables(self, run: Run, room: ByteBudget) -> list[tuple[int, str, Any]] | None:
        rows = self._reader.all("vars_all", run.key, PREFETCH_ROWS + 1)
        if len(rows) > PREFETCH_ROWS or not room.takes(sum(len(value) for _, _, value in rows)):
            return None
        return [(thread, name, decode_any(value)) for thread, name, value in rows]
