"""Whose turn it is in the pool of scripts: each script has its share, however many questions it has.

Invariants: a script with a thousand questions delays another one by at most the questions that are being answered; one that took
long the last time holds one child at a time, so that it never has them all; after `ENDLESS` runs in a row that did not end it is
not run for `REST_SECONDS`, and whoever waits for it hears so at once. Then one run decides whether it rests again.

Cost: constant per question. What is remembered of scripts that are not at work is bounded (`REMEMBERED`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ENDLESS = 3  # runs in a row
REST_SECONDS = 60.0
REMEMBERED = 1_000  # scripts that took long, or did not end


class Share:
    """What one script has of the pool."""

    __slots__ = ("_limit", "_rests_until", "_unended", "queue", "running", "slow", "source", "waiting")

    def __init__(self, source: str) -> None:
        self.source = source
        self.queue: deque[asyncio.Future[None]] = deque()
        self.running = 0
        self.waiting = 0  # questions that are not answered yet
        self.slow = False
        self._unended = 0
        self._limit = 0
        self._rests_until = 0.0

    @property
    def blameless(self) -> bool:
        return not self.slow and not self._unended

    def refusal(self) -> str | None:
        """Why it is not run now."""
        left = self._rests_until - asyncio.get_running_loop().time() if self._unended >= ENDLESS else 0
        if left <= 0:
            return None
        return (
            f"the script was not run: it did not end within {self._limit} ms {self._unended} times in a row, and is not "
            f"run again for {REST_SECONDS:g} s; mend or remove it"
        )

    def ended(self, *, quick: bool) -> None:
        self.slow = not quick
        self._unended = 0

    def overran(self, limit: int, last: bool) -> None:
        """`last`: it had all its time, and is given up."""
        self.slow = True
        if last:
            self._unended += 1
            self._limit = limit
            self._rests_until = asyncio.get_running_loop().time() + REST_SECONDS


class ScriptShares:
    """For one event loop."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._shares: OrderedDict[str, Share] = OrderedDict()
        self._waiting: OrderedDict[str, Share] = OrderedDict()  # in the order of their turns

    def share(self, source: str) -> Share:
        found = self._shares.get(source)
        if found is None:
            found = self._shares[source] = Share(source)
        return found

    def waiting(self, source: str) -> int:
        found = self._shares.get(source)
        return found.waiting if found is not None else 0

    def forget(self, share: Share) -> None:
        """Drops what need not be known of a script that has no question any more."""
        if share.waiting:
            return
        if share.blameless:
            self._shares.pop(share.source, None)
            return
        self._shares.move_to_end(share.source)
        if len(self._shares) > REMEMBERED:
            old = next((each for each in self._shares.values() if not each.waiting), None)
            if old is not None:
                del self._shares[old.source]

    @asynccontextmanager
    async def permit(self, share: Share, ahead: bool = False) -> AsyncIterator[None]:
        """Waits for a child to be free for it. `ahead`: of the script's other questions."""
        if self._may(share):
            self._take(share)
        else:
            await self._queue(share, ahead)
        try:
            yield
        finally:
            self._give_back(share)

    async def _queue(self, share: Share, ahead: bool) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (share.queue.appendleft if ahead else share.queue.append)(granted)
        self._waiting[share.source] = share
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back(share)
            raise

    def _may(self, share: Share) -> bool:
        return self._free > 0 and (not share.slow or not share.running)

    def _take(self, share: Share) -> None:
        self._free -= 1
        share.running += 1

    def _give_back(self, share: Share) -> None:
        self._free += 1
        share.running -= 1
        while self._free:
            chosen = next((each for each in self._waiting.values() if self._may(each)), None)
            if chosen is None:
                return
            self._grant(chosen)

    def _grant(self, share: Share) -> None:
        """To the first of its questions whose caller still waits."""
        while share.queue:
            granted = share.queue.popleft()
            if not granted.done():
                self._take(share)
                granted.set_result(None)
                break
        del self._waiting[share.source]
        if share.queue:
            self._waiting[share.source] = share  # behind the others
