"""The time of a store that has no server of its own to ask: it always passes, never goes back, and follows the wall clock.

* It begins at the wall clock, or at the last moment that the store has seen if that is later: a clock that was ahead and has been
  put right leaves the store's time ahead, and it passes from there.
* While it is ahead of the wall clock it passes a little more slowly (by a hundredth), until the two agree.
* When the wall clock is put forward, or the machine has slept, it is there at once.

How much time passes is read from a clock that nobody sets and that counts the sleep of the machine, where there is one. A step of
the wall clock against it is logged and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import structlog
from msgspec import Struct

MILLISECOND = 1_000_000  # nanoseconds
STEP = 500 * MILLISECOND  # a difference that is not the drift of two clocks
APART = 20 * MILLISECOND  # two readings that far apart are not of one moment: this process was not running in between
READINGS = 3
SLOWER = 100  # one part in so many that time passes more slowly while it is ahead
WORTH_A_LINE = 1_000  # milliseconds ahead at the start

log = structlog.get_logger("pelton.store")


PASSING = getattr(time, "CLOCK_BOOTTIME", None)
passing_ns: Callable[[], int] = time.monotonic_ns if PASSING is None else partial(time.clock_gettime_ns, PASSING)
"""Nanoseconds since some moment, the sleep of the machine included where the system counts it."""


class ClockState(Struct):
    """`ahead_ms`: of the wall clock. `steps`: how often that was set since the start. `last_step_ms`: by how much the last
    time. `last_step_at`: when, in epoch milliseconds; 0 = never."""

    ahead_ms: int
    steps: int
    last_step_ms: int
    last_step_at: int


class SteadyClock:
    """`wall` and `passing` are in nanoseconds."""

    __slots__ = ("_offset", "_passed", "_passing", "_step", "_step_at", "_steps", "_time", "_wall")

    def __init__(self, wall: Callable[[], int] | None = None, passing: Callable[[], int] = passing_ns) -> None:
        self._wall = wall or time.time_ns
        self._passing = passing
        self._passed = passing()
        self._time = self._wall()
        self._offset = self._time - self._passed
        self._steps = self._step = self._step_at = 0

    @classmethod
    def of(cls, clock: Callable[[], int]) -> SteadyClock:
        """From a clock of milliseconds, such as a test has."""

        def read() -> int:
            return clock() * MILLISECOND

        return cls(read, read)

    def __call__(self) -> int:
        """Epoch milliseconds."""
        passing = self._passing()
        wall = self._wall()
        if not -APART <= wall - passing - self._offset <= APART:
            # The wall clock was set, or has drifted so far, or this process was not running between the two readings.
            wall, passing = self._read()
        passed = passing - self._passed
        self._passed = passing
        passed = max(passed, 0)
        moment = self._time + passed
        if moment > wall:
            moment -= min(passed // SLOWER, moment - wall)
        else:
            moment = wall
        self._time = moment
        return moment // MILLISECOND

    def resume(self, saved: int) -> None:
        """Goes on from `saved` (epoch milliseconds) at least."""
        ahead = saved - self()
        self._time = max(self._time, saved * MILLISECOND)
        if ahead >= WORTH_A_LINE:
            log.warning(
                "the clock of this machine is behind the time that the data has reached; time goes on from there",
                behind_ms=ahead,
                remedy="set the clock; if it is right, the difference shrinks by a hundredth of the time that passes",
            )

    def state(self) -> ClockState:
        self()
        return ClockState(max(0, self._time - self._wall()) // MILLISECOND, self._steps, self._step, self._step_at)

    def _read(self) -> tuple[int, int]:
        wall = passing = 0
        for _ in range(READINGS):
            before = self._passing()
            wall = self._wall()
            passing = self._passing()
            if passing - before <= APART:
                step = wall - passing - self._offset
                self._offset += step
                if not -STEP < step < STEP:
                    self._notice(step, wall)
                break
        return wall, passing

    def _notice(self, step: int, wall: int) -> None:
        self._steps += 1
        self._step, self._step_at = step // MILLISECOND, wall // MILLISECOND
        log.warning("the clock of this machine was set", by_ms=self._step)
