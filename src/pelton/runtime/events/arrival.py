"""The order of arrival: events that concern the same handler, or runs of the same process, act in the order in which they came.

Every event has a place in the lines of what it concerns: its handlers, and the processes whose records these begin or look for.
It acts when it is the first in each of its lines, and leaves them when it has acted: when it is in a batch, not when that
is committed. Until it is known what an event concerns, it may concern anything, and holds all that came after it. An event whose
group is lost takes its places again, before all that came later. There is no time after which an event acts out of turn; each
leaves its lines in the end, since it is performed, fails or is given up.

Nobody is kept from preparing: reading, asking scripts and searching go on for all that wait.

Cost: logarithmic in the number of events that wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from pelton.runtime.cache.shared import Shared

Line = int | str
"""A handler, by the row of its definition, or a process."""


class Turn(Shared):
    """An event's places. It is `busy` until its turn has come."""

    __slots__ = ("key", "lines", "placed")

    def __init__(self, key: int) -> None:
        super().__init__(busy=True)
        self.key = key
        self.lines: tuple[Line, ...] = ()
        self.placed = False  # it is known what it concerns


class _Queue:
    """Turns by their keys."""

    __slots__ = ("_heap", "turns")

    def __init__(self) -> None:
        self._heap: list[int] = []
        self.turns: dict[int, Turn] = {}

    def add(self, turn: Turn) -> None:
        if turn.key not in self.turns:
            self.turns[turn.key] = turn
            heappush(self._heap, turn.key)

    def remove(self, key: int) -> bool:
        """Whether it was the first."""
        first = self.first
        return self.turns.pop(key, None) is not None and first is not None and first.key == key

    @property
    def first(self) -> Turn | None:
        while self._heap and self._heap[0] not in self.turns:
            heappop(self._heap)
        return self.turns[self._heap[0]] if self._heap else None


class ArrivalOrder:
    """Of one namespace."""

    __slots__ = ("_count", "_held", "_lines", "_release", "_unplaced")

    def __init__(self, release: Callable[[Shared], None]) -> None:
        """`release(turn)`: performs the event that waits for its turn."""
        self._release = release
        self._lines: dict[Line, _Queue] = {}
        self._unplaced = _Queue()
        self._held = _Queue()  # those that wait for an older one which is not placed
        self._count = 0  # events under way

    def begin(self, key: int) -> Turn:
        """An event has come; keys rise."""
        turn = Turn(key)
        self._count += 1
        self._unplaced.add(turn)
        return turn

    def place(self, turn: Turn, lines: Iterable[Line]) -> None:
        """It is known what the event concerns. May be called again with more or with less."""
        wanted = tuple(dict.fromkeys(lines))
        if turn.placed and wanted == turn.lines:
            return
        before, turn.lines, turn.placed = turn.lines, wanted, True
        for line in wanted:
            if line not in before:
                queue = self._lines.get(line)
                if queue is None:
                    queue = self._lines[line] = _Queue()
                queue.add(turn)
        self._leave(turn, [line for line in before if line not in wanted])

    def has_come(self, turn: Turn) -> bool:
        """Whether the event may act now. If not, its turn is `busy` until it may."""
        turn.busy = not self._may_act(turn)
        return not turn.busy

    def acted(self, turn: Turn) -> None:
        """It is in a batch, or has nothing to do."""
        lines, turn.lines, turn.placed = turn.lines, (), True
        turn.busy = False
        self._leave(turn, lines)

    def again(self, turn: Turn, lines: Iterable[Line] | None) -> None:
        """It has acted and that was lost. `lines`: what it concerns; None = that is not known any more."""
        turn.busy = True
        if lines is None:
            self._leave(turn, turn.lines)
            turn.lines, turn.placed = (), False
            self._unplaced.add(turn)
        else:
            self.place(turn, lines)

    def end(self, turn: Turn) -> bool:
        """The event has ended, in whatever way. True if none is left."""
        self.acted(turn)
        self._count -= 1
        return self._count <= 0

    def _may_act(self, turn: Turn) -> bool:
        oldest = self._unplaced.first
        if oldest is not None and oldest.key < turn.key:
            return False
        return all(self._lines[line].first is turn for line in turn.lines)

    def _leave(self, turn: Turn, lines: Iterable[Line]) -> None:
        """Gives up places, and lets those act whose turn it is."""
        if self._unplaced.remove(turn.key):
            self._go_on()
        for line in lines:
            queue = self._lines.get(line)
            if queue is None:
                continue
            first = queue.remove(turn.key)
            following = queue.first
            if following is None:
                del self._lines[line]
            elif first:
                self._look(following)

    def _go_on(self) -> None:
        """Looks at those that waited for what was not placed."""
        oldest = self._unplaced.first
        while (turn := self._held.first) is not None and (oldest is None or turn.key < oldest.key):
            self._held.remove(turn.key)
            self._look(turn)

    def _look(self, turn: Turn) -> None:
        if not turn.waiting:
            return  # it is on its way, and will see for itself
        if self._may_act(turn):
            turn.busy = False
            self._release(turn)
            return
        oldest = self._unplaced.first
        if oldest is not None and oldest.key < turn.key:
            self._held.add(turn)

    def wait(self, turn: Turn) -> None:
        """The event is about to wait for its turn, which has not come."""
        oldest = self._unplaced.first
        if oldest is not None and oldest.key < turn.key:
            self._held.add(turn)
