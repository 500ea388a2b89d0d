"""Schedules of event handlers: a pattern defines the days and times of day of occurrences, the time zone, and how a date on a
non-business day is adjusted. Pure.

The meaning of a pattern is in `kernel.schedules.occurrences`; its form, validation and translation are here. Where
the contract leaves it open, frequencies count from the start date, and a cut label's time is of the adjusted date in the label's
own zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from functools import cached_property
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from pelton.kernel.expressions.base import JSON
from pelton.kernel.schedules.calendars import Calendar, union
from pelton.kernel.schedules.instants import instant, moment
from pelton.kernel.schedules.occurrences import EARLIEST, Schedule, shifted
from pelton.kernel.schedules.recurrence import LAST, days_of
from pelton.languages.lusid.schedules.calendars import ADJUSTMENTS, DAYS_REMEDY, AdjustmentName, Calendars, adjustment_of
from pelton.languages.lusid.schedules.conversion import ScheduleError, converted, present
from pelton.languages.lusid.schedules.recurrence import INDEXES, MOST_FREQUENT, Regularity, Year, rule_of
from pelton.languages.lusid.times import print_milliseconds
from pelton.transport.zones import zone, zone_problem

PATH = "scheduleMatchingPattern"
DEPENDENT = "scheduleDependentTaskFields"

MOST_TIMES = 1_440
MOST_CALENDARS = 50
MOST_FIELDS = 1_000
FURTHEST = 36_600  # days of an adjustment
LEAP_YEAR = 2000

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Hours = Annotated[int, Meta(ge=0, le=23)]
Minutes = Annotated[int, Meta(ge=0, le=59)]

_NAME = "give 1 to 64 letters, digits, '-' or '_'"
_FREQUENCY = f"give a whole number from 1 to {MOST_FREQUENT}"
REMEDIES = {
    "context": "give an object with timeZone and, if wanted, holidayCalendars",
    "timeZone": "give a TZ identifier such as Europe/London",
    "holidayCalendars": f"give a list of at most {MOST_CALENDARS} calendars, each with scope and code",
    "scope": _NAME,
    "code": _NAME,
    "recurrencePattern": "give an object with timeConstraints, dateRegularity and businessDayAdjustment",
    "timeConstraints": "give an object with startDate, timesOfDay and, if wanted, endDate",
    "startDate": "give a date like 2026-12-25",
    "endDate": "give a date like 2026-12-31, or leave it out",
    "timesOfDay": f"give 1 to {MOST_TIMES} times, each of type Specified with hours and minutes or of type CutLabel with code",
    "hours": "give a whole number from 0 to 23",
    "minutes": "give a whole number from 0 to 59",
    "dateRegularity": "give an object whose type is Day, Week, SpecificMonth, RelativeMonth or Year",
    "type": "give Specified or CutLabel for a time; Day, Week, SpecificMonth, RelativeMonth or Year for a regularity",
    "frequency": _FREQUENCY,
    "daysOfWeek": DAYS_REMEDY,
    "daysOfMonth": "give a list of 1 to 31 days, each from 1 to 31",
    "index": f"give one of {', '.join(INDEXES)}",
    "dates": "give a list of 1 to 366 objects with month and day",
    "month": "give a whole number from 1 to 12",
    "day": "give a day that the month has",
    "businessDayAdjustment": f"give one of {', '.join(ADJUSTMENTS)}",
    "dateAdjustment": "give an object with deltaDays and businessDayAdjustment",
    "deltaDays": f"give a whole number from {-FURTHEST} to {FURTHEST}",
    "timeAdjustment": "give an object with setTo",
    "setTo": 'give a time like {"type": "Specified", "hours": 9, "minutes": 30}',
}


class ScheduleForm(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Members are written in camelCase; those that are absent are left out."""


class CalendarReference(ScheduleForm, frozen=True):
    scope: Name
    code: Name


class ScheduleContext(ScheduleForm, frozen=True):
    time_zone: str
    holiday_calendars: Annotated[tuple[CalendarReference, ...], Meta(max_length=MOST_CALENDARS)] | None = None


class Specified(ScheduleForm, frozen=True, tag_field="type", tag="Specified"):
    hours: Hours
    minutes: Minutes


class CutLabel(ScheduleForm, frozen=True, tag_field="type", tag="CutLabel"):
    code: Annotated[str, Meta(min_length=1, max_length=512)]


