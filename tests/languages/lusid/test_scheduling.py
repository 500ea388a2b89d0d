"""Runs that follow schedules, on the real runtime and store, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from pelton.kernel.expressions.base import Invalid
from pelton.kernel.model.signals import Pause, Resume
from pelton.kernel.model.state import RunStatus
from pelton.languages.lusid.schedules import scheduling
from pelton.languages.lusid.schedules.calendars import CALENDAR
from pelton.languages.lusid.schedules.conversion import ScheduleError
from pelton.languages.lusid.schedules.schedule import Pattern, parse_pattern
from pelton.runtime.caller import server_in
from pelton.runtime.engine import LocalEngine
from pelton.runtime.rows import DefinitionRow
from pelton.store.sqlite.store import SqliteStore
from pelton.testing.clock import VirtualClock

NS = "default"
NAME = "ops/daily"
HOUR = 3_600_000
DAY = 24 * HOUR


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class World:
    def __init__(self, engine: LocalEngine, clock: VirtualClock) -> None:
        self.engine = engine
        self.clock = clock

    async def to(self, text: str, steps: int = 1) -> None:
        """Moves the time, and waits until all that follows has been done."""
        begun, until = self.clock.time, ms(text)
        assert until >= begun
        for step in range(1, steps + 1):
            self.clock.time = begun + (until - begun) * step // steps
            self.clock.ring()
            await self.quiet()

    async def quiet(self) -> None:
        """Until nothing is due, under way or to be delivered."""
        end = asyncio.get_running_loop().time() + 20
        calm = 0
        while calm < 3:
            assert asyncio.get_running_loop().time() < end, "it does not come to rest"
            self.clock.ring()
            store = self.engine.store
            busy = (
                await store.timers(self.clock.time + 1, 1)
                or await store.pending_signals(1)
                or await store.deliveries(1)
                or not self.engine.committer.idle
            )
            calm = 0 if busy else calm + 1
            if busy:
                self.clock.time += 1  # scans have their own pace
            await asyncio.sleep(0)

    async def published(self, name: str = NAME) -> list[str]:
        rows = await self.engine.events(server_in(NS), type=scheduling.EVENT, limit=1000)
        bodies: list[Any] = [row.body for row in sorted(rows, key=lambda row: row.key)]
        return [body["scheduledTime"][:16] for body in bodies if body["handler"] == name]

    async def follow(self, pattern: Pattern | None, name: str = NAME, order: int = 0) -> None:
        await scheduling.follow(self.engine, server_in(NS), name, pattern, order=order)
        await self.quiet()

    async def runs(self, live: bool | None = None) -> int:
        return len(await self.engine.store.runs(NS, process=scheduling.PROCESS, live=live, limit=1000))

    async def calendar(self, body: Any) -> None:
        await self.engine.define(server_in(NS), CALENDAR, scheduling.LANGUAGE, "s/c", 1, json.encode(body))


@asynccontextmanager
async def world(path: Path, now: str) -> AsyncIterator[World]:
    clock = VirtualClock(ms(now))
    store = SqliteStore(path / "pelton.db", "relaxed", clock=clock)
    await store.open()
    engine = LocalEngine(store, clock=clock)
    engine.add_language(scheduling.Schedules())
    try:
        await engine.open()
        made = World(engine, clock)
        await made.quiet()
        yield made
    finally:
        closing = asyncio.ensure_future(engine.close(1.0))
        while not closing.done():
            clock.time += 100
            clock.ring()
            await asyncio.sleep(0)
        await closing
        await store.close()


def daily(*hours: int, how: str = "None", calendars: Any = None, start: str = "2026-01-01", end: str | None = None) -> Pattern:
    return parse_pattern(
        {
            "context": {"timeZone": "UTC", "holidayCalendars": calendars},
            "recurrencePattern": {
                "timeConstraints": {
                    "startDate": start,
                    "endDate": end,
                    "timesOfDay": [{"type": "Specified", "hours": hour, "minutes": 0} for hour in hours],
                },
                "dateRegularity": {"type": "Day", "frequency": 1},
                "businessDayAdjustment": how,
            },
        }
    )


CALENDARS = [{"scope": "s", "code": "c"}]


async def test_an_event_is_published_at_every_occurrence(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9, 17))
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) == ms("2026-01-05T09:00")
        assert await at.published() == []
        await at.to("2026-01-05T08:58")
        assert await at.published() == []
        await at.to("2026-01-05T09:00")
        assert await at.published() == ["2026-01-05T09:00"]
        await at.to("2026-01-07T09:30", steps=20)
        assert await at.published() == [
            "2026-01-05T09:00", "2026-01-05T17:00", "2026-01-06T09:00", "2026-01-06T17:00", "2026-01-07T09:00",
        ]  # fmt: skip
        (event, *_) = await at.engine.events(server_in(NS), type=scheduling.EVENT)
        assert event.body["handler"] == NAME
        assert event.body["scheduledTime"] == "2026-01-07T09:00:00.0000000+00:00"
        assert event.body["holidays"] == {"dates": [], "weekends": ["Saturday", "Sunday"]}
        assert event.source == "pelton"
        assert await at.runs() == 1


async def test_a_schedule_that_is_over_ends_its_run(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9, end="2026-01-06"))
        await at.to("2026-01-09T00:00", steps=40)
        assert await at.published() == ["2026-01-05T09:00", "2026-01-06T09:00"]
        assert await at.runs(live=True) == 0
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) is None
        await at.follow(daily(9, end="2026-01-06"))
        assert await at.runs(live=True) == 0
        await at.follow(daily(9))
        await at.to("2026-01-09T10:00")
        assert await at.published() == ["2026-01-05T09:00", "2026-01-06T09:00", "2026-01-09T09:00"]


async def test_following_the_same_again_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await asyncio.gather(*(scheduling.follow(at.engine, server_in(NS), NAME, daily(9)) for _ in range(5)))
        await at.quiet()
        assert await at.runs() == 1
        (run,) = await at.engine.store.runs(NS, process=scheduling.PROCESS)
        await at.follow(daily(9))
        (again,) = await at.engine.store.runs(NS, process=scheduling.PROCESS)
        assert (again.key, again.rev) == (run.key, run.rev)
        await at.to("2026-01-05T10:00")
        assert await at.published() == ["2026-01-05T09:00"]


async def test_a_changed_pattern_counts_from_the_change(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9))
        await at.to("2026-01-05T08:30")
        await at.follow(daily(8, 12))
        assert await at.published() == []
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) == ms("2026-01-05T12:00")
        await at.to("2026-01-06T08:00", steps=10)
        assert await at.published() == ["2026-01-05T12:00", "2026-01-06T08:00"]
        assert await at.runs() == 1


async def test_an_occurrence_that_is_due_when_the_pattern_changes_is_not_lost(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9))
        at.clock.time = ms("2026-01-05T09:00:00.005")  # the alarm has not rung yet
        await at.follow(daily(10))
        assert await at.published() == ["2026-01-05T09:00"]
        at.clock.time = ms("2026-01-05T10:00:00.005")
        await at.follow(daily(10), order=7)
        assert await at.published() == ["2026-01-05T09:00", "2026-01-05T10:00"]
        await at.to("2026-01-06T10:00", steps=10)
        assert await at.published() == ["2026-01-05T09:00", "2026-01-05T10:00", "2026-01-06T10:00"]


async def test_an_older_change_that_comes_late_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9), order=1)
        await at.follow(daily(11), order=3)
        await at.follow(daily(10), order=2)
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) == ms("2026-01-05T11:00")
        at.clock.time = ms("2026-01-05T11:00:00.001")
        await at.follow(daily(12), order=2)
        assert await at.published() == ["2026-01-05T11:00"]
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) == ms("2026-01-06T11:00")


async def test_no_pattern_ends_the_run_and_a_new_one_does_not_make_up(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(None)
        await at.follow(daily(9))
        await at.follow(None)
        await at.follow(None)
        assert await at.runs(live=True) == 0
        await at.to("2026-01-06T12:00", steps=5)
        await at.follow(daily(9))
        assert await at.published() == []
        await at.to("2026-01-07T09:00", steps=5)
        assert await at.published() == ["2026-01-07T09:00"]


async def test_handlers_have_runs_of_their_own(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9))
        await at.follow(daily(9, 10), name="ops/other")
        await at.follow(None)
        await at.to("2026-01-05T11:00", steps=4)
        assert await at.published() == []
        assert await at.published("ops/other") == ["2026-01-05T09:00", "2026-01-05T10:00"]


async def test_what_was_missed_is_made_up_for_within_bounds(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9, 21))
    async with world(tmp_path, "2026-01-09T12:00") as at:
        await at.to("2026-01-09T12:05")
        # the one that was waited for, and those of the last day
        assert await at.published() == ["2026-01-05T09:00", "2026-01-08T21:00", "2026-01-09T09:00"]
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) == ms("2026-01-09T21:00")


async def test_a_restart_publishes_nothing_twice(tmp_path: Path) -> None:
    for hour in (8, 9, 10, 11):
        async with world(tmp_path, f"2026-01-05T{hour:02}:00:00.500") as at:
            await at.follow(daily(9, 10))
            await at.to(f"2026-01-05T{hour:02}:30")
    async with world(tmp_path, "2026-01-05T12:00") as at:
        await at.to("2026-01-05T12:30")
        assert await at.published() == ["2026-01-05T09:00", "2026-01-05T10:00"]
        assert await at.runs() == 1


async def test_restoring_puts_runs_and_handlers_in_line(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9), name="ops/gone")
        await at.follow(daily(9), name="ops/changed", order=1)
        await at.follow(daily(9), name="ops/same", order=1)
        wanted = {name: (daily(10), 2) for name in ("ops/changed", "ops/new")} | {"ops/same": (daily(9), 1)}
        for _ in range(2):
            await scheduling.restore(at.engine, server_in(NS), wanted)
            await at.quiet()
            assert await at.runs(live=True) == 3
        await at.to("2026-01-05T10:00", steps=2)
        assert await at.published("ops/gone") == []
        assert await at.published("ops/changed") == ["2026-01-05T10:00"]
        assert await at.published("ops/new") == ["2026-01-05T10:00"]
        assert await at.published("ops/same") == ["2026-01-05T09:00"]
        await scheduling.restore(at.engine, server_in(NS), {})
        assert await at.runs(live=True) == 0


async def test_calendars_are_those_of_the_registry(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        pattern = daily(9, how="Following", calendars=CALENDARS)
        with pytest.raises(ScheduleError, match="s/c"):
            await at.follow(pattern)
        assert await at.runs() == 0
        await at.calendar({"dates": ["2026-01-05"]})
        await at.follow(pattern)
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) == ms("2026-01-06T09:00")
        await at.calendar({"dates": ["2026-01-05", "2026-01-06", "2026-01-07"]})
        await at.follow(pattern)
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) == ms("2026-01-08T09:00")
        await at.to("2026-01-08T09:00", steps=10)
        assert await at.published() == ["2026-01-08T09:00"]


async def test_of_many_occurrences_few_steps_are_kept(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(*range(24)))
        await at.to("2026-01-09T08:00", steps=96)
        assert len(await at.published()) == 96
        (run,) = await at.engine.store.runs(NS, process=scheduling.PROCESS)
        steps = await at.engine.steps(server_in(NS), run.key)
        assert len(steps) <= 3 * (scheduling.KEPT + 2)


async def test_a_paused_run_goes_on_when_it_is_resumed(tmp_path: Path) -> None:
    async with world(tmp_path, "2026-01-05T08:00") as at:
        await at.follow(daily(9))
        (run,) = await at.engine.store.runs(NS, process=scheduling.PROCESS)
        await at.engine.signal(server_in(NS), run.key, Pause())
        for hour in (11, 9):
            await at.follow(daily(hour))  # held, and taken when it goes on, the last one last
        await at.engine.signal(server_in(NS), run.key, Resume())
        await at.quiet()
        assert await scheduling.next_due(at.engine, server_in(NS), NAME) == ms("2026-01-05T09:00")
        head = await at.engine.store.head(run.key)
        assert head is not None
        assert head.status == RunStatus.RUNNING


def test_only_schedules_are_of_this_language() -> None:
    row = DefinitionRow(1, NS, "handler", scheduling.LANGUAGE, "h", 1, b"{}", b"", 0)
    with pytest.raises(Invalid):
        scheduling.Schedules().handler(row)
    assert scheduling.process().nodes["schedule"].name == "schedule"
