"""What the runtime's services build on: a clock, the committer, owned tasks, and back-off.

A service is an object with `start`, `stop` and `stats`. It holds nothing that is not also in the store, so it may be lost at
any time; everything that it keeps in memory is bounded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from pelton.errors import PeltonError
from pelton.kernel.model.signals import Signal
from pelton.runtime.api import Applied
from pelton.runtime.supervision import OwnedTasks
from pelton.store.group import Committed, Group

__all__ = [
    "Backoff",
    "Clock",
    "CommitPort",
    "LoopClock",
    "OwnedTasks",
    "log",
    "sleep",
]

NEVER = 2**63 - 1  # a time that does not come, as a lease without an end is stored
MAX_DELAY = 86_400_000  # milliseconds that the loop is asked to wait at most: a far alarm is set again from nearer by
LOOK = 1_000  # milliseconds between looks at whether the clock was set or the machine has slept
SHIFT = 100  # milliseconds by which the clock and the loop may part before alarms are set again

log = structlog.get_logger("pelton.runtime")


class Handle(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """The time, and alarms. `now`: epoch milliseconds, never decreasing. An alarm may ring slightly early: check `now` then."""

    def now(self) -> int: ...
    def call_at(self, when: int, callback: Callable[[], None]) -> Handle: ...


class LoopClock:
    """The clock of production: the store's time, the loop's alarms.

    The loop knows nothing of a clock that is set or of a machine that sleeps. So while an alarm is further away than `LOOK`, the
    two are compared that often, and all such alarms are set again once they have parted."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self._far: set[LoopAlarm] = set()
        self._apart = 0.0  # milliseconds from the loop's time to the clock's
        self._looking = False

    def call_at(self, when: int, callback: Callable[[], None]) -> Handle:
        alarm = LoopAlarm(self._far, when, callback)
        self._set(alarm)
        return alarm

    def _set(self, alarm: LoopAlarm) -> None:
        loop = asyncio.get_running_loop()
        now = self.now()
        delay = min(max(alarm.when - now, 0), MAX_DELAY)
        alarm.handle = loop.call_later(delay / 1000, alarm.ring)
        if delay > LOOK:
            self._far.add(alarm)
            if not self._looking:
                self._looking = True
                self._apart = now - loop.time() * 1000
                loop.call_later(LOOK / 1000, self._look)

    def _look(self) -> None:
        self._looking = bool(self._far)
        if not self._far:
            return
        loop = asyncio.get_running_loop()
        apart = self.now() - loop.time() * 1000
        if abs(apart - self._apart) > SHIFT:
            self._apart = apart
            alarms = list(self._far)
            self._far.clear()
            for alarm in alarms:
                alarm.stop()
                self._set(alarm)
        loop.call_later(LOOK / 1000, self._look)


class LoopAlarm:
    """`far`: the alarms that are set again when the clock has been set; this one leaves them when it rings or is cancelled."""

    __slots__ = ("_callback", "_far", "handle", "when")

    def __init__(self, far: set[LoopAlarm], when: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.handle: asyncio.TimerHandle | None = None
        self._callback = callback
        self._far = far

    def ring(self) -> None:
        self._far.discard(self)
        self._callback()

    def stop(self) -> None:
        if self.handle is not None:
            self.handle.cancel()

    def cancel(self) -> None:
        self._far.discard(self)
        self.stop()


class CommitPort(Protocol):
    """The part of the committer that services use."""

    def write(self, fill: Callable[[Group], None]) -> asyncio.Future[Committed]:
        """`fill` adds rows to a separate group in the next batch; it may be called again if that batch fails."""
        ...

    def submit(self, run: int, signal: Signal, pending: int = 0) -> asyncio.Future[Applied]:
        """A signal to a run. `pending`: the durable signal that this is, removed in the same group. Fails with PeltonError."""
        ...


async def sleep(clock: Clock, delay: int) -> None:
    """Waits that many milliseconds on that clock."""
    due = clock.now() + delay
    while clock.now() < due:
        rung = asyncio.get_running_loop().create_future()
        alarm = clock.call_at(due, lambda rung=rung: None if rung.done() else rung.set_result(None))  # type: ignore[misc]
        try:
            await rung
        finally:
            alarm.cancel()


class Backoff:
    """Exponential back-off: doubling from `first` to `most` milliseconds, half of which is random, so that callers that failed
    together do not retry together."""

    def __init__(self, first: int, most: int, chance: random.Random | None = None) -> None:
        self.first = first
        self.most = most
        self._chance = chance or random.Random()

    def delay(self, failures: int) -> int:
        """The delay in milliseconds after `failures` failures, counted from 1."""
        full = min(self.most, self.first << min(max(failures, 1) - 1, 40))
        return full // 2 + self._chance.randint(0, full - full // 2)


def outcome(future: asyncio.Future[Any]) -> BaseException | None:
    """Why a completed future has no result; None if it has one. Marks its exception as retrieved."""
    if future.cancelled():
        return asyncio.CancelledError()
    return future.exception()


def final(error: BaseException) -> bool:
    """Whether retrying is pointless, since the refusal does not depend on time."""
    return isinstance(error, PeltonError) and not error.retryable


def say(error: BaseException) -> str:
    """An error in one line for people: its text, or its type if it has none."""
    text = " ".join(str(error).split())[:1000]
    return text or type(error).__name__
