"""What a draft reads of many rows at once: the rows of a thread, the children of a thread, the waits at some slots.

A run may be a thousand threads wide. What concerns one of them must cost what it costs in a run of ten, so nothing here goes
over all open rows of a run but `all_open` and `all_threads`, which are for what concerns all of them: the run's end, another
version. A run of few open rows is read whole: that is as good, and what a run of one wait costs is not raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pelton.kernel.model.reads import (
    ChildrenKey,
    Missing,
    OpenKey,
    RunReads,
    StrandedKey,
    ThreadRowsKey,
    ThreadsKey,
    WaitsKey,
)
from pelton.kernel.model.state import THREADED, Bit, OpenStep, Run, Thread

T = TypeVar("T")
A = TypeVar("A")

NARROW = 16  # a run with no more open rows than this is read whole
PAGES = (8, 1_000)  # rows of the first page of waits, and of those that follow
START = (0, 0)  # before the first place: numbers of steps begin at 1


def for_each(items: Iterable[T], act: Callable[[T], A]) -> list[A]:
    """Calls `act` for each item. Where something has not been read the others are still tried, so that all of it is asked for at
    once. As with every such trial the effects mean nothing then: the draft is dropped."""
    done: list[A] = []
    missing: list[object] = []
    try:
        for item in items:
            try:
                done.append(act(item))
            except Missing as more:
                missing += more.keys
    except Missing as more:  # what comes next has not been read itself
        missing += more.keys
    except Exception:
        if not missing:
            raise
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
        "rows_here",
        "rows_there",
        "threads",
        "threads_there",
        "whole",
    )

    def __init__(self, reads: RunReads, head: Run, created: bool) -> None:
        self.reads = reads
        self.head = head
        self.created = created
        self.cut = 0  # a rewind in progress takes back numbers from here on; 0 = none
        self.first_thread = head.threads  # threads from here on are born in this draft: the store does not know them
        self.open_rows: dict[int, OpenStep] = {}  # new or changed, still open
        self.closed: set[int] = set()  # rows of the store that go
        self.threads: dict[int, Thread] = {}  # new or changed
        self.whole = head.open <= NARROW  # few enough to be read whole
        self.all_rows_read: dict[int, OpenStep] | None = None  # everything that the store has, once all of it was read
        self.all_threads_read: dict[int, Thread] | None = None
        # the same by thread and by parent, made when first asked for
        self.rows_there: dict[int, list[OpenStep]] | None = None
        self.threads_there: dict[int, list[Thread]] | None = None
        self.rows_here: dict[int, dict[int, None]] | None = None  # thread → numbers of rows put here; some are closed again

    # ---- threads

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

    def all_threads(self) -> list[Thread]:
        """Every thread that has a row, those that have ended included, by number. Costs as many reads as there are."""
        if not self.head.flags & THREADED:
            return []
        if self.all_threads_read is None:
            self.all_threads_read = {} if self.created else {t.no: t for t in self.reads.answer(ThreadsKey())}
        known = self.all_threads_read | self.threads
        return [known[no] for no in sorted(known)]

    def child_threads(self, no: int) -> list[Thread]:
        """The threads whose parent is `no` and that have not ended, by number."""
        if not self.head.flags & THREADED:
            return []
        found = {thread.no: thread for thread in self._stored_children(no)}
        for thread in self.threads.values():  # a thread may have come from another parent
            if thread.parent == no:
                found[thread.no] = thread
            else:
                found.pop(thread.no, None)
        return [found[each] for each in sorted(found) if found[each].live]

    def _stored_children(self, no: int) -> list[Thread]:
        if self.created or (no >= self.first_thread and no > 0):
            return []
        if self.all_threads_read is None:
            found: list[Thread] = self.reads.answer(ChildrenKey(no))
            return found
        if self.threads_there is None:
            self.threads_there = {}
            for thread in self.all_threads_read.values():
                self.threads_there.setdefault(thread.parent, []).append(thread)
        return self.threads_there.get(no, [])

    # ---- open rows

    def all_open(self) -> list[OpenStep]:
        """Every open row, parked ones included, by number. Costs as many reads as the run has open rows."""
        if self.created or self.cut:
            return [self.open_rows[n] for n in sorted(self.open_rows)]
        rows = {n: row for n, row in self._all_rows().items() if n not in self.closed}
        rows.update(self.open_rows)
        return [rows[n] for n in sorted(rows)]

    def _all_rows(self) -> dict[int, OpenStep]:
        if self.all_rows_read is None:
            self.all_rows_read = {row.n: row for row in self.reads.answer(OpenKey())}
            self.whole = True
        return self.all_rows_read

    def rows_of(self, no: int) -> list[OpenStep]:
        """The open rows of one thread, parked ones included, by number."""
        if self.rows_here is None:
            self.rows_here = {}
            for row in self.open_rows.values():
                self.note_row(row)
        rows = {row.n: row for row in self._stored_rows(no) if row.n not in self.closed}
        for n in self.rows_here.get(no, ()):
            if n in self.open_rows:
                rows[n] = self.open_rows[n]
        return [rows[n] for n in sorted(rows)]

    def note_row(self, row: OpenStep) -> None:
        """Keeps in mind whose row it is that was put here, once that has been asked for."""
        if self.rows_here is not None:
            self.rows_here.setdefault(row.thread, {})[row.n] = None

    def _stored_rows(self, no: int) -> list[OpenStep]:
        if self.created or self.cut or (no >= self.first_thread and no > 0):
            return []
        if not self.whole:
            found: list[OpenStep] = self.reads.answer(ThreadRowsKey(no))
            return found
        if self.rows_there is None:
            self.rows_there = {}
            for row in self._all_rows().values():
                self.rows_there.setdefault(row.thread, []).append(row)
        return self.rows_there.get(no, [])

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
        wanted = dict.fromkeys(slots)
        place = after or START
        while True:
            found = [row for row in self.open_rows.values() if row.slot in wanted and row.n > 0 and place_of(row) > place]
            last = None
            if not self.created and not self.cut:
                stored, last = self._stored_waits(list(wanted), place, limit)
                if last is not None:
                    found = [row for row in found if place_of(row) <= last]
                found += [row for row in stored if row.n not in self.closed and row.n not in self.open_rows]
            if found or last is None:
                found.sort(key=place_of)
                return found[:limit]
            place = last

    def _stored_waits(
        self, slots: list[str], after: tuple[int, int], limit: int
    ) -> tuple[list[OpenStep], tuple[int, int] | None]:
        """What the store has of these slots after a place, and up to which place that is complete: None = to the end."""
        if self.whole:
            return [row for row in self._all_rows().values() if row.slot in slots and row.n > 0 and place_of(row) > after], None
        pages: list[list[OpenStep]] = for_each(slots, lambda slot: self.reads.answer(WaitsKey(slot, after, limit)))
        last = min((place_of(page[-1]) for page in pages if len(page) >= limit), default=None)
        return [row for page in pages for row in page if last is None or place_of(row) <= last], last

    def wait_pages(self, slots: Iterable[str], after: tuple[int, int] = START) -> Iterator[list[OpenStep]]:
        """All that `waits_at` finds, in growing pages, each with the threads of its rows read. A row may have been closed or
        changed since."""
        wanted = list(slots)
        sizes = iter(PAGES)
        limit = 0
        while wanted:
            limit = next(sizes, limit)
            found = self.waits_at(wanted, after, limit)
            if not found:
                return
            if self.head.flags & THREADED:
                for_each(dict.fromkeys(row.thread for row in found), self.thread)
            yield found
            after = place_of(found[-1])

    def parked_for_fuel(self, limit: int) -> list[OpenStep]:
        """Tokens that parked because fuel ran out, in the order in which they did, at most `limit`."""
        rows = {row.n: row for row in self.open_rows.values()}
        if not self.created and not self.cut:
            stored = self._all_rows().values() if self.whole else self.reads.answer(StrandedKey(limit))
            rows |= {row.n: row for row in stored if row.n not in self.closed and row.n not in rows}
        found = [row for row in rows.values() if row.n < 0 and row.bits & Bit.STRANDED]
        return sorted(found, key=lambda row: -row.n)[:limit]


def place_of(row: OpenStep) -> tuple[int, int]:
    return row.thread, row.n
