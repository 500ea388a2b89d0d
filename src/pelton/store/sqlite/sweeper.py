"""The removal of old data, in the writer process: one small transaction at a time, between commits.

What is oldest is found by an index, never by a scan. How many rows of a kind there are is counted once, and then kept up by what
the writer itself writes; rollbacks and repeats make no difference, since only what was committed is added. After a write that may
have made fewer of them in another way than a sweep, they are counted anew, if it matters.

A finished run goes with everything that is about it. A run that another one has started stays as long as its outermost run does:
it is put behind, and looked at again when that one would go.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import apsw
from msgspec import MsgspecError
from msgspec.msgpack import Decoder

from pelton.store.retention import Sweep, Swept
from pelton.store.sqlite.ops import NUMBER, OPS, REMOVALS, BatchOps
from pelton.store.sqlite.pace import Pace
from pelton.store.sqlite.sql import load

SLICE = 100  # rows between looks at the clock
ROOT = 13  # position in a packed head of the key of its outermost run
HASH, STATE = 10, 2  # in a packed event, and in its outcome
DEAD_AT = 9  # in a packed dead letter
FREE_SHARE, FREE_PAGES = 4, 8_192  # free pages are given back to the file system beyond a quarter of the file and 32 MB
GIVE_BACK = 256  # of them at a time

ADDS = {
    NUMBER["event_new"]: "events",
    NUMBER["dead_new"]: "dead_letters",
    NUMBER["result_new"]: "results",
    NUMBER["log_new"]: "logs",
}
ENDS = {NUMBER["run_new"]: 6, NUMBER["run_turn"]: 5, NUMBER["run_named"]: 7}  # position of the time of the end in the row
REMOVED = {NUMBER["dead_gone"]: "dead_letters", NUMBER["remove_run"]: "runs"}
RUN_AGAIN = NUMBER["run_turn"]  # with no time of an end: perhaps of a run that had ended and goes on

_decode = Decoder(ext_hook=lambda code, data: None).decode


def _field(packed: bytes, place: int, default: Any) -> Any:
    """A field of a packed row. `default`: of one that cannot be read, which goes when its turn comes, as others do."""
    try:
        return _decode(packed)[place]
    except (MsgspecError, LookupError, TypeError, ValueError):
        return default


_first: Callable[[Any], int] = itemgetter(0)
_second: Callable[[Any], int] = itemgetter(1)


class Sweeper:
    def __init__(self, db: apsw.Connection, removals: list[str], pace: Pace | None = None) -> None:
        """`removals`: the statements that remove everything about one run, in the order of the columns of `rows_of_runs`."""
        self._db = db
        self._pace = pace or Pace()
        self._sql = load("sweeps.sql")
        self._removals = removals
        self._counts: dict[str, int] = {}  # of the kinds that have been counted
        self._unsure = 0  # finished runs that may have gone on again since they were counted

    # ---- counting

    def written(self, ops: BatchOps, lost: list[str]) -> None:
        """Adds what a batch has committed."""
        counts = self._counts
        if not counts:
            return
        for op, (rows, owners) in ops.items():
            place = ENDS.get(op)
            kind = "runs" if place is not None else ADDS.get(op)
            if kind in counts:
                for row, owner in zip(rows, owners, strict=True):
                    if not lost[owner] and (place is None or row[place]):
                        counts[kind] += 1
        for op in REMOVED.keys() & ops.keys():
            counts.pop(REMOVED[op], None)
        if RUN_AGAIN in ops:
            self._unsure += sum(not row[ENDS[RUN_AGAIN]] for row in ops[RUN_AGAIN][0])

    def _count(self, kind: str) -> int:
        if kind not in self._counts:
            self._counts[kind] = self._value(f"count_{kind}")
            if kind == "runs":
                self._unsure = 0
        return self._counts[kind]

    # ---- sweeping

    def sweep(self, sweep: Sweep) -> Swept:
        """One step, in a transaction. Raises apsw.Error; then nothing has changed."""
        db = self._db
        excess = self._excess(sweep) if sweep.rows >= 0 and sweep.kind != "bookmarks" else 0
        self._pace.begin()
        db.execute("BEGIN IMMEDIATE")
        try:
            swept: Swept = getattr(self, "_" + sweep.kind)(sweep, excess)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._counts.pop(sweep.kind, None)
            self._counts.pop("ids", None)
            raise
        if sweep.kind in self._counts:
            self._counts[sweep.kind] -= swept.removed
        self._give_back()
        self._pace.end(sweep.kind, swept.more)
        return swept._replace(kept=self._counts.get(sweep.kind, -1))

    def _excess(self, sweep: Sweep) -> int:
        """How many rows there are too many. Where that is not sure they are counted anew, unless there are enough anyway."""
        excess = self._count(sweep.kind) - sweep.rows
        if sweep.kind == "runs" and self._unsure and excess > 0:
            if excess - self._unsure < sweep.limit:
                del self._counts["runs"]
                excess = self._count("runs") - sweep.rows
            else:
                excess -= self._unsure
        return max(0, excess)

    def _slices(
        self,
        sweep: Sweep,
        excess: int,
        age: Callable[[Any], int],
        drop: Callable[[list[Any]], int],
        before: int,
    ) -> Swept:
        """Takes the oldest rows a slice at a time, for as long as this step may last. `age`: of a row, to be compared with
        `before`; `drop`: removes rows, and says how many."""
        looked = removed = 0
        while looked < sweep.limit:
            asked = min(SLICE, sweep.limit - looked)
            rows = self._all(f"oldest_{sweep.kind}", asked)
            count = gone([age(row) for row in rows], before, excess - looked)
            if count:
                looked += count
                removed += drop(rows[:count])
            if count < asked:
                return Swept(removed, False)
            if self._pace.over():
                break
        return Swept(removed, True)

    def _events(self, sweep: Sweep, excess: int) -> Swept:
        def drop(rows: list[Any]) -> int:
            last = rows[-1][0]
            if sweep.remember:
                known = [
                    (ident, key, bytes(_field(body, HASH, b"")), str(_field(outcome, STATE, "failed")))
                    for ident, key, body, outcome in self._all("passing_events", last)
                ]
                self._db.executemany(self._sql["remember_event"], known)
                if "ids" in self._counts:
                    self._counts["ids"] += len(known)
            self._run("drop_events", last)
            return len(rows)

        return self._slices(sweep, excess, _first, drop, sweep.below)

    def _ids(self, sweep: Sweep, excess: int) -> Swept:
        return self._slices(sweep, excess, _first, self._dropping("drop_ids"), sweep.below)

    def _runs(self, sweep: Sweep, excess: int) -> Swept:
        removed: list[int] = []

        def drop(rows: list[Any]) -> int:
            keys = sorted(key for ended, key, head in rows if not self._kept_for_root(key, ended, _field(head, ROOT, key), sweep))
            if keys:
                self._remove_runs(keys)
                removed.extend(keys)
            return len(keys)

        return self._slices(sweep, excess, _first, drop, sweep.before)._replace(runs=tuple(removed))

    def _remove_runs(self, keys: list[int]) -> None:
        """In the order of their keys, table by table; most have rows in few tables only, and the others are not looked into run
        by run."""
        present = self._all("rows_of_runs", keys[0], keys[-1])[0]
        rows = [(key,) for key in keys]
        for statement, there in zip(self._removals, present, strict=True):
            if there:
                self._db.executemany(statement, rows)

    def _kept_for_root(self, key: int, ended: int, root: int, sweep: Sweep) -> bool:
        if root in (0, key):
            return False
        found = self._all("root_of", root)
        if not found:
            return False
        live, root_ended = found[0]
        until = sweep.now if live else root_ended
        if until <= ended:  # it goes in its turn, which is now or was before
            return False
        self._run("keep_run", key, until)
        return True

    def _dead_letters(self, sweep: Sweep, excess: int) -> Swept:
        def died(row: Any) -> int:
            at: int = _field(row[1], DEAD_AT, 0)
            return at

        return self._slices(sweep, excess, died, self._dropping("drop_dead_letters"), sweep.before)

    def _results(self, sweep: Sweep, excess: int) -> Swept:
        def drop(rows: list[Any]) -> int:
            self._db.executemany(self._sql["drop_results"], [row[1:] for row in rows])
            return len(rows)

        return self._slices(sweep, excess, _first, drop, sweep.before)

    def _logs(self, sweep: Sweep, excess: int) -> Swept:
        return self._slices(sweep, excess, _second, self._dropping("drop_logs"), sweep.before)

    def _dropping(self, name: str) -> Callable[[list[Any]], int]:
        """Removes rows up to the key of the last one."""

        def drop(rows: list[Any]) -> int:
            self._run(name, rows[-1][0])
            return len(rows)

        return drop

    def _bookmarks(self, sweep: Sweep, _: int) -> Swept:
        self._db.executemany(self._sql["use_source"], [(*pair, sweep.now) for pair in sweep.used])
        self._run("find_sources", sweep.now)
        removed = 0
        for ns, source in self._all("idle_sources", sweep.before, SLICE):
            left = sweep.limit - removed
            before = self._db.total_changes()
            self._run("drop_bookmarks", ns, source, left)
            count = self._db.total_changes() - before
            removed += count
            if count >= left:
                return Swept(removed, True)
            self._run("forget_source", ns, source)
        return Swept(removed, False)

    def _give_back(self) -> None:
        """Returns free pages to the file system, some at a time, once there are many. Only a file that was created for this can
        do so; in others free pages are used again."""
        pages, free = self._pragma("page_count"), self._pragma("freelist_count")
        if free > FREE_PAGES and free * FREE_SHARE > pages and self._pragma("auto_vacuum") == 2:
            self._db.execute(f"PRAGMA incremental_vacuum({GIVE_BACK})").fetchall()

    def _pragma(self, name: str) -> int:
        value: int = self._db.pragma(name)
        return value

    def _value(self, name: str) -> int:
        return int(self._all(name)[0][0])

    def _all(self, name: str, *values: Any) -> list[Any]:
        return self._db.execute(self._sql[name], values).fetchall()

    def _run(self, name: str, *values: Any) -> None:
        self._db.execute(self._sql[name], values)


def gone(ages: list[int], before: int, excess: int) -> int:
    """How many of the oldest rows go: those from before that time or key, and as many as there are too many."""
    count = max(0, min(excess, len(ages)))
    while count < len(ages) and ages[count] < before:
        count += 1
    return count


def removals(statements: dict[str, str]) -> list[str]:
    return [statements[OPS[number].name] for number in REMOVALS]
