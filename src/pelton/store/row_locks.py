"""Rows that one of several servers has locked, for the second try of a group that was lost (`Store.lock`).

A lock is on a run or a correlation point, and is held by a server: by its number and its epoch. While it is held, no group of
another server that changes the row is written. Who wants a row that another server has waits in line; who wants several takes
them in one order for all, points before runs, so that no two can wait for each other.

This is for stores that are written by this process alone: its locks end with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator

from pelton.store.group import Group

RowName = int | tuple[str, str, str]
"""A run, by key, or a correlation point, by namespace, name and key."""

Owner = tuple[int, int]
"""A server's number and its epoch."""


class RowLock:
    __slots__ = ("count", "owner", "waiting")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.count = 1  # the same server may have it several times
        self.waiting: deque[tuple[Owner, asyncio.Future[bool]]] = deque()


class RowLocks:
    """`bool`: whether any row is locked."""

    def __init__(self) -> None:
        self._locks: dict[RowName, RowLock] = {}
        self._ended: dict[int, int] = {}  # by server: its last epoch that has ended

    def __bool__(self) -> bool:
        return bool(self._locks)

    async def take(self, owner: Owner, rows: Collection[RowName], wait: float) -> bool:
        """All of the rows, or none: False if that takes longer than `wait` seconds, or if the server's epoch has ended."""
        taken: list[RowName] = []
        whole = False
        try:
            async with asyncio.timeout(wait):
                for row in sorted(set(rows), key=in_order):
                    if self._has_ended(owner) or not await self._take(owner, row):
                        break
                    taken.append(row)
                else:
                    whole = not self._has_ended(owner)
        except TimeoutError:
            pass
        finally:
            if not whole:
                self.give(owner, taken)
        return whole

    def give(self, owner: Owner, rows: Collection[RowName]) -> None:
        """Gives back what is held; what has been taken away meanwhile is passed by."""
        for row in rows:
            lock = self._locks.get(row)
            if lock is not None and lock.owner == owner:
                lock.count -= 1
                self._pass_on(row, lock)

    def end(self, owner: Owner) -> None:
        """The server is gone, or was declared dead: everything that it holds is free, and it gets nothing more."""
        number, epoch = owner
        self._ended[number] = max(epoch, self._ended.get(number, 0))
        for row, lock in list(self._locks.items()):
            for other, future in lock.waiting:
                if other == owner and not future.done():
                    future.set_result(False)
            if lock.owner == owner:
                lock.count = 0
                self._pass_on(row, lock)

    def end_replaced(self, group: Group) -> None:
        """Called when the group is written: servers whose epoch it has raised are gone."""
        for write in group.nodes if group.has("nodes") else ():
            if write.epoch != write.expected:
                self.end((write.number, write.expected))

    def bars(self, group: Group) -> str:
        """Which row, that another server has locked, the group would change, as the reason of a lost group; "" for none."""
        owner = group.fence[0] if group.has("fence") else None
        for row in changed_rows(group):
            lock = self._locks.get(row)
            if lock is not None and lock.owner != owner:
                return f"run {row}" if isinstance(row, int) else f"rendezvous {row[1]} {row[2]} of {row[0]}"
        return ""

    def _has_ended(self, owner: Owner) -> bool:
        return owner[1] <= self._ended.get(owner[0], -1)

    async def _take(self, owner: Owner, row: RowName) -> bool:
        lock = self._locks.get(row)
        if lock is None:
            self._locks[row] = RowLock(owner)
            return True
        if lock.owner == owner and not lock.waiting:
            lock.count += 1
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        lock.waiting.append((owner, future))
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result():
                self.give(owner, [row])  # it was given at the very moment
            raise

    def _pass_on(self, row: RowName, lock: RowLock) -> None:
        """To whoever has waited longest, and to those of the same server right behind."""
        while lock.waiting and (not lock.count or lock.waiting[0][0] == lock.owner):
            owner, future = lock.waiting.popleft()
            if not future.done():
                lock.owner = owner
                lock.count += 1
                future.set_result(True)
        if not lock.count:
            del self._locks[row]


def in_order(row: RowName) -> tuple[int, int, tuple[str, ...]]:
    """Points before runs, as a group locks what it writes; within each by name."""
    return (1, row, ()) if isinstance(row, int) else (0, 0, row)


def changed_rows(group: Group) -> Iterator[RowName]:
    if group.has("runs"):
        for write in group.runs:
            yield write.run.key
    if group.has("rendezvous"):
        for ns, name, key, _ in group.rendezvous:
            yield ns, name, key
    if group.has("remove_runs"):
        yield from group.remove_runs
