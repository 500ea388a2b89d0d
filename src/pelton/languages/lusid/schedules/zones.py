"""Local times of the zone database as instants, and instants as the texts that this language prints.

A local time that does not exist, since the clocks went forward over it, is the first instant after the gap. One that comes twice
is its first. So instants of one day are in the order of its local times.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
LONGEST_NAME = 64  # characters of a zone's name


@cache
def known_zones() -> frozenset[str]:
    """The names of the zone database that comes with us, so that a name is good on every machine or on none."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def zone_problem(name: str) -> str | None:
    """What to do about a name that is no zone's, or None when it is one."""
    if name in known_zones():
        return None
    remedy = "give a TZ identifier such as Europe/London"
    near = get_close_matches(name, known_zones(), 1) if len(name) <= LONGEST_NAME else []
    return f"{remedy}; {near[0]!r} has a similar name" if near else remedy


def zone(name: str) -> ZoneInfo:
    """Of a name that `zone_problem` has nothing against."""
    return ZoneInfo(name)


def instant(day: date, clock: time, zone: ZoneInfo) -> int:
    """Epoch milliseconds of that local time. `clock` has no zone of its own."""
    plain = datetime.combine(day, clock)
    first, second = plain.replace(tzinfo=zone).utcoffset(), plain.replace(tzinfo=zone, fold=1).utcoffset()
    assert first is not None
    assert second is not None
    since = plain.replace(tzinfo=UTC) - EPOCH
    if first >= second:
        return (since - first) // MILLISECOND
    return _first_with(second, since - second, since - first, zone) // MILLISECOND


def _first_with(offset: timedelta, before: timedelta, after: timedelta, zone: ZoneInfo) -> timedelta:
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


def printed(milliseconds: int) -> str:
    """`2026-01-31T12:30:00.0000000+00:00`."""
    return f"{moment(milliseconds).strftime('%Y-%m-%dT%H:%M:%S.%f').rjust(26, '0')}0+00:00"
