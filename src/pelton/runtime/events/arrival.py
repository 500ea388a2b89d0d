"""The order of arrival: events that concern the same handler, or runs of the same process, act in the order in which they came.

Every event has a place in the lines of what it concerns: its handlers, and the processes whose records these begin or look for.
It acts when it is the first in each of its lines, and leaves them when it has acted: when it is in a batch, not when that
is committed. Until it is known what an event concerns, it may concern anything, and holds all that came after it. An event whose
group is lost takes its places again, before all that came later. There is no time after which an event acts out of turn; each
leaves its lines in the end, since it is performed, fails or is given up.

Nobody is kept from preparing: reading, asking scripts and searching go on for all that wait.

Cost: logarithmic in the number of events that wait; an event that nobody precedes takes no places at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from pelton.runtime.cache.shared import Shared

Line = int | str
"""A handler, by the row of its definition, or a process."""


class ArrivalTicket(Shared):
    """An event's places. It is `busy` until its turn has come."""

    __slots__ = ("ended", "key", "lines", "placed")

    def __init__(self, key: int) -> None:
        super().__init__(busy=True)
        self.key = key
        self.lines: tuple[Line, ...] = ()
        self.placed = False  # it is known what it concerns
        self.ended = False


class _Queue:
    """Tickets by their keys."""

    __slots__ = ("_heap", "_tickets", "first")

    def __init__(self) -> None:
        self._heap: list[int] = []  # with keys of those that have left
        self._tickets: dict[int, ArrivalTicket] = {}
        self.first: ArrivalTicket | None = None

    def add(self, ticket: ArrivalTicket) -> None:
        if ticket.key in self._tickets:
            return
        self._tickets[ticket.key] = ticket
        heappush(self._heap, ticket.key)
        if self.first is None or ticket.key < self.first.key:
            self.first = ticket

    def remove(self, ticket: ArrivalTicket) -> bool:
        """Whether it was the first."""
        heap, tickets = self._heap, self._tickets
        tickets.pop(ticket.key, None)
        if self.first is not ticket:
            return False
        while heap and heap[0] not in tickets:
            heappop(heap)
        self.first = tickets[heap[0]] if heap else None
        return True


class ArrivalOrder:
    """Of one namespace."""

    __slots__ = ("_held", "_lines", "_release", "_under_way", "_unplaced")

    def __init__(self, release: Callable[[Shared], None]) -> None:
        """`release(ticket)`: performs the event that waits for its turn."""
        self._release = release
        self._lines: dict[Line, _Queue] = {}
        self._unplaced = _Queue()
        self._held = _Queue()  # those that wait for an older one which is not placed
        self._under_way: deque[ArrivalTicket] = deque()  # by their keys; those that have ended leave it from the front

    def begin(self, key: int) -> ArrivalTicket:
        """An event has come; keys rise."""
        ticket = ArrivalTicket(key)
        self._under_way.append(ticket)
        self._unplaced.add(ticket)
        return ticket

    def is_next(self, ticket: ArrivalTicket, lines: Iterable[Line]) -> bool:
        """Whether the event, which concerns `lines`, may act at once: everything that came before is placed, and not there. It
        need not be placed unless it does not act after all."""
        if ticket.placed or self._unplaced.first is not ticket:
            return False
        known = self._lines
        if known:
            for line in lines:
                if line in known:
                    return False
        return True

    def place(self, ticket: ArrivalTicket, lines: Iterable[Line]) -> None:
        """It is known what the event concerns. May be called again with more or with less."""
        wanted = tuple(dict.fromkeys(lines))
        if ticket.placed and wanted == ticket.lines:
            return
        before, ticket.lines, ticket.placed = ticket.lines, wanted, True
        for line in wanted:
            if line not in before:
                queue = self._lines.get(line)
                if queue is None:
                    queue = self._lines[line] = _Queue()
                queue.add(ticket)
        self._leave(ticket, [line for line in before if line not in wanted])

    def has_come(self, ticket: ArrivalTicket) -> bool:
        """Whether the event may act now. If not, its ticket is `busy` until then."""
        ticket.busy = not self._may_act(ticket)
        return not ticket.busy

    def acted(self, ticket: ArrivalTicket) -> None:
        """It is in a batch, or has nothing to do."""
        ticket.busy = False
        if ticket.placed and not ticket.lines:
            return  # it stands nowhere
        lines, ticket.lines, ticket.placed = ticket.lines, (), True
        self._leave(ticket, lines)

    def again(self, ticket: ArrivalTicket, lines: Iterable[Line] | None) -> None:
        """It has acted and that was lost. `lines`: what it concerns; None = that is not known any more."""
        ticket.busy = True
        if lines is None:
            self._leave(ticket, ticket.lines)
            ticket.lines, ticket.placed = (), False
            self._unplaced.add(ticket)
        else:
            self.place(ticket, lines)

    def end(self, ticket: ArrivalTicket) -> bool:
        """The event has ended, in whatever way. True if none is left."""
        self.acted(ticket)
        ticket.ended = True
        under_way = self._under_way
        while under_way and under_way[0].ended:
            under_way.popleft()
        return not under_way

    @property
    def oldest(self) -> int:
        """The smallest key of an event under way."""
        return self._under_way[0].key

    def _may_act(self, ticket: ArrivalTicket) -> bool:
        oldest = self._unplaced.first
        if oldest is not None and oldest.key < ticket.key:
            return False
        return all(self._lines[line].first is ticket for line in ticket.lines)

    def _leave(self, ticket: ArrivalTicket, lines: Iterable[Line]) -> None:
        """Gives up places, and lets those act whose turn it is."""
        if self._unplaced.remove(ticket) and self._held.first is not None:
            self._go_on()
        for line in lines:
            queue = self._lines.get(line)
            if queue is None:
                continue
            first = queue.remove(ticket)
            following = queue.first
            if following is None:
                del self._lines[line]
            elif first:
                self._look(following)

    def _go_on(self) -> None:
        """Looks at those that waited for what was not placed."""
        oldest = self._unplaced.first
        while (ticket := self._held.first) is not None and (oldest is None or ticket.key < oldest.key):
            self._held.remove(ticket)
            self._look(ticket)

    def _look(self, ticket: ArrivalTicket) -> None:
        if not ticket.waiting:
            return  # it is on its way, and will see for itself
        if self._may_act(ticket):
            ticket.busy = False
            self._release(ticket)
            return
        oldest = self._unplaced.first
        if oldest is not None and oldest.key < ticket.key:
            self._held.add(ticket)

    def wait(self, ticket: ArrivalTicket) -> None:
        """The event is about to wait for its turn, which has not come."""
        oldest = self._unplaced.first
        if oldest is not None and oldest.key < ticket.key:
            self._held.add(ticket)
