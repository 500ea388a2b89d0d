"""Cron expressions with seconds: which instants they are about, in a zone.

Six fields: second, minute, hour, day of the month, month, day of the week. Each is `*`, a number, a range `a-b`, a step `a/n`,
`a-b/n` or `*/n`, or several of these with commas between them; `?` is `*`. Months and days of the week may be names (JAN, MON);
0 and 7 are both Sunday. Days of the month may also be `L` (the last), `L-3` (three days before it), `15W` (the weekday nearest to
the 15th, in the same month) and `LW` (the last weekday); days of the week also `5L` (the last Friday) and `5#2` (the second). A
day must fit both the month's field and the week's. `@yearly`, `@monthly`, `@weekly`, `@daily` and `@hourly` are known, too.

A local time that does not exist is the first instant after the gap, and one that comes twice is its first; but what happens every
hour happens in both of the hours that have the same name.

Cost: at most `DAYS` days are looked at, so that an expression that never happens (30 February) is found out quickly.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from datetime import date, datetime, time, timedelta, tzinfo

from msgspec import Struct

from pelton.kernel.schedules.instants import MILLISECOND, instant, moment

DAYS = 366 * 9  # 29 February may be eight years away, around a century that has none
LONGEST = 500  # characters
LAST_YEAR = 9998

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEK = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MACROS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}


class CronInvalid(ValueError):
    """The text says what is wrong."""


class Cron(Struct, frozen=True):
    """`clocks` in order. `last`: days before the month's last. `nearest`: days whose nearest weekday is meant, 0 = the last
    weekday. `weeks`: (day of the week, which of the month; 0 = the last), Sunday = 0."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    last: frozenset[int]
    nearest: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    weeks: frozenset[tuple[int, int]]

    def next_after(self, instant_ms: int, zone: tzinfo) -> int | None:
        """Epoch milliseconds of the first occurrence that is later, or None when there is none within `DAYS`."""
        if len(self.hours) == 24:
            return self._next_hourly(instant_ms, zone)
        local = _local(instant_ms, zone)
        if local is None:
            return None
        day = (local - timedelta(hours=3)).date()  # the clocks may have gone back since
        for _ in range(DAYS):
            if day.year > LAST_YEAR:
                return None
            if self._fits(day):
                found = self._first_on(day, instant_ms, zone)
                if found is not None:
                    return found
            day = self._following(day)
        return None

    def _first_on(self, day: date, after: int, zone: tzinfo) -> int | None:
        """The first occurrence of the day that is later than an instant: instants of a day are in the order of its clock."""
        total = len(self.hours) * len(self.minutes) * len(self.seconds)
        low, high = 0, total
        while low < high:
            middle = (low + high) // 2
            if instant(day, self._clock(middle), zone) > after:
                high = middle
            else:
                low = middle + 1
        return instant(day, self._clock(low), zone) if low < total else None

    def _clock(self, place: int) -> time:
        rest, second = divmod(place, len(self.seconds))
        hour, minute = divmod(rest, len(self.minutes))
        return time(self.hours[hour], self.minutes[minute], self.seconds[second])

    def _next_hourly(self, instant_ms: int, zone: tzinfo) -> int | None:
        """Through real time, hour by hour, each by what the clock shows in it."""
        after = instant_ms
        for _ in range(2 * DAYS):
            start = (after // 1000 + 1) * 1000
            shown = _local(start, zone)
            if shown is None or shown.year > LAST_YEAR:
                return None
            if not self._fits(shown.date()):
                after = max(instant(self._following(shown.date()), time(0), zone) - 1, start)
                continue
            found = self._in_hour(shown)
            if found is None:
                after = start + ((59 - shown.minute) * 60 + 60 - shown.second) * 1000 - 1
                continue
            at = start + (found - shown) // MILLISECOND
            if _local(at, zone) == found:
                return at
            after = start  # the clock is moved within the hour
        return None

    def _in_hour(self, local: datetime) -> datetime | None:
        """The first local time in what is left of the hour."""
        place = bisect_left(self.minutes, local.minute)
        if place < len(self.minutes) and self.minutes[place] == local.minute:
            second = bisect_left(self.seconds, local.second)
            if second < len(self.seconds):
                return local.replace(second=self.seconds[second])
            place += 1
        return local.replace(minute=self.minutes[place], second=self.seconds[0]) if place < len(self.minutes) else None

    def _following(self, day: date) -> date:
        """The next day, or the first of the next month that counts."""
        following = day + timedelta(days=1)
        while following.month not in self.months and following.year <= LAST_YEAR:
            following = (following.replace(day=1) + timedelta(days=32)).replace(day=1)
        return following

    def _fits(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        week = day.isoweekday() % 7
        length = monthrange(day.year, day.month)[1]
        if week not in self.weekdays and not any(
            week == which and (day.day + 7 > length if not number else (day.day + 6) // 7 == number)
            for which, number in self.weeks
        ):
            return False
        return day.day in self.days or length - day.day in self.last or any(_nearest(day, each) for each in self.nearest)


def _nearest(day: date, wanted: int) -> bool:
    """Whether a day is the weekday that is nearest to one of its month."""
    length = monthrange(day.year, day.month)[1]
    aim = day.replace(day=min(wanted or length, length))
    if wanted > length:
        return False
    week = aim.weekday()
    if week == 5:
        aim += timedelta(days=2 if aim.day == 1 else -1)
    elif week == 6:
        aim += timedelta(days=-2 if aim.day == length else 1)
    return aim == day


def _local(instant_ms: int, zone: tzinfo) -> datetime | None:
    """What the clock shows, without its zone."""
    try:
        return moment(instant_ms).astimezone(zone).replace(tzinfo=None, fold=0)
    except OverflowError:
        return None


# ---- reading


def parse_cron(text: str) -> Cron:
    """Raises CronInvalid."""
    if len(text) > LONGEST:
        raise CronInvalid(f"it has {len(text)} characters; the limit is {LONGEST}")
    fields = _MACROS.get(text.strip().lower(), text).upper().split()
    if len(fields) != 6:
        raise CronInvalid(
            f"it has {len(fields)} fields; there are six: second, minute, hour, day of the month, month, day of the week"
        )
    days, last, nearest = set[int](), set[int](), set[int]()
    for part in fields[3].split(","):
        _day(part, days, last, nearest)
    weekdays, weeks = set[int](), set[tuple[int, int]]()
    for part in fields[5].split(","):
        _weekday(part, weekdays, weeks)
    return Cron(
        seconds=tuple(sorted(_field("second", fields[0], 0, 59))),
        minutes=tuple(sorted(_field("minute", fields[1], 0, 59))),
        hours=tuple(sorted(_field("hour", fields[2], 0, 23))),
        days=frozenset(days),
        last=frozenset(last),
        nearest=frozenset(nearest),
        months=frozenset(_field("month", fields[4], 1, 12, _MONTHS, 1)),
        weekdays=frozenset(weekdays),
        weeks=frozenset(weeks),
    )


def _day(part: str, days: set[int], last: set[int], nearest: set[int]) -> None:
    name = "day of the month"
    if part == "L":
        last.add(0)
    elif part.startswith("L-"):
        last.add(_number(name, part[2:], 1, 30))
    elif part in ("LW", "WL"):
        nearest.add(0)
    elif part.endswith("W") and len(part) > 1:
        nearest.add(_number(name, part[:-1], 1, 31))
    else:
        days |= _field(name, part, 1, 31)


def _weekday(part: str, weekdays: set[int], weeks: set[tuple[int, int]]) -> None:
    name = "day of the week"
    if "#" in part:
        which, _, number = part.partition("#")
        weeks.add((_number(name, which, 0, 7, _WEEK) % 7, _number(name, number, 1, 5)))
    elif part.endswith("L") and len(part) > 1:
        weeks.add((_number(name, part[:-1], 0, 7, _WEEK) % 7, 0))
    else:
        weekdays |= {day % 7 for day in _field(name, "0" if part == "L" else part, 0, 7, _WEEK)}


def _field(name: str, text: str, low: int, high: int, words: tuple[str, ...] = (), first: int = 0) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(name, step_text, 1, high + 1) if slash else 1
        if span in ("*", "?"):
            start, end = low, high
        elif "-" in span:
            left, _, right = span.partition("-")
            start, end = _number(name, left, low, high, words, first), _number(name, right, low, high, words, first)
            if start > end and words == _WEEK and end == 0:
                end = 7
            if start > end:
                raise CronInvalid(f"{name}: {part!r} ends before it begins")
        else:
            start = _number(name, span, low, high, words, first)
            end = high if slash else start
        found.update(range(start, end + 1, step))
    return found


def _number(name: str, text: str, low: int, high: int, words: tuple[str, ...] = (), first: int = 0) -> int:
    if text in words:
        return words.index(text) + first
    if not (text.isascii() and text.isdigit() and len(text) < 4) or not low <= int(text) <= high:
        raise CronInvalid(f"{name}: {text[:50]!r} is not between {low} and {high}")
    return int(text)
