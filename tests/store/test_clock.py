"""The time of a store: it passes whatever the wall clock does, and follows it where it can."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pelton.store import clock as clocks
from pelton.store.clock import SteadyClock
from pelton.store.memory.store import MemoryStore
from pelton.store.sqlite.store import SqliteStore
from pelton.testing.clock import VirtualClock

SECOND = 1_000_000_000
DAY = 86_400_000
START = 1_790_000_000_000


class Machine:
    """A machine with a wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.wall = START * clocks.MILLISECOND
        self.up = 5 * SECOND
        self.stalls = 0  # readings between which this process does not run for a second

    def passes(self, seconds: float) -> None:
        self.wall += round(seconds * SECOND)
        self.up += round(seconds * SECOND)

    def read_wall(self) -> int:
        if self.stalls:
            self.stalls -= 1
            now, self.up = self.wall, self.up + SECOND
            self.wall += SECOND
            return now
        return self.wall

    def clock(self) -> SteadyClock:
        return SteadyClock(self.read_wall, lambda: self.up)


def test_time_is_that_of_the_wall_clock_while_nobody_sets_it() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(100):
        machine.passes(0.7)
        assert clock() == machine.wall // clocks.MILLISECOND
    assert clock.state() == clocks.ClockState(0, 0, 0, 0)


def test_a_clock_put_back_does_not_stop_time() -> None:
    machine = Machine()
    clock = machine.clock()
    with capture_logs() as logs:
        machine.wall -= 86_400 * SECOND
        times = []
        for _ in range(10):
            machine.passes(1)
            times.append(clock())
    passed = [later - earlier for earlier, later in pairwise(times)]
    assert all(985 <= each <= 1_000 for each in passed)
    assert times[0] >= START
    state = clock.state()
    assert state.steps == 1
    assert state.last_step_ms == -DAY
    assert DAY - 1_000 < state.ahead_ms < DAY + 10_000
    assert [line["by_ms"] for line in logs] == [-DAY]


def test_the_two_agree_again_after_a_while() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall -= 2 * SECOND
    last = clock()
    for _ in range(300):
        machine.passes(1)
        now = clock()
        assert now > last
        last = now
    assert clock() == machine.wall // clocks.MILLISECOND
    assert clock.state().ahead_ms == 0


def test_a_clock_put_forward_is_followed_at_once() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 3_600 * SECOND
    assert clock() == START + 3_600_000
    assert clock.state().last_step_ms == 3_600_000


def test_a_small_correction_is_no_step() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(1_000):
        machine.passes(1)
        machine.wall += SECOND // 1_000
        clock()
    assert clock.state().steps == 0
    assert clock() == machine.wall // clocks.MILLISECOND


def test_a_process_that_does_not_run_while_it_reads_sees_no_step() -> None:
    machine = Machine()
    clock = machine.clock()
    for stalls in (1, clocks.READINGS, 2 * clocks.READINGS):
        machine.stalls = stalls
        for _ in range(5):
            machine.passes(1)
            clock()
    assert clock.state().steps == 0


def test_the_machine_sleeps() -> None:
    """Where the system counts sleep, both clocks have moved; where it does not, the wall clock has."""
    for counted in (True, False):
        machine = Machine()
        clock = machine.clock()
        machine.wall += 3 * 3_600 * SECOND
        machine.up += 3 * 3_600 * SECOND if counted else 0
        assert clock() == START + 3 * 3_600_000
        assert clock.state().steps == (0 if counted else 1)


def test_sleep_counts_where_the_system_counts_it() -> None:
    if clocks.PASSING is None:
        pytest.skip("this system has no clock that counts its sleep")
    import time

    before = time.clock_gettime_ns(clocks.PASSING)
    assert before <= clocks.passing_ns() <= time.clock_gettime_ns(clocks.PASSING)


async def test_a_store_goes_on_from_the_moment_that_it_has_reached(tmp_path: Path) -> None:
    machine = VirtualClock(START + DAY)
    store = SqliteStore(tmp_path / "test.db", clock=machine)
    await store.open()
    reached = store.now()
    await store.close()
    machine.time = START
    store = SqliteStore(tmp_path / "test.db", clock=machine)
    with capture_logs() as logs:
        await store.open()
    assert reached <= store.now() <= reached + 1
    machine.time += 10_000
    assert reached + 9_800 <= store.now() <= reached + 10_000
    found = (await store.health())["clock"]
    assert DAY - 1_000 < found.ahead_ms <= DAY
    assert any("behind" in line["event"] for line in logs)
    await store.close()


async def test_a_store_in_memory_goes_on_too() -> None:
    machine = VirtualClock(START)
    store = MemoryStore(clock=machine)
    assert store.now() == START
    machine.time -= DAY
    first = store.now()
    machine.time += 1_000
    assert store.now() >= first + 985
    assert (await store.health())["clock"].ahead_ms > DAY - 2_000
