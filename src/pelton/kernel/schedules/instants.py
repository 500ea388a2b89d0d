"""Local times as instants.

A local time that does not exist, since the clocks went forward over it, is the first instant after the gap. One that comes twice
is its first. So instants of one day are in the order of its local times.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)


def instant(day: date, clock: time, zone: tzinfo) -> int:
    """Epoch milliseconds of that local time. `clock`: without a zone."""
    plain = datetime.combine(day, clock)
    first, second = plain.replace(tzinfo=zone).utcoffset(), plain.replace(tzinfo=zone, fold=1).utcoffset()
    assert first is not None
    assert second is not None
    since = plain.replace(tzinfo=UTC) - EPOCH
    if first >= second:
        return (since - first) // MILLISECOND
    return _first_with(second, since - second, since - first, zone) // MILLISECOND


def _first_with(offset: timedelta, before: timedelta, after: timedelta, zone: tzinfo) -> timedelta:
    """The first second from which on the zone has that offset; `before` it has not, `after` it has."""
    low, high = before // SECOND, after // SECOND
    while high - low > 1:
        middle = (low + high) // 2
        if (EPOCH + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return timedelta(seconds=high)


def moment(milliseconds: int) -> datetime:
    """In UTC. Raises OverflowError beyond the years 1 to 9999."""
    return EPOCH + timedelta(milliseconds=milliseconds)
