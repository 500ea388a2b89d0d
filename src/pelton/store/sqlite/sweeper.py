"""The removal of old data, in the writer process: one small transaction at a time, between commits.

What is oldest is found by an index, never by a scan. How many rows of a kind there are is counted once, and then kept up by what
the writer itself writes; rollbacks and repeats make no difference, since only what was committed is added. After a write that may
have made fewer of them in another way than a sweep, they are counted anew.

A finished run goes with everything that is about it. A run that another one has started stays as long as its outermost run does:
it is put behind, and looked at again when that one would go.
"""

from __future__ import annotations

import time
from typing import Any

import apsw
from msgspec.msgpack import Decoder

from pelton.store.retention import Sweep, Swept
from pelton.store.sqlite.ops import NUMBER, OPS, REMOVALS, BatchOps
from pelton.store.sqlite.sql import load

CHUNK = 100  # rows between looks at the clock
BUDGET = 0.008  # seconds of one sweep, so that no commit waits noticeably for it
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


class Sweeper:
    def __init__(self, db: apsw.Connection, removals: list[str]) -> None:
        """`removals`: the statements that remove everything about one run."""
        self._db = db
        self._sql = load("sweeps.sql")
        self._removals = removals
        self._counts: dict[str, int] = {}  # of the kinds that have been counted

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
        if RUN_AGAIN in ops and not all(row[ENDS[RUN_AGAIN]] for row in ops[RUN_AGAIN][0]):
            counts.pop("runs", None)

    def _count(self, kind: str) -> int:
        if kind not in self._counts:
            self._counts[kind] = self._value(f"count_{kind}")
        return self._counts[kind]

    # ---- sweeping

    def sweep(self, sweep: Sweep) -> Swept:
        """One step, in a transaction. Raises apsw.Error; then nothing has changed."""
        db = self._db
        excess = max(0, self._count(sweep.kind) - sweep.rows) if sweep.rows >= 0 and sweep.kind != "bookmarks" else 0
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
        return swept._replace(kept=self._counts.get(sweep.kind, -1))

    def _events(self, sweep: Sweep, excess: int) -> Swept:
        began = time.monotonic()
        keys = [key for (key,) in self._all("oldest_events", sweep.limit)]
        count = gone(keys, sweep.below, excess)
        done = 0
        while done < count and (not done or time.monotonic() - began < BUDGET):
            done = min(done + CHUNK, count)
            last = keys[done - 1]
            if sweep.remember:
                known = [
                    (ident, key, bytes(_decode(body)[HASH]), str(_decode(outcome)[STATE]))
                    for ident, key, body, outcome in self._all("passing_events", last)
                ]
                self._db.executemany(self._sql["remember_event"], known)
                if "ids" in self._counts:
                    self._counts["ids"] += len(known)
            self._run("drop_events", last)
        return Swept(done, done < count or count == sweep.limit)

    def _ids(self, sweep: Sweep, excess: int) -> Swept:
        keys = [key for (key,) in self._all("oldest_ids", sweep.limit)]
        count = gone(keys, sweep.below, excess)
        if count:
            self._run("drop_ids", keys[count - 1])
        return Swept(count, count == sweep.limit)

    def _runs(self, sweep: Sweep, excess: int) -> Swept:
        began = time.monotonic()
        rows = self._all("oldest_runs", sweep.limit)
        count = gone([ended for ended, _, _ in rows], sweep.before, excess)
        removed: list[int] = []
        looked = 0
        while looked < count:
            part = rows[looked : min(looked + CHUNK, count)]
            looked += len(part)
            keys = [key for ended, key, head in part if not self._kept_for_root(key, ended, _decode(head)[ROOT], sweep)]
            for statement in self._removals:
                self._db.executemany(statement, [(key,) for key in keys])
            removed += keys
            if time.monotonic() - began > BUDGET:
                break
        return Swept(len(removed), looked < count or count == sweep.limit, tuple(removed))

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
        rows = self._all("oldest_dead_letters", sweep.limit)
        count = gone([_decode(body)[DEAD_AT] for _, body in rows], sweep.before, excess)
        if count:
            self._run("drop_dead_letters", rows[count - 1][0])
        return Swept(count, count == sweep.limit)

    def _results(self, sweep: Sweep, excess: int) -> Swept:
        rows = self._all("oldest_results", sweep.limit)
        count = gone([at for at, *_ in rows], sweep.before, excess)
        self._db.executemany(self._sql["drop_results"], [row[1:] for row in rows[:count]])
        return Swept(count, count == sweep.limit)

    def _logs(self, sweep: Sweep, excess: int) -> Swept:
        rows = self._all("oldest_logs", sweep.limit)
        count = gone([at for _, at in rows], sweep.before, excess)
        if count:
            self._run("drop_logs", rows[count - 1][0])
        return Swept(count, count == sweep.limit)

    def _bookmarks(self, sweep: Sweep, _: int) -> Swept:
        self._db.executemany(self._sql["use_source"], [(*pair, sweep.now) for pair in sweep.used])
        self._run("find_sources", sweep.now)
        removed = 0
        for ns, source in self._all("idle_sources", sweep.before, CHUNK):
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
    count = min(excess, len(ages))
    while count < len(ages) and ages[count] < before:
        count += 1
    return count


def removals(statements: dict[str, str]) -> list[str]:
    return [statements[OPS[number].name] for number in REMOVALS]
