"""Schedules by dates and times of day: a rule of recurrence, times in one or several zones, and where a date goes that falls on a
day without business.

* Frequencies count from the start date: every second week is the start date's week and every other one after it.
* `start` and `end` are the first and last day both of the rule's dates and of the days to which these are moved: nothing happens
  before the one or after the other. Two dates that are moved to the same day are one occurrence.
* The adjusted day is a local date; each time of day is of that date in its own zone.

Invariants: `next_after` is strictly increasing from occurrence to occurrence, and depends on nothing but its arguments.
Cost: at most `STEPS` periods are looked at, whatever the rule, so that a rule that never happens is found out quickly. Rules that
do happen do so within a dozen periods (29 February: eight years), but for those whose days are all without business.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, time, timedelta, tzinfo

from msgspec import Struct

from pelton.kernel.schedules.calendars import REACH, Adjustment, Calendar, adjusted
from pelton.kernel.schedules.instants import instant, moment
from pelton.kernel.schedules.recurrence import LAST, Recurrence, dates, period

STEPS = 500  # periods that are looked at for the next occurrence
SPREAD = 2  # days between a UTC date and local dates at the same instant, and then some
EARLIEST = date(1900, 1, 1)


class Schedule(Struct, frozen=True):
    """`clocks`: the times of day by zone, each in order. `end`: at most LAST."""

    rule: Recurrence
    start: date
    end: date
    adjustment: Adjustment
    clocks: tuple[tuple[tzinfo, tuple[time, ...]], ...]

    def next_after(self, instant_ms: int, calendar: Calendar) -> int | None:
        """Epoch milliseconds of the first occurrence that is later than `instant_ms`, or None when there is none (within `STEPS`
        periods). `calendar`: the days without business."""
        start, end = self.start, min(self.end, LAST)
        since = max(start, _utc_date(instant_ms, start) - timedelta(days=SPREAD))
        if since > end:
            return None
        first = period(self.rule, start, max(start, since - timedelta(days=REACH)))
        best: int | None = None
        enough = end
        for number in range(first, first + STEPS):
            found = dates(self.rule, start, number)
            if found is None:
                break
            for day in found:
                if day > end:
                    return best
                moved = adjusted(day, self.adjustment, calendar) if day >= start else None
                if moved is None or moved < since:
                    continue
                if moved > enough:
                    return best
                at = self._first_on(moved, instant_ms)
                if at is not None and (best is None or at < best):
                    best = at
                    # Zones of their own may make a time of a later date come first; in one zone days do not overlap.
                    enough = moved if len(self.clocks) == 1 else min(end, moved + timedelta(days=SPREAD))
        return best

    def _first_on(self, day: date, after: int) -> int | None:
        """The first occurrence of that day that is later than `after`."""
        best: int | None = None
        for zone, clocks in self.clocks:
            at = bisect_right(clocks, after, key=lambda clock, zone=zone: instant(day, clock, zone))  # type: ignore[misc]
            if at < len(clocks):
                found = instant(day, clocks[at], zone)
                best = found if best is None else min(best, found)
        return best


def shifted(day: date, days: int, how: Adjustment, calendar: Calendar) -> date | None:
    """The date so many days on (back when negative), moved to a business day; None when there is none, or beyond all dates."""
    ordinal = day.toordinal() + days
    if not EARLIEST.toordinal() <= ordinal <= LAST.toordinal():
        return None
    return adjusted(date.fromordinal(ordinal), how, calendar)


def _utc_date(instant_ms: int, start: date) -> date:
    """The date of an instant; of one that is long before `start` or after everything, one before or after."""
    try:
        return max(moment(instant_ms).date(), start - timedelta(days=SPREAD))
    except OverflowError:
        return start if instant_ms < 0 else date.max
