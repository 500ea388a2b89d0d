"""Schedules of event handlers: a pattern says on which days and at what times of day something happens, in which time zone, and
where a date goes that falls on a day without business. Pure.

What a pattern means, where the contract leaves it open:
* Frequencies count from the start date: every second week is the start date's week and every other one after it.
* startDate and endDate are both the first and last day of the rule's dates, and of the days to which these are moved: nothing
  happens before the one or after the other. Two dates that are moved to the same day are one occurrence.
* The adjusted day is the local date in the pattern's zone; a cut label's time is of that date in the label's own zone.

Invariants: `next_after` is strictly increasing from occurrence to occurrence, and depends on nothing but its arguments.
Cost: at most `STEPS` periods are looked at, whatever the rule, so that a rule that never happens is told quickly. Rules that do
happen do so within a dozen periods (29 February: eight years), but for those whose days are all without business.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import date, time, timedelta
from functools import cached_property
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from pelton.kernel.expressions.base import JSON
from pelton.languages.lusid.schedules.calendars import (
    ADJUSTMENTS,
    DAYS_REMEDY,
    REACH,
    Adjustment,
    Calendar,
    Calendars,
    adjusted,
    union,
)
from pelton.languages.lusid.schedules.conversion import ScheduleError, converted, present
from pelton.languages.lusid.schedules.recurrence import INDEXES, LAST, MOST_FREQUENT, Regularity, Year, dates, days_of, period
from pelton.languages.lusid.schedules.zones import instant, moment, printed, zone, zone_problem

PATH = "scheduleMatchingPattern"
DEPENDENT = "scheduleDependentTaskFields"

STEPS = 500  # periods that are looked at for the next occurrence
SPREAD = 2  # days between a UTC date and local dates at the same instant, and then some
EARLIEST = date(1900, 1, 1)
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


class Wire(Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class CalendarReference(Wire, frozen=True):
    scope: Name
    code: Name


class Context(Wire, frozen=True):
    time_zone: str
    holiday_calendars: Annotated[tuple[CalendarReference, ...], Meta(max_length=MOST_CALENDARS)] | None = None


class Specified(Wire, frozen=True, tag_field="type", tag="Specified"):
    hours: Hours
    minutes: Minutes


class CutLabel(Wire, frozen=True, tag_field="type", tag="CutLabel"):
    code: Annotated[str, Meta(min_length=1, max_length=512)]


class TimeConstraints(Wire, frozen=True):
    start_date: date
    times_of_day: Annotated[tuple[Specified | CutLabel, ...], Meta(min_length=1, max_length=MOST_TIMES)]
    end_date: date | None = None


class Recurrence(Wire, frozen=True):
    time_constraints: TimeConstraints
    date_regularity: Regularity
    business_day_adjustment: Adjustment


class Request(Wire, frozen=True):
    context: Context
    recurrence_pattern: Recurrence


class CutTime(Struct, frozen=True, array_like=True):
    """A time of day, in a zone of its own or ("") in that of the schedule which uses it."""

    hours: Hours
    minutes: Minutes
    seconds: Minutes = 0
    zone: str = ""

    @property
    def clock(self) -> time:
        return time(self.hours, self.minutes, self.seconds)


class Pattern(Struct, frozen=True, dict=True):
    """`times`: the times of day of the request, cut labels resolved, each once."""

    request: Request
    times: tuple[CutTime, ...]

    def wire(self) -> dict[str, Any]:
        """As it is shown to callers: what they sent, without null members."""
        shown: dict[str, Any] = _plain(self.request)
        return shown

    def stored(self) -> JSON:
        """Plain data that `restored` makes the same pattern of, whatever becomes of cut labels meanwhile."""
        return _plain(self)

    @property
    def zone(self) -> str:
        return self.request.context.time_zone

    @property
    def calendars(self) -> list[tuple[str, str]]:
        """(scope, code) of the holiday calendars that it needs."""
        return [(each.scope, each.code) for each in self.request.context.holiday_calendars or ()]

    @cached_property
    def _clocks(self) -> list[tuple[str, list[time]]]:
        """The times of day by zone, in order."""
        found: dict[str, set[time]] = {}
        for each in self.times:
            found.setdefault(each.zone or self.zone, set()).add(each.clock)
        return [(name, sorted(clocks)) for name, clocks in found.items()]

    def next_after(self, instant_ms: int, calendars: Calendars) -> int | None:
        """Epoch milliseconds of the first occurrence that is later than `instant_ms`, or None when there is none (within `STEPS`
        periods). Raises ScheduleError for a calendar that is not there."""
        calendar = holidays(self, calendars)
        constraints, rule = self.request.recurrence_pattern.time_constraints, self.request.recurrence_pattern.date_regularity
        how = self.request.recurrence_pattern.business_day_adjustment
        start, end = constraints.start_date, min(constraints.end_date or LAST, LAST)
        since = max(start, _utc_date(instant_ms, start) - timedelta(days=SPREAD))
        if since > end:
            return None
        first = period(rule, start, max(start, since - timedelta(days=REACH)))
        best: int | None = None
        enough = end
        for number in range(first, first + STEPS):
            found = dates(rule, start, number)
            if found is None:
                break
            for day in found:
                if day > end:
                    return best
                moved = adjusted(day, how, calendar) if day >= start else None
                if moved is None or moved < since:
                    continue
                if moved > enough:
                    return best
                at = self._first_on(moved, instant_ms)
                if at is not None and (best is None or at < best):
                    best = at
                    # Zones of their own may make a time of a later date come first; in one zone days do not overlap.
                    enough = moved if len(self._clocks) == 1 else min(end, moved + timedelta(days=SPREAD))
        return best

    def _first_on(self, day: date, after: int) -> int | None:
        """The first occurrence of that day that is later than `after`."""
        best: int | None = None
        for name, clocks in self._clocks:
            place = zone(name)
            at = bisect_right(clocks, after, key=lambda clock, place=place: instant(day, clock, place))  # type: ignore[misc]
            if at < len(clocks):
                found = instant(day, clocks[at], place)
                best = found if best is None else min(best, found)
        return best


def _plain(value: Struct) -> JSON:
    return msgspec.json.decode(msgspec.json.encode(value))


def _utc_date(instant_ms: int, start: date) -> date:
    """The date of an instant; of one that is long before `start` or after everything, one before or after."""
    try:
        return max(moment(instant_ms).date(), start - timedelta(days=SPREAD))
    except OverflowError:
        return start if instant_ms < 0 else date.max


def holidays(pattern: Pattern, calendars: Calendars) -> Calendar:
    """The days without business of a pattern. Raises ScheduleError for a calendar that is not there."""
    found = []
    for index, (scope, code) in enumerate(pattern.calendars):
        calendar = calendars(scope, code)
        if calendar is None:
            path = f"{PATH}.context.holidayCalendars[{index}]"
            raise ScheduleError(path, f"{scope}/{code}", "there is no such calendar; load it first, or name another")
        found.append(calendar)
    return union(found)


# ---- parsing


def parse_pattern(value: JSON, path: str = PATH, cut_labels: Mapping[str, CutTime] | None = None) -> Pattern:
    """The pattern of a request. `cut_labels`: what the codes of cut labels stand for. Raises ScheduleError."""
    if not isinstance(value, dict):
        raise ScheduleError(path, value, "give an object with context and recurrencePattern")
    request = converted(_renamed(present(value)), Request, path, REMEDIES)
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


class DateAdjustment(Wire, frozen=True):
    delta_days: Annotated[int, Meta(ge=-FURTHEST, le=FURTHEST)]
    business_day_adjustment: Adjustment


class TimeAdjustment(Wire, frozen=True):
    set_to: Specified


class TimeShift(Wire, frozen=True):
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
        day = _shifted(scheduled, days, how, calendar)
        if day is None:
            remedy = (
                f"there is no business day near {days} days from {scheduled}; give another number of days or another calendar"
            )
            raise ScheduleError(f"{path}.{name}.dateAdjustment.deltaDays", days, remedy)
        set_to = shift.time_adjustment.set_to
        values[name] = printed(instant(day, time(set_to.hours, set_to.minutes), place))
    return values


def _shifted(day: date, days: int, how: Adjustment, calendar: Calendar) -> date | None:
    ordinal = day.toordinal() + days
    if not EARLIEST.toordinal() <= ordinal <= LAST.toordinal():
        return None
    return adjusted(date.fromordinal(ordinal), how, calendar)
