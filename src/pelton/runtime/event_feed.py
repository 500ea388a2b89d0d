"""Wakes the followers of the event log, so that none polls the store. A stopping server ends their waits through it."""

from __future__ import annotations

import asyncio

MAX_FOLLOWERS = 500


class EventFeed:
    """A counter that can be awaited: note `seen`, read the store, then wait for it to move. Loop-bound, no locks."""

    def __init__(self) -> None:
        self.seen = 0
        self.stopped = False
        self.followers = 0  # from the beginning of their streams to the end, whether they wait or catch up
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def full(self) -> bool:
        return self.followers >= MAX_FOLLOWERS

    def recorded(self) -> None:
        """Called after a commit that holds events, or decisions on them."""
        self.seen += 1
        waiting, self._waiting = self._waiting, set()
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def stop(self) -> None:
        """Ends every wait, now and from now on."""
        self.stopped = True
        self.recorded()

    async def moved(self, since: int, seconds: float) -> bool:
        """Whether `seen` has moved beyond `since`, immediately or within `seconds`."""
        if self.seen != since or self.stopped or seconds <= 0:
            return self.seen != since
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(wake)
        try:
            async with asyncio.timeout(seconds):
                await wake
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(wake)
        return True
