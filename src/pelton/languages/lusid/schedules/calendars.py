"""Holiday calendars in this API's format, and its names for days and date adjustments.

A calendar is stored as the definition of kind "calendar" named `scope/code`, its body
`{"dates": ["2026-12-25", ...], "weekends": ["Saturday", "Sunday"]}`. What it means is in `kernel.schedules.calendars`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from pelton.kernel.expressions.base import JSON
from pelton.kernel.schedules.calendars import Adjustment, Calendar
from pelton.languages.lusid.schedules.conversion import ScheduleError, converted, present

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
AdjustmentName = Literal[
    "None", "Previous", "Following", "ModifiedPrevious", "ModifiedFollowing", "HalfMonthModifiedFollowing", "Nearest"
]

CALENDAR = "calendar"  # kind of the definitions that are calendars
MOST_DATES = 20_000

WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
ADJUSTMENTS: tuple[AdjustmentName, ...] = get_args(AdjustmentName)
_ADJUSTMENTS = dict(zip(ADJUSTMENTS, Adjustment, strict=True))
DAYS_REMEDY = f"give a list of days out of {', '.join(WEEKDAYS)}"


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


def adjustment_of(name: AdjustmentName) -> Adjustment:
    return _ADJUSTMENTS[name]


def weekday_of(name: Weekday) -> int:
    """Monday = 0."""
    return WEEKDAYS.index(name)
