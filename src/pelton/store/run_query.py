"""A question for runs that is answered page by page, with how many there are in all."""

from __future__ import annotations

from typing import NamedTuple

from pelton.kernel.model.state import Run, RunStatus

EVERY_STATUS = tuple(int(status) for status in RunStatus if status != RunStatus.EXPECTED)


class RunQuery(NamedTuple):
    """Runs of a namespace: of these processes (None = of any), in one of these statuses (none given = in any; placeholders are
    never found), created from `since` on and before `until` (0 = no end), in milliseconds. Newest first, or with `ascending`
    oldest first: by when they were created, and among those of one millisecond by their keys."""

    ns: str
    processes: tuple[str, ...] | None = None
    statuses: tuple[int, ...] = ()
    since: int = 0
    until: int = 0
    ascending: bool = False

    def wanted(self) -> tuple[int, ...]:
        """The statuses, each once."""
        return tuple(dict.fromkeys(self.statuses)) or EVERY_STATUS

    def accepts(self, head: Run) -> bool:
        """Whether a run of one of the processes is one that is asked for."""
        return (
            head.ns == self.ns
            and head.status != RunStatus.EXPECTED
            and (not self.statuses or head.status in self.statuses)
            and self.since <= head.created
            and (not self.until or head.created < self.until)
        )
