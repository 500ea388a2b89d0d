"""Instants in this API's format: whole microseconds internally, seven fractional digits and +00:00 on the wire.

The seventh digit is always 0, because clients truncate to six: what they read and send back denotes the same instant.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
NEVER_BEFORE = "0001-01-01T00:00:00.0000000+00:00"  # the effective date of things that have none
EXPECTED = "a moment such as 2024-06-05, 2024-06-05T15:12Z or 2024-06-05T15:12:39.318175+00:00"

# The blank before an offset is the plus sign of a query that was not encoded.
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r"(?:([Zz])|([+\- ])(\d\d):?(\d\d)?)?)?",
    re.ASCII,
)


def parse_moment(text: str) -> int | None:
    """Microseconds since 1970, None when it is no moment. Without an offset it is UTC; what is finer is cut."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = found.groups()
    try:
        seconds = (date(int(year), int(month), int(day)).toordinal() - _FIRST_DAY) * 86_400
    except ValueError:
        return None
    if hour:
        # Two digits each, so that they compare as texts do.
        if hour > "23" or minute > "59" or (second and second > "59"):
            return None
        seconds += int(hour) * 3600 + int(minute) * 60 + int(second or 0)
        if sign:
            if hours > "23" or (minutes and minutes > "59"):
                return None
            offset = int(hours) * 3600 + int(minutes or 0) * 60
            seconds += offset if sign == "-" else -offset
    return seconds * SECOND + (int(fraction.ljust(6, "0")[:6]) if fraction else 0)


def pinned(text: str, now: int) -> int:
    """The instant whose version of a definition is meant, 0 = the latest: also for none, and for one in the future, as clients
    write "latest". `now`: microseconds."""
    at = parse_moment(text) if text else None
    return 0 if at is None or at > now else max(at, 1)


def has_clock(text: str) -> bool:
    """Whether a moment has a time of day: clients cannot read it back when it has none."""
    return ":" in text


def print_moment(at: int) -> str:
    """`2024-06-05T15:12:39.3181750+00:00`. Moments outside of the years 1 to 9999 are moved to the nearest of them."""
    at = min(max(at, _FIRST), _LAST)
    return (_NAIVE + timedelta(microseconds=at)).isoformat(timespec="microseconds") + "0+00:00"


def print_milliseconds(at: int) -> str:
    return print_moment(at * 1000)


_NAIVE = EPOCH.replace(tzinfo=None)
_FIRST_DAY = EPOCH.toordinal()
_FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
