"""Times as people give them on the command line: an age such as `2h`, a date, or a date with a time of day."""

from __future__ import annotations

import re
import time
from datetime import datetime

import click

UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_AGE = re.compile(r"([0-9]{1,9})([smhdw])")


def epoch_milliseconds(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """Callback of an option; 0 for what is not given."""
    text = value.strip()
    if not text:
        return 0
    if found := _AGE.fullmatch(text):
        return max(1, int(time.time() * 1000) - int(found[1]) * UNITS[found[2]])
    try:
        return max(1, int(datetime.fromisoformat(text).astimezone().timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{text!r} is no time: give an age such as 30m, 2h or 7d, or a time such as 2026-05-01T12:00", context, parameter
        ) from None
