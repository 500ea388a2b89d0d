"""This API's date regularities, and the recurrence rules that they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from pelton.kernel.schedules import recurrence
from pelton.kernel.schedules.recurrence import LAST_WEEK, WEEK
from pelton.languages.lusid.schedules.calendars import Weekday, weekday_of

MOST_FREQUENT = 9_999

Frequency = Annotated[int, Meta(ge=1, le=MOST_FREQUENT)]
Days = Annotated[tuple[Weekday, ...], Meta(min_length=1, max_length=WEEK)]
Index = Literal["First", "Second", "Third", "Fourth", "Last"]
INDEXES: tuple[Index, ...] = ("First", "Second", "Third", "Fourth", "Last")


class RegularityForm(Struct, frozen=True, tag_field="type", rename="camel", omit_defaults=True):
    """One of the kinds below, by its `type`."""


class Day(RegularityForm, frozen=True, tag="Day"):
    frequency: Frequency


class Week(RegularityForm, frozen=True, tag="Week"):
    frequency: Frequency
    days_of_week: Days


class SpecificMonth(RegularityForm, frozen=True, tag="SpecificMonth"):
    frequency: Frequency
    days_of_month: Annotated[tuple[Annotated[int, Meta(ge=1, le=31)], ...], Meta(min_length=1, max_length=31)]


class RelativeMonth(RegularityForm, frozen=True, tag="RelativeMonth"):
    """Of several days of the week, the index counts each by itself: the first Monday and the first Tuesday."""

    frequency: Frequency
    days_of_week: Days
    index: Index


class DayOfYear(Struct, frozen=True):
    month: Annotated[int, Meta(ge=1, le=12)]
    day: Annotated[int, Meta(ge=1, le=31)]


class Year(RegularityForm, frozen=True, tag="Year"):
    dates: Annotated[tuple[DayOfYear, ...], Meta(min_length=1, max_length=366)]


Regularity = Day | Week | SpecificMonth | RelativeMonth | Year


def rule_of(given: Regularity) -> recurrence.Recurrence:
    match given:
        case Day():
            return recurrence.Daily(given.frequency)
        case Week():
            return recurrence.Weekly(given.frequency, _weekdays(given.days_of_week))
        case SpecificMonth():
            return recurrence.MonthDays(given.frequency, frozenset(given.days_of_month))
        case RelativeMonth():
            week = LAST_WEEK if given.index == "Last" else INDEXES.index(given.index)
            return recurrence.MonthWeekdays(given.frequency, _weekdays(given.days_of_week), week)
        case Year():
            return recurrence.YearDates(frozenset((each.month, each.day) for each in given.dates))


def _weekdays(names: Iterable[Weekday]) -> frozenset[int]:
    return frozenset(weekday_of(name) for name in names)
