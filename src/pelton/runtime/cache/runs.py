"""The run cache: what this process knows about recently used runs.

An entry holds the head, the known open rows, the newest step of each slot, variables and threads. Anything else is unknown,
unless a flag says that a kind is complete: then absence is knowledge. A loop keeps one step per slot, however many iterations it
has.

Invariants: an entry is the store's state plus every batch that is not acknowledged yet (`pins` counts those); a pinned entry is
never dropped; an entry touched by a lost group is `stale`, and is not used until its pins are gone and it has been read again.
Cost: constant in the length of a run's history. Sizes are estimates, recalculated after as many changes as there are rows.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from copy import copy
from itertools import islice
from typing import Any

from pelton.kernel.model.process import Acquired, Process
from pelton.kernel.model.reads import (
    FragmentKey,
    NewestKey,
    OpenKey,
    RecordKey,
    SlotKey,
    StepKey,
    ThreadKey,
    ThreadsKey,
    VarKey,
    VarsKey,
    WaitsKey,
)
from pelton.kernel.model.state import OpenStep, Run, RunStatus, State, Step, Thread
from pelton.kernel.model.transition import UNSET, Purge, Transition
from pelton.runtime.cache.shared import Shared
from pelton.runtime.cache.wide import AHEAD, KEYS, START, UNKNOWN, WideRun
from pelton.store.group import LeaseWrite
from pelton.store.packing import size_of
from pelton.store.prefetched import Prefetched

ENTRY_BYTES = 1_500
ROW_BYTES = 900
TRIMMED = 1_024  # entries looked at in one go
FRAGMENTS_KEPT = 64  # of one run
ENDED_KEPT = 512  # finished runs that are kept a while, for late reports about them

PLACEHOLDER = Process(name="", version=0, entry="", nodes={})  # what a run follows that is expected and not there yet

Undo = list[tuple[Any, Any, Any]]

_ABSENT: Any = object()


class RunEntry(Shared):
    __slots__ = (
        "all_newest",
        "all_open",
        "all_root_variables",
        "all_threads",
        "all_variables",
        "churn",
        "fragments",
        "head",
        "key",
        "newest",
        "open",
        "process",
        "quiet",
        "record",
        "size",
        "threads",
        "variables",
        "wide",
    )

    def __init__(self, key: int, complete: bool = False) -> None:
        super().__init__()
        self.key = key
        self.head: Run | None = None
        self.process: Process | None = None
        self.open: dict[int, OpenStep] = {}
        self.newest: dict[str, OpenStep | Step | None] = {}
        self.variables: dict[tuple[int, str], list[Any] | None] = {}
        self.threads: dict[int, Thread | None] = {}
        self.record: Any = None if complete else _ABSENT
        self.all_open = self.all_newest = self.all_variables = self.all_root_variables = self.all_threads = complete
        self.fragments: dict[int, Acquired | None] = {}  # by step of the fork; None: it is no dynamic fork
        self.quiet: list[Any] = []  # futures of those that wait for pins == 0
        self.size = ENTRY_BYTES
        self.churn = 0
        self.wide: WideRun | None = None  # made when a question of many rows is asked

    # ---- what a store's answer adds

    def take(self, found: Prefetched) -> None:
        """All that is known of a run that was not in memory."""
        self.head = found.run
        self.record = found.record
        if found.step is not None:
            self.learn(StepKey(found.step.n), found.step)
        if found.open is not None:
            self.learn(OpenKey(), found.open)
        if found.open is not None and found.ended is not None:
            rows: list[OpenStep | Step] = [*found.ended, *(row for row in found.open if row.n > 0)]
            self.newest = {row.slot: row for row in sorted(rows, key=_number)}
            self.all_newest = True
        if found.threads is not None:
            self.learn(ThreadsKey(), found.threads)
        if found.variables is not None:
            self.variables = {(thread, name): [value] for thread, name, value in found.variables}
            self.all_variables = self.all_root_variables = True
        self.size = ENTRY_BYTES + (len(self.open) + len(self.newest) + len(self.variables)) * ROW_BYTES // 2 + 3 * found.size
        self.churn = 0

    def knows(self, key: Any) -> bool:
        """Whether the entry answers a key of those that are read ahead, so that it need not be."""
        kind = type(key)
        if kind is NewestKey:
            return self.all_newest or key.slot in self.newest
        if kind is SlotKey:
            row = self.newest.get(key.slot, None if self.all_newest else _ABSENT)
            if row is _ABSENT:
                return False
            return row is None or row.n < key.scope or (row.scope == key.scope and row.it <= key.it)
        if kind is StepKey:
            return key.n in self.open
        if kind is ThreadKey:
            return self.all_threads or key.no in self.threads
        return kind is FragmentKey and key.n in self.fragments

    def learn(self, key: Any, answer: Any) -> bool:
        """Keeps an answer that stays true until this process changes the run; False if it is not of that kind."""
        kind = type(key)
        if kind is NewestKey:
            self.newest[key.slot] = answer
            if type(answer) is OpenStep:
                self.open[answer.n] = answer
        elif kind is StepKey:
            if type(answer) is not OpenStep:
                return False
            self.open[answer.n] = answer
        elif kind is VarKey:
            self.variables[key.thread, key.name] = answer
        elif kind is RecordKey:
            self.record = answer
        elif kind is ThreadKey:
            self.threads[key.no] = answer
        elif kind is VarsKey and key.thread == 0:
            for name, value in answer.items():
                self.variables[0, name] = [value]
            self.all_root_variables = True
        elif kind is OpenKey:
            for row in answer:
                self.open[row.n] = row
            self.all_open = True
            self.wide = None
        elif kind is ThreadsKey:
            for thread in answer:
                self.threads[thread.no] = thread
            self.all_threads = True
            self.wide = None
        elif not (self._learn_many(key, answer) if kind in KEYS else self._learn_fragment(key, answer)):
            return False
        self.churn += 1
        return True

    def _learn_fragment(self, key: Any, answer: Acquired | None) -> bool:
        if type(key) is not FragmentKey:
            return False
        self.fragments[key.n] = answer
        if len(self.fragments) > FRAGMENTS_KEPT:
            del self.fragments[next(iter(self.fragments))]
        return True

    def _learn_many(self, key: Any, answer: list[Any]) -> bool:
        for row in answer:
            if type(row) is OpenStep:
                self.open[row.n] = row
            else:
                self.threads[row.no] = row
        self.churn += len(answer)
        return self._index().learn(key, answer)

    def _index(self) -> WideRun:
        if self.wide is None:
            so_far = self.head.threads if self.head is not None else 0
            self.wide = WideRun(so_far, self.open, self.threads, self.all_open, self.all_threads)
        return self.wide

    def known(self, key: Any) -> Any:
        """The answer to a key, or _ABSENT if it is not known (see `unknown`)."""
        kind = type(key)
        if kind in KEYS:
            found = self._index().known(key)
            return _ABSENT if found is UNKNOWN else found
        if kind is OpenKey and self.all_open:
            return [self.open[n] for n in sorted(self.open)]
        if kind is VarsKey and (self.all_variables or (self.all_root_variables and key.thread == 0)):
            return {name: found[0] for (no, name), found in self.variables.items() if no == key.thread and found is not None}
        if kind is RecordKey:
            return self.record
        if kind is FragmentKey:
            return self.fragments.get(key.n, _ABSENT)
        if kind is ThreadsKey and self.all_threads:
            return [thread for _, thread in sorted(self.threads.items()) if thread is not None]
        return _ABSENT

    # ---- what a transition changes

    def apply(self, change: Transition, undo: Undo | None) -> None:
        """Applies a transition to the entry; `undo` collects how to revert it."""
        before, head = self.head, change.run
        if undo is not None:
            undo.append(
                (self, None, (before, self.process, self.newest, self.all_newest, self.record, self.fragments, self.wide))
            )
        if self.wide is not None:
            self.wide.apply(change, undo)
        first_new = 0
        if before is not None:
            first_new = before.next_n
            if head.era != before.era:
                self.newest = {}  # a rewind may have taken back any of them
                self.all_newest = False
                self.fragments = {}
            if head.definition != before.definition:
                self.process = None
                self.fragments = {}
        rows = self.open
        for n in change.closed:
            _take(rows, n, undo)
        newest = self.newest
        for row in change.opened:
            _put(rows, row.n, row, undo)
            if row.n > 0:
                _put(newest, row.slot, row, undo)
        for row in change.changed:
            old = rows.get(row.n)
            _put(rows, row.n, row, undo)
            if row.n > 0:
                known = newest.get(row.slot)
                if known is not None and (known is old or known.n == row.n):
                    _put(newest, row.slot, row, undo)
        for step in change.ended:
            known = newest.get(step.slot)
            if (known is None or known.n <= step.n) if step.n >= first_new else (known is not None and known.n == step.n):
                _put(newest, step.slot, step, undo)
        self._apply_rest(change, undo)
        self.head = head
        self.churn += len(change.opened) + len(change.ended) + len(change.variables) + len(change.changed)

    def _apply_rest(self, change: Transition, undo: Undo | None) -> None:
        for thread in change.threads:
            _put(self.threads, thread.no, thread, undo)
        for no, name, value in change.variables:
            _put(self.variables, (no, name), None if value is UNSET else [value], undo)
        if change.acquired:
            for n, acquired in change.acquired.items():
                _put(self.fragments, n, acquired, undo)
            while len(self.fragments) > FRAGMENTS_KEPT:
                _take(self.fragments, next(iter(self.fragments)), undo)
        if change.record_change is not None:
            self.record = change.record_change.record
            self.churn += 1
        for effect in change.effects:
            if type(effect) is Purge:
                self._purge(effect, undo)

    def _purge(self, purge: Purge, undo: Undo | None) -> None:
        for slot, row in list(self.newest.items()):
            if type(row) is Step and purged(row, purge):
                _take(self.newest, slot, undo)
                self.all_newest = False  # an older one of the slot may be there still

    def lease(self, write: LeaseWrite) -> None:
        """Applies a claim, an extension or the return of a work item: lease columns only, no revision."""
        row = self.open.get(write.n)
        if row is None:
            return
        mine = copy(row)
        mine.lease, mine.worker, mine.polls, mine.started, mine.due = (
            write.lease,
            write.worker,
            write.polls,
            write.started,
            write.due,
        )
        self.replace(mine)

    def replace(self, mine: OpenStep) -> None:
        self.open[mine.n] = mine
        known = self.newest.get(mine.slot)
        if known is not None and known.n == mine.n:  # it may have been read in two ways
            self.newest[mine.slot] = mine

    def weigh(self) -> int:
        """The estimated size in bytes, recalculated when enough has changed."""
        rows = len(self.open) + len(self.newest) + len(self.variables)
        if self.churn <= 8 + rows // 2:
            return self.size
        self.churn = 0
        size = ENTRY_BYTES + rows * ROW_BYTES // 2
        seen: set[int] = set()
        for row in (*self.open.values(), *self.newest.values()):
            if row is not None and id(row) not in seen:
                seen.add(id(row))
                size += ROW_BYTES // 2
                if row.input is not None:
                    size += 3 * size_of(row.input)
                if row.output is not None:
                    size += 3 * size_of(row.output)
        if self.record is not _ABSENT and self.record is not None:
            size += 3 * size_of(self.record.body)
        for value in self.variables.values():
            if value is not None:
                size += 3 * size_of(value[0])
        self.size = size
        return size


unknown = _ABSENT


def _number(row: OpenStep | Step) -> int:
    return row.n


def ahead(key: Any) -> Any:
    """What is better read for a key: waits are taken one after another, so some that follow are read with the first."""
    return WaitsKey(key.slot, key.after, AHEAD) if type(key) is WaitsKey and key.after == START and key.limit < AHEAD else key


def purged(step: Step, purge: Purge) -> bool:
    if not purge.low <= step.n < purge.high:
        return False
    return not purge.scope or (step.scope == purge.scope and step.it < purge.it)


def revert(undo: Undo) -> None:
    """Reverts what `apply` did, latest first."""
    for target, key, old in reversed(undo):
        if type(target) is RunEntry:
            target.head, target.process, target.newest, target.all_newest, target.record, target.fragments, target.wide = old
        elif type(target) is WideRun:
            target.back(key, old)
        elif old is _ABSENT:
            target.pop(key, None)
        else:
            target[key] = old
    undo.clear()


def _put(rows: dict[Any, Any], key: Any, value: Any, undo: Undo | None) -> None:
    if undo is not None:
        undo.append((rows, key, rows.get(key, _ABSENT)))
    rows[key] = value


def _take(rows: dict[Any, Any], key: Any, undo: Undo | None) -> None:
    old = rows.pop(key, _ABSENT)
    if undo is not None and old is not _ABSENT:
        undo.append((rows, key, old))


def work_row(row: OpenStep) -> bool:
    return row.state == State.WORK and row.n > 0


def same_lease(row: OpenStep, before: OpenStep) -> bool:
    """Whether the lease columns of two versions of a row are the same."""
    return (
        row.lease == before.lease
        and row.polls == before.polls
        and row.due == before.due
        and row.started == before.started
        and row.worker == before.worker
    )


class RunCache:
    """Entries by run key. The least recently used are evicted to stay within an estimated `limit` bytes; pinned ones stay."""

    __slots__ = ("_ended", "_entries", "_limit", "size")

    def __init__(self, limit: int) -> None:
        self._entries: OrderedDict[int, RunEntry] = OrderedDict()
        self._ended: deque[int] = deque()
        self._limit = limit
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: int) -> RunEntry | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def all(self) -> list[RunEntry]:
        return list(self._entries.values())

    def peek(self, key: int) -> RunEntry | None:
        return self._entries.get(key)

    def add(self, entry: RunEntry) -> None:
        self._entries[entry.key] = entry
        self.size += entry.size

    def take(self, entry: RunEntry, found: Prefetched) -> None:
        """Fills an entry with what was found of its run."""
        before = entry.size
        entry.take(found)
        if self._entries.get(entry.key) is entry:  # it may have been forgotten meanwhile
            self.size += entry.size - before

    def drop(self, entry: RunEntry) -> None:
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
            self.size -= entry.size

    def settle(self, entry: RunEntry) -> None:
        """After a commit: recalculates the entry's size, and drops runs that ended a while ago."""
        before = entry.size
        self.size += entry.weigh() - before
        head = entry.head
        if head is not None and head.status >= RunStatus.COMPLETED:
            self._ended.append(entry.key)
            while len(self._ended) > ENDED_KEPT:
                old = self._entries.get(self._ended.popleft())
                if old is not None and free(old) and old.head is not None and old.head.status >= RunStatus.COMPLETED:
                    self.drop(old)

    def trim(self) -> None:
        """Drops the least recently used entries until within the limit, a bounded number at a time."""
        if self.size <= self._limit:
            return
        for key in list(islice(self._entries, TRIMMED)):
            entry = self._entries[key]
            if free(entry):
                self.drop(entry)
                if self.size <= self._limit:
                    return


def free(entry: RunEntry) -> bool:
    return not (entry.pins or entry.busy or entry.waiting or entry.quiet)
