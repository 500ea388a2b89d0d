"""Reading runs and their steps from the tables: the answers to the kernel's read keys, pages of steps, lists of runs.

Ended steps inside a run's void ranges are skipped. Open rows are never void: a rewind closes or keeps them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
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
from pelton.kernel.model.state import OpenStep, Run, Step, Thread
from pelton.store.memory.records import MemoryRecords
from pelton.store.memory.table import LAST, PRIMARY
from pelton.store.memory.tables import Tables
from pelton.store.packing import UNFIT, decode_any, decode_held, decode_run, decode_step, decode_thread
from pelton.store.port import RowCounts
from pelton.store.prefetched import PREFETCH_ROWS, ByteBudget, Prefetched, is_short
from pelton.store.run_query import RunQuery
from pelton.store.salvage import RunColumns, run_from, unreadable_step
from pelton.store.voids import Voids

NAMED_LIMIT = 1000
TOP = (1 << 63) - 1


class MemoryRuns:
    def __init__(self, tables: Tables, records: MemoryRecords, counts: RowCounts) -> None:
        self._tables = tables
        self._records = records
        self._counts = counts
        self._answers: dict[type, Callable[[Run, Any], Any]] = {
            NewestKey: lambda run, key: self.newest(run, key.slot),
            NewestBelowKey: lambda run, key: self._latest(run, "slot", (key.slot,), key.n),
            StrandedKey: self._stranded,
            ThreadRowsKey: lambda run, key: self.opens(tables.open.under("thread", run.key, key.no)),
            ChildrenKey: self._children,
            WaitsKey: self._waits,
            SlotKey: lambda run, key: self._latest(run, "place", (key.slot, key.it, key.scope)),
            PlaceBelowKey: lambda run, key: self._latest(run, "place", (key.slot, key.it, key.scope), key.n),
            IterationKey: self._iteration,
            IterationsKey: self._iterations,
            PlaceKey: lambda run, key: self._latest(run, "position", (place_number(key.thread, key.position),)),
            LastPlaceKey: self._last_place,
            StepKey: self._step,
            OpenKey: lambda run, key: self.opens(tables.open.under(PRIMARY, run.key)),
            EndedKey: self._ended,
            VarKey: self._var,
            VarsKey: self._vars,
            ThreadKey: self._thread,
            ThreadsKey: self._threads,
            FragmentKey: self._fragment,
            FragmentsKey: self._fragments,
            RecordKey: lambda run, key: records.record(run.key, 0, strict=True),
            HeldKey: self._held,
            KeptKey: lambda run, key: next(tables.kept.under("ident", run.key, key.name, key.ident), 0) if key.ident else 0,
        }

    def answer(self, run: Run, key: Any) -> Any:
        """Raises TypeError for a key that is not about one run."""
        answer = self._answers.get(type(key))
        if answer is None:
            raise TypeError(f"{type(key).__name__} is not a read of one run: the runtime answers it")
        return answer(run, key)

    def head(self, key: int) -> Run | None:
        row = self._tables.runs.get(key)
        if row is None:
            return None
        self._counts.rows_read += 1
        return decode_run(row.head)

    def open(self, key: int, n: int) -> OpenStep | None:
        row = self._tables.open.get((key, n))
        if row is None:
            return None
        self._counts.rows_read += 1
        step = copy.copy(row.step)
        step.input, step.output, step.waits = map(decode_any, row.parts)
        return step

    def opens(self, keys: Any) -> list[OpenStep]:
        return [step for key in keys if (step := self.open(*key)) is not None]

    def ended(self, key: int, n: int) -> Step | None:
        row = self._tables.steps.get((key, n))
        if row is None:
            return None
        self._counts.rows_read += 1
        return decode_step(row.body)

    # ---- what a change rests on

    def prefetch(self, key: int, n: int) -> Prefetched | None:
        run = self.head(key)
        if run is None:
            return None
        room = ByteBudget()
        opened = self._few_open(run, room)
        ended = self._few_ended(run, room) if opened is not None and is_short(run) else None
        step = self._step(run, StepKey(n)) if n > 0 else None
        record = self._records.record(key, 0, strict=True)
        threads, variables = self._few_threads(run, room), self._few_variables(run, room)
        return Prefetched(run, step, opened, ended, threads, variables, record, room.taken)

    def _few_open(self, run: Run, room: ByteBudget) -> list[OpenStep] | None:
        if run.open > PREFETCH_ROWS:
            return None
        places = list(self._tables.open.under(PRIMARY, run.key))
        size = sum(len(part) for place in places for part in self._tables.open.rows[place].parts)
        return self.opens(places) if room.takes(size) else None

    def _few_ended(self, run: Run, room: ByteBudget) -> list[Step] | None:
        places = list(self._tables.steps.under(PRIMARY, run.key))
        if not room.takes(sum(len(self._tables.steps.rows[place].body) for place in places)):
            return None
        return [step for place in places if (step := self.ended(*place)) is not None]

    def _few_threads(self, run: Run, room: ByteBudget) -> list[Thread] | None:
        if run.threads > PREFETCH_ROWS:
            return None
        places = list(self._tables.threads.under(PRIMARY, run.key))
        return self._decoded(places) if room.takes(sum(len(self._tables.threads.rows[place].body) for place in places)) else None

    def _few_variables(self, run: Run, room: ByteBudget) -> list[tuple[int, str, Any]] | None:
        rows = self._tables.variables.rows
        places = list(islice(self._tables.variables.under(PRIMARY, run.key), PREFETCH_ROWS + 1))
        if len(places) > PREFETCH_ROWS or not room.takes(sum(len(rows[place]) for place in places)):
            return None
        self._counts.rows_read += len(places)
        return [(thread, name, decode_any(rows[run.key, thread, name])) for _, thread, name in places]

    # ---- one key each

    def newest(self, run: Run, slot: str) -> OpenStep | Step | None:
        return self._latest(run, "slot", (slot,))

    def _latest(self, run: Run, index: str, place: tuple[Any, ...], below: int = TOP) -> OpenStep | Step | None:
        """The highest number below `below` at a place of an index of both tables, open or ended, not void."""
        low, high = (run.key, *place), (run.key, *place, below)
        opened = self._tables.open.last(index, low, high)
        ended = self._not_void(run, lambda limit: self._tables.steps.last(index, low, (run.key, *place, min(limit, below))))
        return self._later(run, opened[1] if opened is not None else None, ended)

    def _last_place(self, run: Run, key: LastPlaceKey) -> int:
        voids, first = Voids(run.voids), place_number(key.thread, 0)
        low, high = (run.key, first), (run.key, place_number(key.thread + 1, 0))
        last = -1
        for _, n in self._tables.open.back("position", low, high):
            row = self._tables.open.rows[run.key, n]
            if n < key.n:
                last = row.step.position
                break
        for _, n in self._tables.steps.back("position", low, high):
            if n < key.n and voids.low(n) is None:
                return max(last, self._tables.steps.rows[run.key, n].place - first)
        return last

    def _iteration(self, run: Run, key: IterationKey) -> OpenStep | Step | None:
        """Over all scopes: reads as many rows as there are of that slot and iteration."""
        place = (run.key, key.slot, key.it)
        opened = max((n for _, n in self._tables.open.under("place", *place)), default=None)
        voids = Voids(run.voids)
        ended = max((n for _, n in self._tables.steps.under("place", *place) if voids.low(n) is None), default=None)
        return self._later(run, opened, ended)

    def _iterations(self, run: Run, key: IterationsKey) -> Iterations:
        found: list[OpenStep | Step] = []
        size = 0
        for it in range(key.high - 1, key.low - 1, -1):
            rows = [self._latest(run, "place", (slot, it, key.scope)) for slot in key.slots]
            there = [row for row in rows if row is not None]
            more = sum(len(self._tables.steps.rows[run.key, row.n].body) for row in there if isinstance(row, Step))
            if found and size + more > key.size:
                return Iterations(it + 1, found, size)
            size += more
            found += there
        return Iterations(key.low, found, size)

    def _step(self, run: Run, key: StepKey) -> OpenStep | Step | None:
        found = self.open(run.key, key.n)
        if found is not None or Voids(run.voids).low(key.n) is not None:
            return found
        return self.ended(run.key, key.n)

    def _ended(self, run: Run, key: EndedKey) -> list[Step]:
        found: list[Step] = []
        for low, high in reversed(Voids(run.voids).gaps(key.low, key.high)):
            numbers = self._tables.steps.back(PRIMARY, (run.key, low), (run.key, high))
            found += [step for place in islice(numbers, key.limit - len(found)) if (step := self.ended(*place)) is not None]
        return found

    def _stranded(self, run: Run, key: StrandedKey) -> list[OpenStep]:
        return self.opens(islice(self._tables.open.back("stranded", (run.key,), (run.key, LAST)), key.limit))

    def _waits(self, run: Run, key: WaitsKey) -> list[OpenStep]:
        thread, n = key.after
        places = self._tables.open.keys("standing", (run.key, key.slot, thread, n + 1), (run.key, key.slot, LAST))
        return self.opens(islice(places, key.limit))

    def _var(self, run: Run, key: VarKey) -> list[Any] | None:
        value = self._tables.variables.get((run.key, key.thread, key.name))
        if value is None:
            return None
        self._counts.rows_read += 1
        return [decode_any(value)]

    def _vars(self, run: Run, key: VarsKey) -> dict[str, Any]:
        variables = self._tables.variables
        found = {place[2]: decode_any(variables.rows[place]) for place in variables.under(PRIMARY, run.key, key.thread)}
        self._counts.rows_read += len(found)
        return found

    def _thread(self, run: Run, key: ThreadKey) -> Any:
        row = self._tables.threads.get((run.key, key.no))
        return None if row is None else decode_thread(row.body)

    def _threads(self, run: Run, key: ThreadsKey) -> Any:
        return self._decoded(self._tables.threads.under(PRIMARY, run.key))

    def _children(self, run: Run, key: ChildrenKey) -> list[Thread]:
        return self._decoded(self._tables.threads.under("above", run.key, key.no))

    def _decoded(self, places: Iterable[tuple[int, int]]) -> list[Thread]:
        found = [decode_thread(self._tables.threads.rows[place].body) for place in places]
        self._counts.rows_read += len(found)
        return found

    def _fragment(self, run: Run, key: FragmentKey) -> tuple[str, Any, int] | None:
        for place in self._tables.fragments.keys(PRIMARY, (run.key, key.n), (run.key, key.n + 1)):
            value, parent = decode_any(self._tables.fragments.rows[place])
            return (place[2], value, parent) if parent >= 0 else None
        return None

    def _fragments(self, run: Run, key: FragmentsKey) -> list[tuple[int, str, Any]]:
        rows = self._tables.fragments
        found = [(place, *decode_any(rows.rows[place])) for place in rows.under(PRIMARY, run.key)]
        return [(n, node, value) for (_, n, node), value, parent in found if parent < 0]

    def _held(self, run: Run, key: HeldKey) -> list[Held]:
        held = self._tables.held
        if key.key:
            ids = held.under("key", run.ns, key.name, key.key)
        else:
            ids = (each for each in held.under("run", run.key) if not key.name or held.rows[each].name == key.name)
        found: list[Held] = []
        for each in ids:
            row = decode_held(held.rows[each].body).held()
            self._counts.rows_read += 1
            if key.admits(row):
                found.append(row)
                if len(found) >= HELD_PAGE:
                    break
        return found

    def _not_void(self, run: Run, below: Callable[[int], tuple[int, int] | None]) -> int | None:
        """The highest number that is not void. `below` gives the highest key under a number."""
        voids = Voids(run.voids)
        found = below(TOP)
        while found is not None and (low := voids.low(found[1])) is not None:
            found = below(low)
        return None if found is None else found[1]

    def _later(self, run: Run, opened: int | None, ended: int | None) -> OpenStep | Step | None:
        if opened is not None and (ended is None or opened > ended):
            return self.open(run.key, opened)
        return None if ended is None else self.ended(run.key, ended)

    # ---- lists

    def steps(self, run: Run, after: int, limit: int) -> list[OpenStep | Step]:
        found: list[OpenStep | Step] = []
        for low, high in Voids(run.voids).gaps(after + 1, TOP):
            numbers = self._tables.steps.keys(PRIMARY, (run.key, low), (run.key, high))
            found += [self._ended_listed(*place) for place in islice(numbers, limit - len(found))]
        found += self.opens(islice(self._tables.open.keys(PRIMARY, (run.key, max(after + 1, 1)), (run.key, LAST)), limit))
        found.sort(key=lambda step: step.n)
        return found[:limit]

    def _ended_listed(self, key: int, n: int) -> Step:
        """One that cannot be read stands as far as its row says what it is."""
        row = self._tables.steps.rows[key, n]
        self._counts.rows_read += 1
        try:
            return decode_step(row.body)
        except UNFIT as error:
            return unreadable_step(key, n, row.slot, error)

    def _columns(self, run: int) -> RunColumns:
        row = self._tables.runs.rows[run]
        return RunColumns(row.ns, row.status, row.created, row.ended)

    def runs(
        self, ns: str, process: str, live: bool | None, before: int, since: int, until: int, limit: int, status: int
    ) -> list[Run]:
        rows = self._tables.runs.rows
        index, place = ("process", (ns, process)) if process else ("all", (ns,))
        keys = (
            key
            for key in self._tables.runs.back(index, place, (*place, before or TOP))
            if since <= rows[key].created < (until or TOP)
            and (live is None or rows[key].live == live)
            and status in (-1, rows[key].status)
        )
        found = [run_from(key, rows[key].head, self._columns) for key in islice(keys, limit)]
        self._counts.rows_read += len(found)
        return found

    def _found(self, query: RunQuery) -> list[int]:
        """Newest first."""
        rows = self._tables.runs.rows
        if query.processes is None:
            keys = list(self._tables.runs.under("all", query.ns))
        else:
            names = dict.fromkeys(query.processes)
            keys = [key for name in names for key in self._tables.runs.under("process", query.ns, name)]
        wanted, until = query.wanted(), query.until or TOP
        found = [key for key in keys if rows[key].status in wanted and query.since <= rows[key].created < until]
        return sorted(found, key=lambda key: (rows[key].created, key), reverse=not query.ascending)

    def find(self, query: RunQuery, offset: int, limit: int) -> tuple[int, list[Run]]:
        keys = self._found(query)
        found = [run_from(key, self._tables.runs.rows[key].head, self._columns) for key in keys[offset : offset + limit]]
        self._counts.rows_read += len(found)
        return len(keys), found

    def processes(self, ns: str) -> list[str]:
        rows = self._tables.runs.rows
        return sorted({rows[key].process for key in self._tables.runs.under("all", ns)})

    def at_node(self, node: tuple[str, str, str], after: tuple[int, int], limit: int) -> list[OpenStep]:
        return self.opens(islice(self._tables.open.keys("node", (*node, after[0], after[1] + 1), (*node, LAST)), limit))

    def run_keys(self, ns: str, kind: str, process: str, text: str, live: bool) -> list[int]:
        names = self._tables.names
        place = (ns, kind, text, process) if process else (ns, kind, text)
        found = {key[4] for key in names.under(PRIMARY, *place) if names.rows[key].live or not live}
        return sorted(found, reverse=True)[:NAMED_LIMIT]
