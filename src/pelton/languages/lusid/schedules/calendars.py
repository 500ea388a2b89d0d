"""Days without business: weekends and holiday calendars, and how a date that falls on such a day is moved.

A calendar is stored as the definition of kind "calendar" named `scope/code`, its body
`{"dates": ["2026-12-25", ...], "weekends": ["Saturday", "Sunday"]}`. Several calendars together are their union: a day is a
business day when it is one in all of them.

Cost: moving a date looks at most `REACH` days far; a gap that is longer has no business day, as far as a schedule is concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from pelton.kernel.expressions.base import JSON
from pelton.languages.lusid.schedules.conversion import ScheduleError, converted, present

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
Adjustment = Literal[
    "None", "Previous", "Following", "ModifiedPrevious", "ModifiedFollowing", "HalfMonthModifiedFollowing", "Nearest"
]

CALENDAR = "calendar"  # kind of the definitions that are calendars
REACH = 31  # days that a date is moved at most
MIDDLE = 15  # last day of the first half of a month
MOST_DATES = 20_000
DAY = timedelta(days=1)

WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
ADJUSTMENTS: tuple[Adjustment, ...] = get_args(Adjustment)
SATURDAY_SUNDAY = frozenset({5, 6})
DAYS_REMEDY = f"give a list of days out of {', '.join(WEEKDAYS)}"


class Calendar(Struct, frozen=True):
    """`weekends`: days of the week, Monday = 0."""

    dates: frozenset[date] = frozenset()
    weekends: frozenset[int] = SATURDAY_SUNDAY


Calendars = Callable[[str, str], Calendar | None]
"""The calendar of (scope, code), or None when there is none."""


class _Body(Struct):
    dates: Annotated[list[date], Meta(max_length=MOST_DATES)] = []
    weekends: Annotated[list[Weekday], Meta(max_length=7)] | None = None


REMEDIES = {
    "dates": f"give a list of at most {MOST_DATES} dates like 2026-12-25",
    "weekends": DAYS_REMEDY,
}


def parse_calendar(value: JSON, path: str = "calendar") -> Calendar:
    """Raises ScheduleError. Without `weekends`: Saturday and Sunday; [] = every day of the week may be a business day."""
    body = converted(present(value), _Body, path, REMEDIES)
    if body.weekends is None:
        return Calendar(frozenset(body.dates))
    weekends = frozenset(WEEKDAYS.index(day) for day in body.weekends)
    if len(weekends) == len(WEEKDAYS):
        raise ScheduleError(f"{path}.weekends", body.weekends, "leave at least one day of the week for business")
    return Calendar(frozenset(body.dates), weekends)


def calendar_body(calendar: Calendar) -> dict[str, list[str]]:
    """The calendar as it is stored."""
    dates = sorted(day.isoformat() for day in calendar.dates)
    return {"dates": dates, "weekends": [WEEKDAYS[day] for day in sorted(calendar.weekends)]}


def union(calendars: Iterable[Calendar]) -> Calendar:
    """All together; Saturday and Sunday when there is none."""
    known = list(calendars)
    if not known:
        return Calendar()
    dates: frozenset[date] = frozenset().union(*(calendar.dates for calendar in known))
    return Calendar(dates, frozenset().union(*(calendar.weekends for calendar in known)))


def is_business_day(day: date, calendar: Calendar) -> bool:
    return day.weekday() not in calendar.weekends and day not in calendar.dates


def adjusted(day: date, how: Adjustment, calendar: Calendar) -> date | None:
    """The day on which something that falls on `day` happens; None when there is no business day within reach.

    Never later for an earlier day: dates stay in order. `Nearest` of two that are equally near is the later one.
    """
    if how == "None" or is_business_day(day, calendar):
        return day
    if how == "Following":
        return _nearest(day, DAY, calendar)
    if how == "Previous":
        return _nearest(day, -DAY, calendar)
    after, before = _nearest(day, DAY, calendar), _nearest(day, -DAY, calendar)
    if after is None or before is None:
        return after or before
    if how == "Nearest":
        return after if after - day <= day - before else before
    if how == "ModifiedPrevious":
        return before if before.month == day.month else after
    if after.month != day.month or (how == "HalfMonthModifiedFollowing" and day.day <= MIDDLE < after.day):
        return before
    return after


def _nearest(day: date, step: timedelta, calendar: Calendar) -> date | None:
    for _ in range(REACH):
        day += step
        if is_business_day(day, calendar):
            return day
    return None
