"""Days without business: weekends and holidays, and how a date that falls on such a day is moved.

Several calendars together are their union: a day is a business day when it is one in all of them.

Cost: moving a date looks at most `REACH` days far; a gap that is longer has no business day, as far as a schedule is concerned.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from enum import Enum, auto

from msgspec import Struct

REACH = 31  # days that a date is moved at most
MIDDLE = 15  # last day of the first half of a month
DAY = timedelta(days=1)
SATURDAY_SUNDAY = frozenset({5, 6})


class Adjustment(Enum):
    """Where a date goes that is no business day. The modified ways keep to the month (or half of it), and turn round instead."""

    NONE = auto()
    PREVIOUS = auto()
    FOLLOWING = auto()
    MODIFIED_PREVIOUS = auto()
    MODIFIED_FOLLOWING = auto()
    HALF_MONTH_MODIFIED_FOLLOWING = auto()
    NEAREST = auto()


class Calendar(Struct, frozen=True):
    """`weekends`: days of the week, Monday = 0."""

    dates: frozenset[date] = frozenset()
    weekends: frozenset[int] = SATURDAY_SUNDAY


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

    Never later for an earlier day: dates stay in order. `NEAREST` of two that are equally near is the later one.
    """
    if how is Adjustment.NONE or is_business_day(day, calendar):
        return day
    if how is Adjustment.FOLLOWING:
        return _nearest(day, DAY, calendar)
    if how is Adjustment.PREVIOUS:
        return _nearest(day, -DAY, calendar)
    after, before = _nearest(day, DAY, calendar), _nearest(day, -DAY, calendar)
    if after is None or before is None:
        return after or before
    if how is Adjustment.NEAREST:
        return after if after - day <= day - before else before
    if how is Adjustment.MODIFIED_PREVIOUS:
        return before if before.month == day.month else after
    halves = how is Adjustment.HALF_MONTH_MODIFIED_FOLLOWING
    if after.month != day.month or (halves and day.day <= MIDDLE < after.day):
        return before
    return after


def _nearest(day: date, step: timedelta, calendar: Calendar) -> date | None:
    for _ in range(REACH):
        day += step
        if is_business_day(day, calendar):
            return day
    return None
