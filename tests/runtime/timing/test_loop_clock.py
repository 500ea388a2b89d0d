"""The clock of production: its alarms follow when it is set, and when the machine has slept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.patience import happens

from pelton.runtime import services
from pelton.runtime.services import LoopClock, sleep

HOUR = 3_600_000


class Times:
    """The loop's time, with something added."""

    def __init__(self) -> None:
        self.added = 0

    def now(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000) + self.added


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "LOOK", 10)


@pytest.mark.usefixtures("often")
async def test_an_alarm_rings_when_the_clock_jumps_past_its_time() -> None:
    times = Times()
    clock = LoopClock(times.now)
    rung: list[str] = []

    def ring(name: str) -> Callable[[], None]:
        return lambda: rung.append(name)

    clock.call_at(times.now() + HOUR, ring("one hour"))
    later = clock.call_at(times.now() + 3 * HOUR, ring("three hours"))
    cancelled = clock.call_at(times.now() + HOUR, ring("cancelled"))
    cancelled.cancel()
    times.added = 2 * HOUR
    await happens(lambda: rung, "the alarm rings")
    assert rung == ["one hour"]
    later.cancel()
    await happens(lambda: not clock._looking, "it does not look without alarms")


@pytest.mark.usefixtures("often")
async def test_who_sleeps_wakes_when_the_machine_has_slept_as_long() -> None:
    times = Times()
    clock = LoopClock(times.now)
    asleep = asyncio.ensure_future(sleep(clock, HOUR))
    await asyncio.sleep(0)
    times.added = HOUR
    await asyncio.wait_for(asleep, 60)


@pytest.mark.usefixtures("often")
async def test_a_clock_put_back_has_alarms_wait_longer() -> None:
    times = Times()
    clock = LoopClock(times.now)
    ring = asyncio.Event()
    alarm = clock.call_at(times.now() + HOUR, ring.set)
    times.added = -HOUR
    before = times.now()
    await happens(lambda: times.now() > before + 50, "a few looks")
    assert isinstance(alarm, services.LoopAlarm)
    assert alarm.handle is not None
    assert alarm.handle.when() - asyncio.get_running_loop().time() > HOUR * 1.5 / 1000
    alarm.cancel()
