"""Finding runs by the values of their variables, through the store's index.

The rarest of the values gives the candidates; the other values are looked up in the same way, or, where too many runs have them,
in the variables of each candidate. Results are as of the last commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON
from pelton.kernel.machine.searching import PREFIX, search_text
from pelton.kernel.model.reads import ThreadsKey, VarsKey
from pelton.kernel.model.state import Run, RunStatus
from pelton.store.port import Store

CANDIDATES = 10_000


class Wanted(NamedTuple):
    """See `Engine.runs`."""

    process: str
    live: bool | None
    before: int
    since: int
    until: int
    status: int
    variables: Sequence[tuple[str, JSON]]

    def accepts(self, head: Run) -> bool:
        return (
            (not self.before or head.key < self.before)
            and self.since <= head.created
            and (not self.until or head.created < self.until)
            and (self.live is None or self.live != RunStatus(head.status).ended)
            and self.status in (-1, head.status)
            and head.status != RunStatus.EXPECTED
        )


async def runs_with(store: Store, ns: str, wanted: Wanted, limit: int) -> list[Run]:
    """The newest runs that have all of the values, at most `limit`. Raises PeltonError "too large"."""
    conjuncts = [[(PREFIX + name, search_text(value), True)] for name, value in wanted.variables]
    keys = await store.candidates(ns, wanted.process, conjuncts, CANDIDATES)
    if keys is None:
        raise PeltonError(
            Code.TOO_LARGE,
            f"more than {CANDIDATES} runs have each of these values",
            field="variable",
            value=wanted.variables[0][0],
            remedy="name a process, or a further variable with a rarer value",
        )
    found: list[Run] = []
    for key in reversed(keys):
        head = await store.head(key)
        if head is not None and wanted.accepts(head) and (len(conjuncts) == 1 or await _has(store, head, wanted)):
            found.append(head)
            if len(found) == limit:
                break
    return found


async def _has(store: Store, head: Run, wanted: Wanted) -> bool:
    """Whether some thread of the run has each of the values."""
    (threads,) = await store.read(head, [ThreadsKey()])
    numbers = sorted({0, *(thread.no for thread in threads)})
    variables = await store.read(head, [VarsKey(no) for no in numbers])
    return all(
        any(name in known and search_text(known[name]) == search_text(value) for known in variables)
        for name, value in wanted.variables
    )
