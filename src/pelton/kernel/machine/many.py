"""What a draft reads of many rows at once: the rows of a thread, the children of a thread, the waits at some slots.

A run may be a thousand threads wide. What concerns one of them must cost what it costs in a run of ten, so nothing here goes
over all open rows of a run but `all_open` and `all_threads`, which are for what concerns all of them: the run's end, a pause,
another version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from pelton.kernel.model.reads import Missing, OpenKey, RunReads, ThreadsKey
from pelton.kernel.model.state import OpenStep, Run, State, Thread, ThreadStatus

T = TypeVar("T")
A = TypeVar("A")

THREADED = 1  # bit of Run.flags: the run has rows in `thread`


def for_each(items: Iterable[T], act: Callable[[T], A]) -> list[A]:
    """Calls `act` for each item. Where something has not been read the others are still tried, so that all of it is asked for at
    once. As with every such trial the effects mean nothing then: the draft is dropped."""
    done: list[A] = []
    missing: list[object] = []
    for item in items:
        try:
            done.append(act(item))
        except Missing as more:
            missing += more.keys
    if missing:
        raise Missing(*dict.fromkeys(missing))
    return done


class ManyRows:
    """The part of a draft that reads many rows: what the store has, under what this draft has done."""

    __slots__ = (
        "all_rows_read",
        "all_threads_read",
        "closed",
        "created",
        "cut",
        "first_thread",
        "head",
        "open_rows",
        "reads",
        "threads",
    )

    reads: RunReads
    head: Run
    created: bool
    cut: int
    open_rows: dict[int, OpenStep]
    closed: set[int]
    threads: dict[int, Thread]
    first_thread: int
    all_rows_read: dict[int, OpenStep] | None
    all_threads_read: dict[int, Thread] | None

    def thread(self, no: int) -> Thread | None:
        mine = self.threads.get(no)
        if mine is not None or self.created or no >= self.first_thread or not self.head.flags & THREADED:
            return mine
        return self.reads.thread(no) if self.all_threads_read is None else self.all_threads_read.get(no)

    def halted(self, no: int) -> bool:
        if not self.head.flags & THREADED:
            return False
        thread = self.thread(no)
        return thread is not None and bool(thread.reasons)

    def all_open(self) -> list[OpenStep]:
        """Every open row, parked ones included, by number. Costs as many reads as the run has open rows."""
        if self.created or self.cut:
            return [self.open_rows[n] for n in sorted(self.open_rows)]
        if self.all_rows_read is None:
            self.all_rows_read = {row.n: row for row in self.reads.answer(OpenKey())}
        rows = {n: row for n, row in self.all_rows_read.items() if n not in self.closed}
        rows.update(self.open_rows)
        return [rows[n] for n in sorted(rows)]

    def all_threads(self) -> list[Thread]:
        """Every thread that has a row, those that have ended included, by number. Costs as many reads as there are."""
        if not self.head.flags & THREADED:
            return []
        if self.all_threads_read is None:
            self.all_threads_read = {} if self.created else {t.no: t for t in self.reads.answer(ThreadsKey())}
        known = self.all_threads_read | self.threads
        return [known[no] for no in sorted(known)]

    def rows_of(self, no: int) -> list[OpenStep]:
        """The open rows of one thread, parked ones included, by number."""
        return [row for row in self.all_open() if row.thread == no]

    def child_threads(self, no: int) -> list[Thread]:
        """The threads whose parent is `no` and that have not ended, by number."""
        return [t for t in self.all_threads() if t.parent == no and t.no != no and t.status < ThreadStatus.COMPLETED]

    def move_thread(self, thread: Thread, parent: int) -> None:
        """Gives a living thread, whose row may be changed, another parent: from now on it is found among the children of that."""
        thread.parent = parent

    def forget_threads(self, first: int) -> None:
        """Threads from this number on, all of them born in this draft, were not born after all; their numbers are given again."""
        for no in range(first, self.head.threads):
            self.threads.pop(no, None)
        self.head.threads = first

    def waits_at(self, slots: Iterable[str], after: tuple[int, int] | None = None, limit: int = 64) -> list[OpenStep]:
        """Open steps of these slots, parked ones left out, by (thread, number): at most `limit` of those after that place. None
        is found only when there are no more."""
        wanted = frozenset(slots)
        found = [row for row in self.all_open() if row.slot in wanted and row.state != State.PARKED]
        found.sort(key=place_of)
        return [row for row in found if after is None or place_of(row) > after][:limit]

    def parked_for_fuel(self, limit: int) -> list[OpenStep]:
        """Tokens that parked because fuel ran out, in the order in which they did, at most `limit`."""
        rows = [row for row in self.all_open() if row.state == State.PARKED and not self.halted(row.thread)]
        return sorted(rows, key=lambda row: -row.n)[:limit]


def place_of(row: OpenStep) -> tuple[int, int]:
    return row.thread, row.n
