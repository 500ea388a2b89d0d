"""A wall clock that is ahead by so many seconds, in every Python process that has this directory on its path.

For tests of what happens at times of day: `tests.server.running.fresh(..., ahead=60.0)`.
"""

from __future__ import annotations

import os
import time

AHEAD = float(os.environ.get("PELTON_TEST_AHEAD", "0"))
_nanoseconds = time.time_ns


def _ahead_ns() -> int:
    return _nanoseconds() + int(AHEAD * 1_000_000_000)


def _ahead() -> float:
    return _ahead_ns() / 1_000_000_000


time.time_ns, time.time = _ahead_ns, _ahead
