"""The rows of a wide run by thread, by place and by parent, so that one of a thousand is found without a look at the others.

Made when something is first asked of it: a run of which nothing is costs nothing. It says numbers only; the rows are those of
the run's entry. What is known may be a part: the rows of some threads, the children of some, the waits at a slot up to a place.
A change of the run changes what is known, and can be taken back, latest first.

Cost: O(log n) a changed row.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import Any

from pelton.kernel.model.reads import ChildrenKey, StrandedKey, ThreadRowsKey, WaitsKey
from pelton.kernel.model.state import Bit, OpenStep, Thread
from pelton.kernel.model.transition import Transition

Standing = tuple[int, int]  # thread, number

START: Standing = (0, 0)
END: Standing = (1 << 62, 0)
KEYS = frozenset((ChildrenKey, StrandedKey, ThreadRowsKey, WaitsKey))
AHEAD = 64  # rows read from the store at the least where waits are asked for: what is ahead will be asked for next

UNKNOWN: Any = object()


class Waits:
    """The waits at one slot, from the first to the place `upto`."""

    __slots__ = ("places", "upto")

    def __init__(self, places: list[Standing], upto: Standing) -> None:
        self.places = places
        self.upto = upto


class WideRun:
    __slots__ = ("_all_rows", "_born", "_children", "_open", "_rows", "_stranded", "_threads", "_waits")

    def __init__(
        self,
        threads_so_far: int,
        open_rows: dict[int, OpenStep],
        threads: dict[int, Thread | None],
        all_rows: bool,
        all_threads: bool,
    ) -> None:
        """`open_rows` and `threads` are those of the entry, which go on changing; `all_...`: there are no others."""
        self._born = threads_so_far  # threads from here on are known from their birth
        self._open = open_rows
        self._threads = threads
        self._all_rows = all_rows
        self._rows: dict[int, set[int]] = {}
        self._waits: dict[str, Waits] = {}
        self._stranded: set[int] | None = None
        self._children: dict[int, set[int]] = {}
        if all_rows:
            self._stranded = set()
            for row in open_rows.values():
                self._add(row)
            for waits in self._waits.values():
                waits.places.sort()
        if all_threads:
            self._born = 0
            for thread in threads.values():
                if thread is not None and thread.live:
                    self._children.setdefault(thread.parent, set()).add(thread.no)

    # ---- answers

    def known(self, key: Any) -> Any:
        """The answer to one of KEYS; UNKNOWN if it must be read."""
        kind = type(key)
        rows = self._open
        if kind is ThreadRowsKey:
            numbers = self._rows.get(key.no)
            if numbers is None:
                return [] if self._all_rows or 0 < self._born <= key.no else UNKNOWN
            return [rows[n] for n in sorted(numbers)]
        if kind is ChildrenKey:
            children = self._children.get(key.no)
            if children is None:
                return [] if self._born <= key.no else UNKNOWN
            return [self._threads[no] for no in sorted(children)]
        if kind is WaitsKey:
            waits = self._waits.get(key.slot)
            if waits is None:
                return [] if self._all_rows else UNKNOWN
            first = bisect_right(waits.places, key.after)
            found = waits.places[first : first + key.limit]
            return [rows[n] for _, n in found] if len(found) == key.limit or waits.upto == END else UNKNOWN
        if self._stranded is None:
            return UNKNOWN
        return [rows[n] for n in sorted(self._stranded, reverse=True)[: key.limit]]

    def learn(self, key: Any, answer: list[Any]) -> bool:
        """Keeps what the store answered, whose rows are in the entry already; False if it fits nothing that is known."""
        kind = type(key)
        if kind is ThreadRowsKey:
            self._rows[key.no] = {row.n for row in answer}
        elif kind is ChildrenKey:
            self._children[key.no] = {thread.no for thread in answer}
        elif kind is WaitsKey:
            places = [(row.thread, row.n) for row in answer]
            upto = places[-1] if len(places) >= key.limit else END
            waits = self._waits.get(key.slot)
            if key.after == START:
                self._waits[key.slot] = Waits(places, upto)
            elif waits is not None and waits.upto == key.after:
                waits.places += places
                waits.upto = upto
            else:
                return False
        elif len(answer) < key.limit:
            self._stranded = {row.n for row in answer}
        else:
            return False
        return True

    # ---- changes

    def apply(self, change: Transition, undo: list[tuple[Any, Any, Any]] | None) -> None:
        """Takes in a transition, before the entry does."""
        for n in change.closed:
            row = self._open.get(n)
            if row is not None:
                self._drop(row)
                if undo is not None:
                    undo.append((self, row, False))
        for row in change.opened:
            self._put(row, undo)
        for row in change.changed:
            if row.n < 0:  # only its mark may change
                old = self._open.get(row.n)
                if old is not None:
                    self._drop(old)
                    if undo is not None:
                        undo.append((self, old, False))
                    self._put(row, undo)
        for thread in change.threads:
            self._note_thread(thread, undo)

    def back(self, what: OpenStep | Standing, added: bool) -> None:
        """Takes one change back: a row, or (parent, child)."""
        if type(what) is OpenStep:
            if added:
                self._drop(what)
            else:
                self._insert(what)
        else:
            parent, no = what  # type: ignore[misc]
            children = self._children[parent]
            if added:
                children.discard(no)
            else:
                children.add(no)

    def _put(self, row: OpenStep, undo: list[tuple[Any, Any, Any]] | None) -> None:
        self._insert(row)
        if undo is not None:
            undo.append((self, row, True))

    def _add(self, row: OpenStep) -> None:
        """Of all rows, in any order."""
        self._rows.setdefault(row.thread, set()).add(row.n)
        if row.n > 0:
            waits = self._waits.get(row.slot)
            if waits is None:
                waits = self._waits[row.slot] = Waits([], END)
            waits.places.append((row.thread, row.n))
        elif row.bits & Bit.STRANDED and self._stranded is not None:
            self._stranded.add(row.n)

    def _insert(self, row: OpenStep) -> None:
        rows = self._rows.get(row.thread)
        if rows is None and (self._all_rows or 0 < self._born <= row.thread):
            rows = self._rows[row.thread] = set()
        if rows is not None:
            rows.add(row.n)
        if row.n > 0:
            waits = self._waits.get(row.slot)
            if waits is None and self._all_rows:
                waits = self._waits[row.slot] = Waits([], END)
            if waits is not None and (row.thread, row.n) <= waits.upto:
                insort(waits.places, (row.thread, row.n))
        elif row.bits & Bit.STRANDED and self._stranded is not None:
            self._stranded.add(row.n)

    def _drop(self, row: OpenStep) -> None:
        rows = self._rows.get(row.thread)
        if rows is not None:
            rows.discard(row.n)
            if not rows and (self._all_rows or 0 < self._born <= row.thread):
                del self._rows[row.thread]
        if row.n > 0:
            waits = self._waits.get(row.slot)
            if waits is not None:
                place = (row.thread, row.n)
                at = bisect_left(waits.places, place)
                if at < len(waits.places) and waits.places[at] == place:
                    del waits.places[at]
        elif self._stranded is not None:
            self._stranded.discard(row.n)

    def _note_thread(self, thread: Thread, undo: list[tuple[Any, Any, Any]] | None) -> None:
        old = self._threads.get(thread.no)
        if old is not None and old.parent != thread.parent and thread.no in self._children.get(old.parent, ()):
            self._children[old.parent].discard(thread.no)
            if undo is not None:
                undo.append((self, (old.parent, thread.no), False))
        children = self._children.get(thread.parent)
        if children is None:
            if thread.parent < self._born or not thread.live:
                return
            children = self._children[thread.parent] = set()
        if thread.live is not (thread.no in children):
            if thread.live:
                children.add(thread.no)
            else:
                children.discard(thread.no)
            if undo is not None:
                undo.append((self, (thread.parent, thread.no), thread.live))
