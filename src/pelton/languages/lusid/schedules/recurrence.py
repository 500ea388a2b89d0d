"""The dates of a rule, period by period: which days, every how many days, weeks or months.

A period is a day, a week (from Monday) or a month that counts by the rule's frequency, or a year. Period 0 is the one in which
the start date lies; dates before the start are for the caller to leave out. A day that a month does not have (the 31st of April,
29 February) is left out, not moved.

Cost: O(1) for the number of a period, a handful of dates for each.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import Annotated, Literal

from msgspec import Meta, Struct

from pelton.languages.lusid.schedules.calendars import WEEKDAYS, Weekday

LAST = date(9998, 12, 31)  # nothing happens after it: so that no date is beyond what dates can be
MOST_FREQUENT = 9_999
WEEK = 7
YEAR = 12  # months

Frequency = Annotated[int, Meta(ge=1, le=MOST_FREQUENT)]
Days = Annotated[tuple[Weekday, ...], Meta(min_length=1, max_length=WEEK)]
Index = Literal["First", "Second", "Third", "Fourth", "Last"]
INDEXES: tuple[Index, ...] = ("First", "Second", "Third", "Fourth", "Last")


class Rule(Struct, frozen=True, tag_field="type", rename="camel", omit_defaults=True):
    pass


class Day(Rule, frozen=True, tag="Day"):
    frequency: Frequency


class Week(Rule, frozen=True, tag="Week"):
    frequency: Frequency
    days_of_week: Days


class SpecificMonth(Rule, frozen=True, tag="SpecificMonth"):
    frequency: Frequency
    days_of_month: Annotated[tuple[Annotated[int, Meta(ge=1, le=31)], ...], Meta(min_length=1, max_length=31)]


class RelativeMonth(Rule, frozen=True, tag="RelativeMonth"):
    """Of several days of the week, the index counts each by itself: the first Monday and the first Tuesday."""

    frequency: Frequency
    days_of_week: Days
    index: Index


class DayOfYear(Struct, frozen=True):
    month: Annotated[int, Meta(ge=1, le=12)]
    day: Annotated[int, Meta(ge=1, le=31)]


class Year(Rule, frozen=True, tag="Year"):
    dates: Annotated[tuple[DayOfYear, ...], Meta(min_length=1, max_length=366)]


Regularity = Day | Week | SpecificMonth | RelativeMonth | Year


def period(rule: Regularity, start: date, day: date) -> int:
    """The number of the last period that does not begin after `day`, which is not before `start`."""
    match rule:
        case Day():
            return (day - start).days // rule.frequency
        case Week():
            return (day.toordinal() - monday(start)) // WEEK // rule.frequency
        case Year():
            return day.year - start.year
        case _:
            return (month(day) - month(start)) // rule.frequency


def dates(rule: Regularity, start: date, number: int) -> list[date] | None:
    """In order, each once. None: the period is later than all that happens."""
    match rule:
        case Day():
            ordinal = start.toordinal() + number * rule.frequency
            return [date.fromordinal(ordinal)] if ordinal <= LAST.toordinal() else None
        case Week():
            ordinal = monday(start) + number * rule.frequency * WEEK
            if ordinal > LAST.toordinal():
                return None
            return [date.fromordinal(ordinal + day) for day in weekdays(rule.days_of_week)]
        case Year():
            year = start.year + number
            if year > LAST.year:
                return None
            found = {(each.month, each.day) for each in rule.dates if each.day <= days_of(year, each.month)}
            return [date(year, *each) for each in sorted(found)]
        case _:
            year, index = divmod(month(start) + number * rule.frequency, YEAR)
            return month_dates(rule, year, index + 1) if year <= LAST.year else None


def month_dates(rule: SpecificMonth | RelativeMonth, year: int, month: int) -> list[date]:
    length = days_of(year, month)
    if isinstance(rule, SpecificMonth):
        return [date(year, month, day) for day in sorted(set(rule.days_of_month)) if day <= length]
    first = date(year, month, 1).weekday()
    days = []
    for weekday in weekdays(rule.days_of_week):
        day = 1 + (weekday - first) % WEEK
        weeks = (length - day) // WEEK if rule.index == "Last" else INDEXES.index(rule.index)
        days.append(date(year, month, day + weeks * WEEK))
    return sorted(days)


def weekdays(days: tuple[Weekday, ...]) -> list[int]:
    return sorted({WEEKDAYS.index(day) for day in days})


def monday(day: date) -> int:
    """Ordinal of the Monday of its week."""
    return day.toordinal() - day.weekday()


def month(day: date) -> int:
    """Months since the year 0."""
    return day.year * YEAR + day.month - 1


def days_of(year: int, month: int) -> int:
    return monthrange(year, month)[1]
