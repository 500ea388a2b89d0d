"""A clock that tests advance by hand: nothing becomes due before they do, and nothing waits in real time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

SETTLING = 40  # turns of the loop in which what an alarm starts gets done, as far as it waits for nothing outside


async def settle(turns: int = SETTLING) -> None:
    """Runs everything that can run without waiting for time or for another process."""
    for _ in range(turns):
        await asyncio.sleep(0)


class VirtualAlarm:
    """`cancel` cancels it, even if it has already rung."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """A clock for an engine (`now`, `call_at`) and for a store (called, it says the time). `time`: epoch milliseconds; to set it
    moves the clock without ringing anything."""

    def __init__(self, time: int = 1_790_000_000_000) -> None:
        self.time = time
        self._alarms: list[tuple[int, int, VirtualAlarm]] = []
        self._order = 0

    def now(self) -> int:
        return self.time

    def __call__(self) -> int:
        return self.time

    def call_at(self, when: int, callback: Callable[[], None]) -> VirtualAlarm:
        """Rings in `advance`, even if `when` has already passed."""
        alarm = VirtualAlarm(callback)
        self._order += 1
        heapq.heappush(self._alarms, (when, self._order, alarm))
        return alarm

    @property
    def alarms(self) -> int:
        """Number of alarms set and neither rung nor cancelled."""
        return sum(alarm.callback is not None for _, _, alarm in self._alarms)

    def ring(self) -> None:
        """Rings everything due by now, without waiting for what follows from it."""
        due: list[VirtualAlarm] = []
        while self._alarms and self._alarms[0][0] <= self.time:
            due.append(heapq.heappop(self._alarms)[2])
        for alarm in due:
            if alarm.callback is not None:
                alarm.callback()

    async def advance(self, milliseconds: int) -> None:
        """Rings every alarm in its millisecond, and lets everything that follows from it happen before the next."""
        until = self.time + milliseconds
        await settle()
        while self._alarms and self._alarms[0][0] <= until:
            when, _, alarm = heapq.heappop(self._alarms)
            if alarm.callback is None:
                continue
            self.time = max(self.time, when)
            alarm.callback()
            await settle()
        self.time = until
        await settle()
