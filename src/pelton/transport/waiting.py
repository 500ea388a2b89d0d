"""Callers who wait for a run to come to something: look, wait until a commit touches the run, and look again.

Whoever waits registers before the first look, so that no commit between a look and the wait is missed. A look is made again
every second whatever happens: what it looks at may lie outside the run that is watched. Cost: one look for each commit that
touches the run, or each second.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pelton.runtime.api import Watch

LONGEST_PAUSE = 1.0  # seconds between two looks

T = TypeVar("T")


async def wait_until_found(watch: Watch, look: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
    """What `look` finds, as soon as it finds something; None after so many seconds. Looks at least once.

    Raises what `look` raises, and PeltonError "stopping" when the server stops.
    """
    deadline = time.monotonic() + seconds
    with watch:
        while (found := await look()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            await watch.changed(min(left, LONGEST_PAUSE))
    return found
