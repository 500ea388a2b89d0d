"""Schedules without any language's words: rules, zones and days without business. The oracle that goes through all days one by
one is with the language whose forms are translated to these."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pelton.kernel.schedules.calendars import Adjustment, Calendar
from pelton.kernel.schedules.occurrences import Schedule, shifted
from pelton.kernel.schedules.recurrence import (
    LAST,
    LAST_WEEK,
    Daily,
    MonthDays,
    MonthWeekdays,
    Recurrence,
    Weekly,
    YearDates,
)

START = date(2026, 1, 1)  # a Thursday
ALWAYS = Calendar(weekends=frozenset())
NINE = ((UTC, (time(9),)),)


def days(
    rule: Recurrence, count: int, how: Adjustment = Adjustment.NONE, calendar: Calendar = ALWAYS, end: date = LAST
) -> list[str]:
    schedule = Schedule(rule, START, end, how, NINE)
    found: list[str] = []
    at: int | None = 0
    while len(found) < count and at is not None and (at := schedule.next_after(at, calendar)) is not None:
        found.append(datetime.fromtimestamp(at / 1000, UTC).date().isoformat()[5:])
    return found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Daily(10), ["01-01", "01-11", "01-21"]),
        (Weekly(2, frozenset({0, 4})), ["01-02", "01-12", "01-16"]),
        (MonthDays(1, frozenset({31, 1})), ["01-01", "01-31", "02-01", "03-01", "03-31"]),
        (MonthWeekdays(1, frozenset({4}), LAST_WEEK), ["01-30", "02-27", "03-27"]),
        (MonthWeekdays(3, frozenset({0, 1}), 0), ["01-05", "01-06", "04-06"]),
        (YearDates(frozenset({(2, 29)})), ["02-29", "02-29"]),
    ],
)
def test_rules_give_their_dates(rule: Recurrence, expected: list[str]) -> None:
    assert days(rule, len(expected)) == expected


def test_dates_without_business_are_moved_and_come_once() -> None:
    weekends = Calendar(frozenset({date(2026, 1, 5)}))
    assert days(Daily(1), 4, Adjustment.FOLLOWING, weekends) == ["01-01", "01-02", "01-06", "01-07"]
    assert days(Daily(1), 9, end=date(2026, 1, 3)) == ["01-01", "01-02", "01-03"]
    assert days(YearDates(frozenset({(2, 30)})), 1) == []
    assert shifted(date(2026, 1, 1), 2, Adjustment.PREVIOUS, weekends) == date(2026, 1, 2)
    assert shifted(LAST, 1, Adjustment.NONE, weekends) is None


def test_times_of_several_zones_come_in_the_order_of_their_instants() -> None:
    zones = (ZoneInfo("Pacific/Auckland"), (time(8), time(9))), (ZoneInfo("America/New_York"), (time(20),))
    schedule = Schedule(Daily(1), START, date(2026, 1, 2), Adjustment.NONE, zones)
    found: list[int] = []
    at: int | None = 0
    while at is not None and (at := schedule.next_after(at, ALWAYS)) is not None:
        found.append(at)
    assert len(found) == 6
    assert all(before < after for before, after in pairwise(found))
    assert found[0] == datetime(2025, 12, 31, 19, tzinfo=UTC).timestamp() * 1000
