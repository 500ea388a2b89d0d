"""What a store tells in one answer about a run that is about to be changed (`Store.prefetch`)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from pelton.kernel.model.state import OpenStep, Record, Run, Step, Thread

PREFETCH_RUNS = 64  # in one question
PREFETCH_ROWS = 48  # of one kind, of one run
PREFETCH_BYTES = 64 << 10  # of the rows of one run


class Prefetched(Struct, gc=False):
    """Each kind is whole, or None: it is too much, and what is needed of it is read by key."""

    run: Run
    step: OpenStep | Step | None  # the one that was asked for, as `StepKey` answers
    open: list[OpenStep] | None
    ended: list[Step] | None
    threads: list[Thread] | None
    variables: list[tuple[int, str, Any]] | None  # thread, name, value
    record: Record | None
    size: int = 0  # bytes of all these rows as they are stored, about


class ByteBudget:
    """How many bytes there is room for."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0

    def takes(self, size: int) -> bool:
        """Whether there is room for these too; then it is taken."""
        if self.taken + size > PREFETCH_BYTES:
            return False
        self.taken += size
        return True


def is_short(run: Run) -> bool:
    """Whether its ended steps are few; those that a rewind has taken back would have to be told from the others."""
    return run.next_n <= PREFETCH_ROWS and not run.voids
