"""Wakes the followers of the event log, so that none polls the store, and says how far they may go. A stopping server ends their
waits through it.

An event gets its key when it arrives, and events are committed in another order. Who reads from a key upwards, and goes on from
the last key that they saw, must not pass one that is still under way: they would never see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MAX_FOLLOWERS = 500


class EventFeed:
    """A counter that can be awaited: note `seen`, read the store, then wait for it to move. Loop-bound, no locks."""

    def __init__(self) -> None:
        self.seen = 0
        self.stopped = False
        self.followers = 0  # from the beginning of their streams to the end, whether they wait or catch up
        self.settled_to: Callable[[str], int] = lambda ns: 0
        """Of a namespace: the key up to which every event has been recorded or refused. Set by who takes events in. Ask before
        reading the store: what is recorded later may lie below what is read."""
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def full(self) -> bool:
        return self.followers >= MAX_FOLLOWERS

    def recorded(self) -> None:
        """Called after a commit that holds events, or decisions on them, and when one is no longer under way."""
        self.seen += 1
        if not self._waiting:
            return
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
