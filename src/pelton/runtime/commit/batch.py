"""The batch being gathered: its groups, and the group that each run or correlation point belongs to.

Invariant: a run or point is in at most one group of a batch. Requests that touch the same one merge their groups, the smaller
into the larger, so that a batch of any shape costs n log n moves.
"""

from __future__ import annotations

from pelton.runtime.cache.shared import Shared
from pelton.runtime.commit.group_builder import GroupBuilder
from pelton.store.rows import RunKeyRow

BATCH_JOBS = 1_000
BATCH_ROWS = 8_000
EARLY_JOBS = 256  # a batch of this size need not wait for the one before


class Batch:
    """`groups`: in the order in which they were started."""

    __slots__ = ("count", "groups", "instant", "named", "number", "patient", "rows", "runs_named", "shared")

    def __init__(self, number: int, shared: bool = False) -> None:
        """`shared`: other servers write to the store too."""
        self.number = number
        self.shared = shared
        self.groups: dict[int, GroupBuilder] = {}
        self.count = 0
        self.instant = 0  # everything that was decided up to then is in this batch, or in one before
        self.rows = 0
        self.named: list[RunKeyRow] = []  # names given in its groups, that `run_named` has not seen yet
        self.runs_named: dict[tuple[str, str, str, str], int] = {}
        self.patient = False  # it is built on one that is being written, without a condition that the store would check

    @property
    def full(self) -> bool:
        return bool(self.groups) and (len(self.groups) >= BATCH_JOBS or self.rows >= BATCH_ROWS)

    @property
    def early(self) -> bool:
        return not self.patient and (len(self.groups) >= EARLY_JOBS or self.rows >= BATCH_ROWS // 2)

    def new(self) -> GroupBuilder:
        self.count += 1
        builder = self.groups[self.count] = GroupBuilder(self, self.count)
        return builder

    def run_named(self, name: tuple[str, str, str, str]) -> int:
        """The run that is given a name (ns, kind, process, text) here, 0 = none."""
        for row in self.named:
            self.runs_named[row.ns, row.kind, row.process, row.text] = row.run
        self.named.clear()
        return self.runs_named.get(name, 0)

    def drop(self, builder: GroupBuilder) -> None:
        del self.groups[builder.group.number]

    def joined(self, builder: GroupBuilder | None, shared: Shared) -> GroupBuilder | None:
        """The group that holds all of `builder` and the run or point; None if there is none yet."""
        other: GroupBuilder | None = shared.group  # type: ignore[assignment]  # a group of this batch is one that it made
        if other is None or other.batch is not self or other is builder:
            return builder
        if builder is None:
            return other
        larger, smaller = (builder, other) if len(builder.deltas) >= len(other.deltas) else (other, builder)
        larger.join(smaller)
        self.drop(smaller)
        return larger