class TimeConstraints(ScheduleForm, frozen=True):
    start_date: date
    times_of_day: Annotated[tuple[Specified | CutLabel, ...], Meta(min_length=1, max_length=MOST_TIMES)]
    end_date: date | None = None


class Recurrence(ScheduleForm, frozen=True):
    time_constraints: TimeConstraints
    date_regularity: Regularity
    business_day_adjustment: AdjustmentName


class PatternForm(ScheduleForm, frozen=True):
    context: ScheduleContext
    recurrence_pattern: Recurrence


class CutTime(Struct, frozen=True, array_like=True):
    """A time of day, in its own zone or ("") in that of the schedule which uses it."""

    hours: Hours
    minutes: Minutes
    seconds: Minutes = 0
    zone: str = ""

    @property
    def clock(self) -> time:
        return time(self.hours, self.minutes, self.seconds)


class Pattern(Struct, frozen=True, dict=True):
    """`times`: the times of day of the request, cut labels resolved, each once."""

    request: PatternForm
    times: tuple[CutTime, ...]

    def wire(self) -> dict[str, Any]:
        """As it is shown to callers: what they sent, without null members."""
        shown: dict[str, Any] = _plain(self.request)
        return shown

    def stored(self) -> JSON:
        """Plain data that `restored` makes the same pattern of, even if cut labels have changed meanwhile."""
        return _plain(self)

    @property
    def zone(self) -> str:
        return self.request.context.time_zone

    @property
    def calendars(self) -> list[tuple[str, str]]:
        """(scope, code) of the holiday calendars that it needs."""
        return [(each.scope, each.code) for each in self.request.context.holiday_calendars or ()]

    @cached_property
    def _schedule(self) -> Schedule:
        pattern = self.request.recurrence_pattern
        constraints = pattern.time_constraints
        clocks: dict[str, set[time]] = {}
        for each in self.times:
            clocks.setdefault(each.zone or self.zone, set()).add(each.clock)
        return Schedule(
            rule=rule_of(pattern.date_regularity),
            start=constraints.start_date,
            end=constraints.end_date or LAST,
            adjustment=adjustment_of(pattern.business_day_adjustment),
            clocks=tuple((zone(name), tuple(sorted(times))) for name, times in clocks.items()),
        )

    def next_after(self, instant_ms: int, calendars: Calendars) -> int | None:
        """Epoch milliseconds of the first occurrence that is later than `instant_ms`, or None when there is none. Raises
        ScheduleError for a calendar that is not there."""
        return self._schedule.next_after(instant_ms, holidays(self, calendars))


def _plain(value: Struct) -> JSON:
    return msgspec.json.decode(msgspec.json.encode(value))


def holidays(pattern: Pattern, calendars: Calendars) -> Calendar:
    """The days without business of a pattern. Raises ScheduleError for a calendar that is not there."""
    found = []
    for index, (scope, code) in enumerate(pattern.calendars):
        calendar = calendars(scope, code)
        if calendar is None:
            path = f"{PATH}.context.holidayCalendars[{index}]"
            how = f"load it first, with PUT /workflow/api/calendars/{scope}/{code}, or name another"
            raise ScheduleError(path, f"{scope}/{code}", f"there is no such calendar; {how}")
        found.append(calendar)
    return union(found)


# ---- parsing


def parse_pattern(value: JSON, path: str = PATH, cut_labels: Mapping[str, CutTime] | None = None) -> Pattern:
    """The pattern of a request. `cut_labels`: what the codes of cut labels stand for. Raises ScheduleError."""
    if not isinstance(value, dict):
        raise ScheduleError(path, value, "give an object with context and recurrencePattern")
    request = converted(_renamed(present(value)), PatternForm, path, REMEDIES)
    _check_zone(request.context.time_zone, f"{path}.context.timeZone")
    constraints = request.recurrence_pattern.time_constraints
    at = f"{path}.recurrencePattern.timeConstraints"
    if not EARLIEST <= constraints.start_date <= LAST:
        text = constraints.start_date.isoformat()
        raise ScheduleError(f"{at}.startDate", text, f"give a date from {EARLIEST} to {LAST}")
    if constraints.end_date is not None and constraints.end_date < constraints.start_date:
        text = constraints.end_date.isoformat()
        raise ScheduleError(f"{at}.endDate", text, f"give a date that is not before startDate, {constraints.start_date}")
    rule = request.recurrence_pattern.date_regularity
    if isinstance(rule, Year):
        for index, each in enumerate(rule.dates):
            if each.day > days_of(LEAP_YEAR, each.month):
                place = f"{path}.recurrencePattern.dateRegularity.dates[{index}].day"
                raise ScheduleError(place, each.day, f"give a day that month {each.month} has")
    times: dict[CutTime, None] = {}
    for index, clock in enumerate(constraints.times_of_day):
        if isinstance(clock, Specified):
            times[CutTime(clock.hours, clock.minutes)] = None
        else:
            times[_cut(clock.code, f"{at}.timesOfDay[{index}].code", cut_labels or {})] = None
    return Pattern(request, tuple(times))


