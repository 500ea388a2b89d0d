"""Durations and points in time, in the syntax of WAIT tasks."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

_DURATION = re.compile(
    r"\s*(?:(\d{1,9})\s*(?:days?|d))?\s*(?:(\d{1,9})\s*(?:hours?|hrs?|h))?\s*(?:(\d{1,9})\s*(?:minutes?|mins?|m))?"
    r"\s*(?:(\d{1,9})\s*(?:seconds?|secs?|s))?\s*",
    re.IGNORECASE,
)
_MOMENT = re.compile(r"\s*(\d{4})-(\d\d?)-(\d\d?)(?:\s+(\d\d?):(\d\d)(?:\s+(\S{1,64}))?)?\s*")
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])(\d\d?):?(\d\d)?", re.IGNORECASE)
MOST = 100 * 365 * 86_400_000  # milliseconds: a wait of a century is a mistake

# Zone abbreviations that mean one thing to most people; others are names of the zone database.
_ABBREVIATIONS = {
    "Z": "UTC", "UTC": "UTC", "GMT": "UTC", "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles", "MST": "America/Denver",
    "MDT": "America/Denver", "CST": "America/Chicago", "CDT": "America/Chicago", "EST": "America/New_York",
    "EDT": "America/New_York", "CET": "Europe/Paris", "CEST": "Europe/Paris", "BST": "Europe/London", "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo", "AEST": "Australia/Sydney", "AEDT": "Australia/Sydney", "PT": "America/Los_Angeles",
    "ET": "America/New_York", "CT": "America/Chicago", "MT": "America/Denver", "MSK": "Europe/Moscow", "WET": "Europe/Lisbon",
    "EET": "Europe/Athens", "SGT": "Asia/Singapore", "HKT": "Asia/Hong_Kong", "NZST": "Pacific/Auckland",
}  # fmt: skip


def duration(text: str) -> int | None:
    """Milliseconds of `1 day 2 hours`, `10s`; None for any other text."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000
    return total if total <= MOST else None


def moment(text: str) -> int | None:
    """Epoch milliseconds of `2026-01-31`, `2026-01-31 12:30`, `2026-01-31 12:30 CET` (UTC without a zone), or None."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, name = found.groups()
    zone = _zone(name) if name else UTC
    if zone is None:
        return None
    try:
        at = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), tzinfo=zone)
        return int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo | timezone | None:
    found = _OFFSET.fullmatch(name)
    if found is not None:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        return timezone(offset if found[1] == "+" else -offset) if offset < timedelta(hours=24) else None
    known = _ABBREVIATIONS.get(name.upper(), name)
    if known == "UTC":
        return UTC
    try:
        return ZoneInfo(known)
    except (OSError, ValueError, KeyError):
        return None
