"""Limits of queues: how much of a queue may be handed out at a time, and in a time.

The store decides: a lease of a limited queue is written only if the limit leaves room, which the commit checks, so that servers
that share a store keep to a limit together. What is here keeps one server from asking in vain: it knows what it has handed out
itself, and stops asking for a while when the store has refused. Nothing here is counted for queues without a limit.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol, runtime_checkable

from pelton.runtime.caller import NAMESPACE
from pelton.runtime.definitions.definitions import DefinitionCache
from pelton.runtime.names import SEPARATOR, queue_of, shown_queue
from pelton.runtime.services import NEVER
from pelton.store.group import LeaseLimit
from pelton.store.rows import DefinitionRow, QueueLimit

Key = tuple[int, int]
REFUSED = 1_000  # milliseconds after which it is tried again when the store has refused


@runtime_checkable
class Limiting(Protocol):
    """A language whose policies may limit the queues of their names."""

    def limit(self, row: DefinitionRow) -> QueueLimit | None: ...


class QueueLimiter:
    """What one server has handed out of a limited name, whose queues may be several."""

    def __init__(self, name: str, limit: QueueLimit) -> None:
        self.name = name
        self.limit = limit
        self.out: set[Key] = set()
        self.refused_until = 0
        self._times: deque[int] = deque()

    def admits(self, now: int) -> bool:
        self._forget(now)
        limit = self.limit
        return (
            now >= self.refused_until
            and (not limit.most or len(self.out) < limit.most)
            and (not limit.rate or len(self._times) < limit.rate)
        )

    def next_at(self, now: int) -> int:
        """When it may admit again without anything coming back; NEVER if only that helps, or if it admits now."""
        self._forget(now)
        if now < self.refused_until:
            return self.refused_until
        if self.limit.rate and len(self._times) >= self.limit.rate:
            return self._times[0] + self.limit.period
        return NEVER

    def take(self, key: Key, now: int) -> None:
        self.out.add(key)
        if self.limit.rate:
            self._times.append(now)

    def give_back(self, key: Key) -> bool:
        """Whether it was out."""
        if key not in self.out:
            return False
        self.out.discard(key)
        return True

    def refuse(self, now: int) -> None:
        """The store has: others have more than is known here."""
        self.refused_until = now + REFUSED

    def lease_limit(self, now: int) -> LeaseLimit:
        return LeaseLimit(self.name, self.limit.most, self.limit.rate, self.limit.period, now)

    def _forget(self, now: int) -> None:
        while self._times and self._times[0] <= now - self.limit.period:
            self._times.popleft()


class QueueLimits:
    """The limits of queues, as the definitions of their names say."""

    def __init__(self, definitions: DefinitionCache) -> None:
        self._definitions = definitions
        self._limiters: dict[str, QueueLimiter] = {}

    async def of(self, queue: str) -> QueueLimiter | None:
        """The limiter of a queue, which all queues of its name share: what is before the last colon only says who does it."""
        if queue.startswith("@"):
            return None
        ns = queue.partition(SEPARATOR)[0] if SEPARATOR in queue else NAMESPACE
        shown = shown_queue(queue)
        for name in dict.fromkeys((shown, shown.rpartition(":")[2])):
            row = await self._definitions.find(ns, "policy", name, 0, 0)
            if row is None:
                continue
            language = self._definitions.language(row.language)
            limit = language.limit(row) if isinstance(language, Limiting) else None
            return self._limiter(queue_of(ns, name), limit)
        return None

    def _limiter(self, name: str, limit: QueueLimit | None) -> QueueLimiter | None:
        found = self._limiters.get(name)
        if limit is None:
            self._limiters.pop(name, None)
            return None
        if found is None:
            found = self._limiters[name] = QueueLimiter(name, limit)
        found.limit = limit
        return found
