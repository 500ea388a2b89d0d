"""Callers that wait for a condition of a run: check, wait until a commit touches the run, and check again.

A caller registers before the first check, so that no commit between a check and the wait is missed. The check is also repeated
every second, since it may depend on something outside the watched run. Cost: one check for each commit that
touches the run, and each second.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pelton.runtime.api import Watch

LONGEST_PAUSE = 1.0  # seconds between two looks

T = TypeVar("T")


async def wait_until_found(watch: Watch, look: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
    """The result of `look`, as soon as it is not None; None after that many seconds. Calls `look` at least once.

    Raises what `look` raises, and PeltonError "stopping" if the server stops.
    """
    deadline = time.monotonic() + seconds
    with watch:
        while (found := await look()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            await watch.changed(min(left, LONGEST_PAUSE))
    return found
