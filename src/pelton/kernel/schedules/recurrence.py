"""The dates of a rule, period by period: which days, every how many days, weeks or months.

A period is a day, a week (from Monday) or a month that counts by the rule's `every`, or a year. Period 0 is the one in which the
start date lies; dates before the start are for the caller to leave out. A day that a month does not have (the 31st of April,
29 February) is left out, not moved.

Cost: O(1) for the number of a period, a handful of dates for each.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date

from msgspec import Struct

LAST = date(9998, 12, 31)  # nothing happens after it: so that no date is beyond what dates can be
LAST_WEEK = -1  # in place of a week's number: the last one of the month
WEEK = 7
YEAR = 12  # months


class Daily(Struct, frozen=True):
    every: int


class Weekly(Struct, frozen=True):
    """`weekdays`: Monday = 0."""

    every: int
    weekdays: frozenset[int]


class MonthDays(Struct, frozen=True):
    """`days`: 1 to 31."""

    every: int
    days: frozenset[int]


class MonthWeekdays(Struct, frozen=True):
    """`week`: 0 = the first of the month, or LAST_WEEK. It counts each day of the week by itself: the first Monday and the first
    Tuesday."""

    every: int
    weekdays: frozenset[int]
    week: int


class YearDates(Struct, frozen=True):
    """`dates`: (month, day)."""

    dates: frozenset[tuple[int, int]]


Recurrence = Daily | Weekly | MonthDays | MonthWeekdays | YearDates


def period(rule: Recurrence, start: date, day: date) -> int:
    """The number of the last period that does not begin after `day`, which is not before `start`."""
    match rule:
        case Daily():
            return (day - start).days // rule.every
        case Weekly():
            return (day.toordinal() - monday(start)) // WEEK // rule.every
        case YearDates():
            return day.year - start.year
        case _:
            return (month(day) - month(start)) // rule.every


def dates(rule: Recurrence, start: date, number: int) -> list[date] | None:
    """In order, each once. None: the period is later than all that happens."""
    match rule:
        case Daily():
            ordinal = start.toordinal() + number * rule.every
            return [date.fromordinal(ordinal)] if ordinal <= LAST.toordinal() else None
        case Weekly():
            ordinal = monday(start) + number * rule.every * WEEK
            if ordinal > LAST.toordinal():
                return None
            return [date.fromordinal(ordinal + day) for day in sorted(rule.weekdays)]
        case YearDates():
            year = start.year + number
            if year > LAST.year:
                return None
            return [date(year, *each) for each in sorted(rule.dates) if each[1] <= days_of(year, each[0])]
        case _:
            year, index = divmod(month(start) + number * rule.every, YEAR)
            return month_dates(rule, year, index + 1) if year <= LAST.year else None


def month_dates(rule: MonthDays | MonthWeekdays, year: int, month: int) -> list[date]:
    length = days_of(year, month)
    if isinstance(rule, MonthDays):
        return [date(year, month, day) for day in sorted(rule.days) if day <= length]
    first = date(year, month, 1).weekday()
    days = []
    for weekday in rule.weekdays:
        day = 1 + (weekday - first) % WEEK
        weeks = (length - day) // WEEK if rule.week == LAST_WEEK else rule.week
        days.append(date(year, month, day + weeks * WEEK))
    return sorted(days)


def monday(day: date) -> int:
    """Ordinal of the Monday of its week."""
    return day.toordinal() - day.weekday()


def month(day: date) -> int:
    """Months since the year 0."""
    return day.year * YEAR + day.month - 1


def days_of(year: int, month: int) -> int:
    return monthrange(year, month)[1]
