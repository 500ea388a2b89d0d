"""The responses to the newest worker reports, so that a repeated report gets the same response again.

A worker reports and asks for more in one exchange. If the response is lost, the report has been applied, and the items
in the response are leased to a worker that has never seen them; without this memory they would wait for their lease to expire.
The worker repeats its report, through which the response is found: its outcome, and the items handed out with it.

The memory is a hint and never an authority. The kernel decides whether a report is a repeat (the step is over); the work queue
decides whether an item is still the worker's. So a missing entry (a restart, another node, many newer reports) costs no more than
an expired lease.

Invariants:
* Only reports that end a step are remembered, by (run, step, attempt, worker); others may be sent any number of times.
* An item is identified by its hand-out (polls and lease): after a heartbeat or another hand-out it is a different one.
* At most `most` reports are remembered: two generations, of which the older one is dropped as a whole.

Cost: one dictionary entry per report; nothing else unless a report is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import OpenStep
from pelton.runtime.api import ReportResult

MOST = 20_000  # reports
OVER = frozenset({Code.ENDED, Code.STEP_ENDED})  # codes of reports that come after the end of their step or run


class HandOut(NamedTuple):
    """One lease of one item to one worker."""

    run: int
    n: int
    polls: int
    lease: int

    @staticmethod
    def of(row: OpenStep) -> HandOut:
        return HandOut(row.run, row.n, row.polls, row.lease)


# The error of the report, and what went out in answer to it: one list for all reports of an exchange. Plain tuples, since one is
# made for every exchange.
Reply = tuple[PeltonError | None, list[HandOut]]
Key = tuple[int, int, int, str]  # run, step, attempt, worker


class Replies:
    __slots__ = ("_half", "_new", "_old")

    def __init__(self, most: int = MOST) -> None:
        self._half = max(1, most // 2)
        self._new: dict[Key, Reply] = {}
        self._old: dict[Key, Reply] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def know_any(self, reports: Sequence[tuple[int, Report]], worker: str) -> bool:
        """Whether one of these reports may be a repeat."""
        new, old = self._new, self._old
        for run, report in reports:
            key = (run, report.n, report.attempt, worker)
            if key in new or key in old:
                return True
        return False

    def settle(
        self, reports: Sequence[tuple[int, Report]], results: Sequence[ReportResult], worker: str
    ) -> tuple[list[HandOut], list[HandOut]]:
        """Remembers the results of these reports. A repeated one gets its original result.

        Returns the items of the original responses, and the list to which the caller adds what it hands out now.
        """
        earlier: list[HandOut] = []
        items: list[HandOut] = []
        accepted: Reply = (None, items)
        for (run, report), result in zip(reports, results, strict=True):
            if report.status is None or not report.n:
                continue
            key = (run, report.n, report.attempt, worker)
            reply = accepted
            if result.error is not None:
                if result.error.code not in OVER:
                    continue
                known = self._new.get(key) or self._old.get(key)
                if known is not None:
                    result.error, result.repeated = known[0], True
                    earlier += known[1]
                reply = (result.error, items)
            self._new[key] = reply
        if len(self._new) >= self._half:
            self._old, self._new = self._new, {}
        return (list(dict.fromkeys(earlier)) if earlier else earlier), items
