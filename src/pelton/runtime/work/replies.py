"""What the newest reports of workers were answered with, so that a report that is repeated gets the same answer again.

A worker reports and asks for more in one exchange. When the answer is lost on its way, the report has been applied, and the items
in the answer are leased to a worker that has never seen them: without this memory they would wait for their lease to run out. The
worker repeats its report, and by that report the answer is found: its outcome, and the items that went out with it.

The memory is a hint and never an authority. Whether a report is a repeat is what the kernel says (the step is over); whether an
item is still the worker's is what the work queue says. So an entry that is gone (a restart, another node, many newer reports)
costs no more than a lease that runs out.

Invariants:
* Only reports that end a step are remembered, by (run, step, attempt, worker): others may come any number of times.
* An item is known by its hand-out (polls and lease): a sign of life or another hand-out makes it another one.
* At most `most` reports are remembered: two generations, of which the older one goes as a whole.

Cost: one entry in a dictionary for each report; nothing else is done unless a report is repeated.
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
        """Remembers what came of these reports. The result of a repeated one becomes what it was the first time.

        Returns what the repeated ones were answered with, and the list to which the caller adds what it hands out now.
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
