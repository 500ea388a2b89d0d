"""Why a request leaves the batch being gathered, without a trace, to be performed again later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pelton.runtime.cache.correlations import PointName
from pelton.runtime.cache.runs import RunEntry
from pelton.runtime.cache.shared import Shared


class Suspend(Exception):
    """The request cannot continue until something is available: answers about a run (`keys` of `entry`), runs or correlation
    points to be loaded, bindings to be made, another request's read of a run or point (`wait`), or something that only the
    request itself knows (`fetch`)."""

    def __init__(
        self,
        entry: RunEntry | None = None,
        keys: tuple[Any, ...] = (),
        loads: tuple[int, ...] = (),
        bindings: tuple[tuple[str, str, int], ...] = (),
        wait: Shared | None = None,
        fetch: Callable[[], Awaitable[object]] | None = None,
        point: PointName | None = None,
    ) -> None:
        super().__init__()
        self.entry = entry
        self.keys = keys
        self.loads = loads
        self.bindings = bindings
        self.wait = wait
        self.fetch = fetch
        self.point = point
        self.started: list[RunEntry] = []  # those of `loads`, once the read has started


class NextCommit(Exception):
    """A signal to a run that the unit of work has changed reads rows of it that are not in the store before this commit is."""


class NextBatch(Exception):
    """The group that the request would join is full."""
