"""Time zones by the names that callers use."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

LONGEST_NAME = 64  # characters of a zone's name


@cache
def known_zones() -> frozenset[str]:
    """The names in the bundled time zone database, so that a name is valid on every machine or on none."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def zone_problem(name: str) -> str | None:
    """The problem with a name, with the remedy; None if it is a valid time zone."""
    if name in known_zones():
        return None
    remedy = "give a TZ identifier such as Europe/London"
    near = get_close_matches(name, known_zones(), 1) if len(name) <= LONGEST_NAME else []
    return f"{remedy}; {near[0]!r} has a similar name" if near else remedy


def zone(name: str) -> ZoneInfo:
    """Of a name that `zone_problem` has nothing against."""
    return ZoneInfo(name)