def restored(value: JSON) -> Pattern:
    """What `Pattern.stored` has given."""
    return msgspec.convert(value, Pattern)


def _cut(code: str, path: str, cut_labels: Mapping[str, CutTime]) -> CutTime:
    found = cut_labels.get(code)
    if found is None:
        known = ", ".join(sorted(cut_labels)[:10])
        remedy = f"name one that is known, such as {known}" if known else "no cut labels are known: give a time of type Specified"
        raise ScheduleError(path, code, remedy)
    if found.zone:
        _check_zone(found.zone, f"{path} (zone of the cut label)")
    return found


def _check_zone(name: str, path: str) -> None:
    remedy = zone_problem(name)
    if remedy is not None:
        raise ScheduleError(path, name, remedy)


def _renamed(value: JSON) -> JSON:
    """`CutLabelReference` is another name for the type CutLabel."""
    if isinstance(value, dict):
        renamed = {key: _renamed(member) for key, member in value.items()}
        return {**renamed, "type": "CutLabel"} if renamed.get("type") == "CutLabelReference" else renamed
    return [_renamed(item) for item in value] if isinstance(value, list) else value


# ---- fields that depend on the scheduled time


class DateAdjustment(ScheduleForm, frozen=True):
    delta_days: Annotated[int, Meta(ge=-FURTHEST, le=FURTHEST)]
    business_day_adjustment: AdjustmentName


class TimeAdjustment(ScheduleForm, frozen=True):
    set_to: Specified


class TimeShift(ScheduleForm, frozen=True):
    """What makes a field's value out of the scheduled time."""

    date_adjustment: DateAdjustment
    time_adjustment: TimeAdjustment


def parse_dependent(value: JSON, path: str = DEPENDENT) -> dict[str, TimeShift]:
    """By name of the field; {} for None. Raises ScheduleError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ScheduleError(path, value, "give an object with a member for each field")
    if len(value) > MOST_FIELDS:
        raise ScheduleError(path, len(value), f"give at most {MOST_FIELDS} fields")
    remedy = "give an object with dateAdjustment and timeAdjustment"
    for name, each in value.items():
        if not isinstance(each, dict):
            raise ScheduleError(f"{path}.{name}", each, remedy)
    return {name: converted(present(each), TimeShift, f"{path}.{name}", REMEDIES) for name, each in value.items()}


def dependent_fields(
    shifts: Mapping[str, TimeShift], scheduled_ms: int, pattern: Pattern, calendars: Calendars, path: str = DEPENDENT
) -> dict[str, str]:
    """The fields' values as DateTime texts: the local date of the scheduled time in the pattern's zone, so many days on, moved to
    a business day, at the time given. Raises ScheduleError when there is no such day, or no such calendar."""
    if not shifts:
        return {}
    place = zone(pattern.zone)
    calendar = holidays(pattern, calendars)
    scheduled = moment(scheduled_ms).astimezone(place).date()
    values: dict[str, str] = {}
    for name, shift in shifts.items():
        days, how = shift.date_adjustment.delta_days, shift.date_adjustment.business_day_adjustment
        day = shifted(scheduled, days, adjustment_of(how), calendar)
        if day is None:
            remedy = (
                f"there is no business day near {days} days from {scheduled}; give another number of days or another calendar"
            )
            raise ScheduleError(f"{path}.{name}.dateAdjustment.deltaDays", days, remedy)
        set_to = shift.time_adjustment.set_to
        values[name] = print_milliseconds(instant(day, time(set_to.hours, set_to.minutes), place))
    return values
