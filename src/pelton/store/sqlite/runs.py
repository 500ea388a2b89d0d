"""Reading runs and their steps: the answers to the kernel's read keys, pages of steps, lists of runs.

Ended steps inside a run's void ranges are skipped by jumping below the range: a rewind over 100,000 steps costs one more seek.
Open rows are never void: a rewind closes or keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from heapq import merge
from itertools import islice
from typing import Any

from pelton.kernel.model.reads import (
    HELD_PAGE,
    ChildrenKey,
    EndedKey,
    FragmentKey,
    FragmentsKey,
    Held,
    HeldKey,
    IterationKey,
    Iterations,
    IterationsKey,
    KeptKey,
    LastPlaceKey,
    NewestBelowKey,
    NewestKey,
    OpenKey,
    PlaceBelowKey,
    PlaceKey,
    RecordKey,
    SlotKey,
    StepKey,
    StrandedKey,
    ThreadKey,
    ThreadRowsKey,
    ThreadsKey,
    VarKey,
    VarsKey,
    WaitsKey,
    place_number,
)
from pelton.kernel.model.state import THREADED, OpenStep, Run, RunStatus, Step
from pelton.store.packing import decode_any, decode_held, decode_run, decode_thread
from pelton.store.salvage import RunColumns, run_from
from pelton.store.sqlite.reader import TOP, Reader
from pelton.store.sqlite.records import RecordReads
from pelton.store.voids import Voids

MERGED_LINES = 64  # processes of a namespace up to which their lists are merged; beyond, all runs are scanned from the end


class RunReader:
    def __init__(self, reader: Reader, lines: dict[tuple[str, str], int], records: RecordReads) -> None:
        self._reader = reader
        self._lines = lines
        self._answers: dict[type, Callable[[Run, Any], Any]] = {
            NewestKey: self._newest,
            NewestBelowKey: self._newest_below,
            StrandedKey: lambda run, key: reader.opens(reader.all("open_stranded", run.key, key.limit)),
            ThreadRowsKey: self._of_thread,
            ChildrenKey: lambda run, key: [decode_thread(body) for (body,) in reader.all("thread_children", run.key, key.no)],
            WaitsKey: self._waits,
            SlotKey: self._at,
            PlaceBelowKey: self._at_below,
            IterationKey: self._iteration,
            IterationsKey: self._iterations,
            PlaceKey: self._in_place,
            LastPlaceKey: self._last_place,
            StepKey: self._step,
            OpenKey: lambda run, key: reader.opens(reader.all("open_all", run.key)),
            EndedKey: self._ended,
            VarKey: self._var,
            VarsKey: lambda run, key: {name: decode_any(value) for name, value in reader.all("vars", run.key, key.thread)},
            ThreadKey: self._thread,
            ThreadsKey: lambda run, key: [decode_thread(body) for (body,) in reader.all("threads", run.key)],
            FragmentKey: self._fragment,
            FragmentsKey: lambda run, key: [(n, node, decode_any(value)) for n, node, value in reader.all("fragments", run.key)],
            RecordKey: lambda run, key: records.record(run.key, 0, strict=True),
            HeldKey: self._held,
            KeptKey: lambda run, key: reader.value("kept_ident", run.key, key.name, key.ident) or 0,
        }

    def answer(self, run: Run, key: Any) -> Any:
        """Raises TypeError for a key that is not about one run."""
        answer = self._answers.get(type(key))
        if answer is None:
            raise TypeError(f"{type(key).__name__} is not a read of one run: the runtime answers it")
        return answer(run, key)

    def head(self, key: int) -> Run | None:
        head = self._reader.value("head", key)
        return None if head is None else decode_run(head)

    def open(self, key: int, n: int) -> OpenStep | None:
        return self._reader.open(self._reader.one("open", key, n))

    # ---- one key each

    def newest(self, run: Run, slot: str) -> OpenStep | Step | None:
        read = self._reader
        opened = read.one("open_newest", run.key, slot)
        ended = self._skip(run, lambda below: read.one("step_newest", run.key, slot, below))
        return self._later(opened, ended)

    def _newest(self, run: Run, key: NewestKey) -> OpenStep | Step | None:
        return self.newest(run, key.slot)

    def _newest_below(self, run: Run, key: NewestBelowKey) -> OpenStep | Step | None:
        read = self._reader
        opened = read.one("open_newest_below", run.key, key.slot, key.n)
        ended = self._skip(run, lambda below: read.one("step_newest", run.key, key.slot, min(below, key.n)))
        return self._later(opened, ended)

    def _at(self, run: Run, key: SlotKey) -> OpenStep | Step | None:
        read = self._reader
        if not key.scope and not key.it:
            opened = read.one("open_outside", run.key, key.slot)
            ended = self._skip(run, lambda below: read.one("step_outside", run.key, key.slot, below))
        else:
            opened = read.one("open_at", run.key, key.slot, key.it, key.scope)
            ended = self._skip(run, lambda below: read.one("step_at", run.key, key.slot, key.it, key.scope, below))
        return self._later(opened, ended)

    def _at_below(self, run: Run, key: PlaceBelowKey) -> OpenStep | Step | None:
        read = self._reader
        if not key.scope and not key.it:
            opened = read.one("open_outside_below", run.key, key.slot, key.n)
            ended = self._skip(run, lambda below: read.one("step_outside", run.key, key.slot, min(below, key.n)))
        else:
            opened = read.one("open_at_below", run.key, key.slot, key.it, key.scope, key.n)
            ended = self._skip(run, lambda below: read.one("step_at", run.key, key.slot, key.it, key.scope, min(below, key.n)))
        return self._later(opened, ended)

    def _in_place(self, run: Run, key: PlaceKey) -> OpenStep | Step | None:
        read = self._reader
        place = place_number(key.thread, key.position)
        opened = read.one("open_in_place", run.key, place)
        return self._later(opened, self._skip(run, lambda below: read.one("step_in_place", run.key, place, below)))

    def _last_place(self, run: Run, key: LastPlaceKey) -> int:
        read, voids = self._reader, Voids(run.voids)
        low, high = place_number(key.thread, 0), place_number(key.thread + 1, 0)
        place = read.value("open_last_place", run.key, low, high, key.n)
        last = low - 1 if place is None else int(place)
        below = high, 0
        while rows := read.all("step_last_place", run.key, last + 1, *below, key.n):
            for place, n in rows:
                if voids.low(n) is None:
                    return int(place) - low
            below = rows[-1]
        return last - low

    def _iteration(self, run: Run, key: IterationKey) -> OpenStep | Step | None:
        read = self._reader
        found = [read.value("open_iterations", run.key, key.slot, key.it)]
        if not key.it:
            found.append(read.value("open_unscoped", run.key, key.slot))
        opened = max((n for n in found if n is not None), default=None)

        def below(limit: int) -> Any:
            ended = [read.value("step_iterations", run.key, key.slot, key.it, limit)]
            if not key.it:
                ended.append(read.value("step_unscoped", run.key, key.slot, limit))
            n = max((n for n in ended if n is not None), default=None)
            return None if n is None else read.one("step", run.key, n)

        row = self._skip(run, below)
        return self._later(None if opened is None else read.one("open", run.key, opened), row)

    def _iterations(self, run: Run, key: IterationsKey) -> Iterations:
        read = self._reader
        opened: dict[tuple[str, int], OpenStep] = {}
        for slot in key.slots:
            for row in read.opens(read.all("open_iterations_of", run.key, slot, key.low, key.high, key.scope)):
                opened[slot, row.it] = row
        found: list[OpenStep | Step] = []
        size = 0
        for it in range(key.high - 1, key.low - 1, -1):
            there: list[OpenStep | Step] = []
            more = 0
            for slot in key.slots:
                row = self._skip(run, partial(read.one, "step_at", run.key, slot, it, key.scope))
                mine = opened.get((slot, it))
                if mine is not None and (row is None or mine.n > row[1]):
                    there.append(mine)
                elif row is not None:
                    there.append(read.ended(row))  # type: ignore[arg-type]
                    more += len(row[3]) + (read.value("blob_size", run.key, row[1]) or 0 if row[2] else 0)
            if found and size + more > key.size:
                return Iterations(it + 1, found, size)
            size += more
            found += there
        return Iterations(key.low, found, size)

    def _step(self, run: Run, key: StepKey) -> OpenStep | Step | None:
        found = self.open(run.key, key.n)
        if found is not None or Voids(run.voids).low(key.n) is not None:
            return found
        return self._reader.ended(self._reader.one("step", run.key, key.n))

    def _of_thread(self, run: Run, key: ThreadRowsKey) -> list[OpenStep]:
        read = self._reader
        found = read.opens(read.all("open_of_thread", run.key, key.no))
        if key.no == 0:
            found += read.opens(read.all("open_before_threads", run.key, _threads_from(run)))
            found.sort(key=lambda row: row.n)
        return found

    def _waits(self, run: Run, key: WaitsKey) -> list[OpenStep]:
        read = self._reader
        thread, n = key.after
        rows: list[Any] = []
        if thread == 0:
            rows = read.all("open_places_before_threads", run.key, key.slot, n, _threads_from(run), key.limit)
        if len(rows) < key.limit or run.flags & THREADED:
            rows += read.all("open_places", run.key, key.slot, thread, n, key.limit)
        found = read.opens(rows)
        found.sort(key=lambda row: (row.thread, row.n))
        return found[: key.limit]

    def _ended(self, run: Run, key: EndedKey) -> list[Step]:
        found: list[Step] = []
        for low, high in reversed(Voids(run.voids).gaps(key.low, key.high)):
            if len(found) >= key.limit:
                break
            found += self._reader.endeds(self._reader.all("step_range_back", run.key, low, high, key.limit - len(found)))
        return found

    def _var(self, run: Run, key: VarKey) -> list[Any] | None:
        value = self._reader.value("var", run.key, key.thread, key.name)
        return None if value is None else [decode_any(value)]

    def _thread(self, run: Run, key: ThreadKey) -> Any:
        body = self._reader.value("thread", run.key, key.no)
        return None if body is None else decode_thread(body)

    def _fragment(self, run: Run, key: FragmentKey) -> tuple[str, Any, int] | None:
        row = self._reader.one("fragment", run.key, key.n)
        return None if row is None else (row[1], decode_any(row[2]), row[3])

    def _held(self, run: Run, key: HeldKey) -> list[Held]:
        read = self._reader
        where = (run.ns, key.name, key.key) if key.key else (run.key, key.name) if key.name else (run.key,)
        query = "held_after" if key.key else "held_for_name_after" if key.name else "held_for_after"
        after = key.after or (-1, -1)
        found: list[Held] = []
        while True:
            page = [decode_held(body).held() for (body,) in read.all(query, *where, *after, HELD_PAGE)]
            found += [held for held in page if key.admits(held)]
            if len(page) < HELD_PAGE or len(found) >= HELD_PAGE:
                return found[:HELD_PAGE]
            after = (page[-1].posted, page[-1].id)

    def _skip(self, run: Run, below: Callable[[int], Any]) -> Any:
        """The highest ended row that is not void. `below` returns the highest below a number; its second column is the number."""
        row = below(TOP)
        if row is None or not run.voids:
            return row
        voids = Voids(run.voids)
        while row is not None and (low := voids.low(row[1])) is not None:
            row = below(low)
        return row

    def _later(self, opened: Any, ended: Any) -> OpenStep | Step | None:
        if opened is not None and (ended is None or opened[1] > ended[1]):
            return self._reader.open(opened)
        return self._reader.ended(ended)

    # ---- lists

    def steps(self, run: Run, after: int, limit: int) -> list[OpenStep | Step]:
        read = self._reader
        found: list[OpenStep | Step] = []
        for low, high in Voids(run.voids).gaps(after + 1, TOP):
            if len(found) >= limit:
                break
            found += read.endeds_listed(read.all("step_range", run.key, low, high, limit - len(found)))
        found += read.opens_listed(read.all("open_range", run.key, max(after + 1, 1), limit))
        found.sort(key=lambda step: step.n)
        return found[:limit]

    def runs(
        self, ns: str, process: str, live: bool | None, before: int, since: int, until: int, limit: int, status: int
    ) -> list[Run]:
        """Lists of several processes are merged while being read, so that no more is read than is returned."""
        read = self._reader
        lines = [number for (space, name), number in self._lines.items() if space == ns and process in ("", name)]
        bounds = (before or TOP, since, until or TOP, -1 if live is None else int(live), limit, status)
        if len(lines) > MERGED_LINES:
            return [run_from(key, head, self._columns) for key, head in read.all("run_all", ns, *bounds)]
        running, completed = status == RunStatus.RUNNING, status == RunStatus.COMPLETED
        if running and live is not False:
            live, bounds = True, (*bounds[:3], 1, *bounds[4:])
        listed = status >= 0 and not running and not completed
        statement = "run_status" if listed else "run_live" if live else "run_line"
        with read.cursors(statement, lines, *bounds) as cursors:
            rows = list(islice(merge(*cursors, key=_key, reverse=True), limit))
        read.counts.rows_read += len(rows)
        return [run_from(key, head, self._columns) for key, head in rows]

    def _columns(self, run: int) -> RunColumns:
        return RunColumns(*self._reader.one("run_columns", run))

    def run_keys(self, ns: str, kind: str, process: str, text: str, live: bool) -> list[int]:
        name = "run_keys_live" if live else "run_keys"
        if process:
            rows: Sequence[Any] = self._reader.all(name, ns, kind, text, process)
        else:
            rows = self._reader.all(name + "_any", ns, kind, text)
        return [run for (run,) in rows]


def _threads_from(run: Run) -> int:
    """The number from which on open rows say which thread they belong to."""
    return run.threaded if run.flags & THREADED else TOP


def _key(row: Any) -> int:
    key: int = row[0]
    return key
