"""What a cached run and a correlation point have in common: both are rows of the store that requests of one batch share.

Each is the store's state plus every batch that is not acknowledged yet. It belongs to at most one group of a batch; while it is
being read, or after a group that touched it was lost, requests that need it wait.
"""

from __future__ import annotations

from typing import Any, Protocol


class InBatch(Protocol):
    """A commit group, as seen by the runs and points that it touches."""

    alone: bool
    batch: Any
    requests: list[Any]

    @property
    def full(self) -> bool: ...


class Shared:
    __slots__ = ("busy", "group", "pins", "stale", "waiting")

    def __init__(self, busy: bool = False) -> None:
        self.pins = 0  # batches that touch it and are not acknowledged
        self.busy = busy  # being read: whoever wants it waits
        self.stale = False  # a lost group has touched it: used for nothing until its pins are gone
        self.waiting: list[Any] = []  # requests, in their order
        self.group: InBatch | None = None  # the last group that it was part of
