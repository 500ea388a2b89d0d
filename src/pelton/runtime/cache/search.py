"""Finding runs by their records: by the store's index where a test can use it, else by looking at every record of the process.

What is found is as of the last commit, after everything that had been decided when the question came: an event sees what the
events before it have done. A question that no index can answer looks at all records, a page at a time, and lets others have their
turn in between.

Cost: with an index, one read per candidate; without, one per record of the process that is open. At most `MOST` runs are found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pelton.errors import Code, PeltonError
from pelton.kernel.model.reads import Codec
from pelton.kernel.model.state import Record
from pelton.store.port import Store

MOST = 200_000
CANDIDATES = 20_000  # more are not looked at one by one: then all records are read in order
PAGE = 500
LINKED = 2_000  # runs that are found by a link between runs

Alternatives = Sequence[tuple[str, str, bool]]
"""(attribute, text, whether it is how the text begins): one of them is enough."""


class Finder:
    def __init__(self, store: Store, settled: Callable[[], Awaitable[None]], codec: Codec) -> None:
        """`settled` returns when all that has been decided so far is committed."""
        self._store = store
        self._settled = settled
        self._codec = codec

    async def open(
        self, ns: str, process: str, where: Callable[[Record], bool], conjuncts: Sequence[Alternatives]
    ) -> tuple[list[int], bool]:
        """Runs of a process whose record is live and passes, oldest first; and whether there are more than are told. Raises
        PeltonError "expression" when `where` fails."""
        await self._settled()
        keys = await self._store.candidates(ns, process, conjuncts, CANDIDATES) if conjuncts else None
        found: list[int] = []
        if keys is not None:
            for at in range(0, len(keys), PAGE):
                page = await self._store.records_of(keys[at : at + PAGE])
                found += [record.run for record in page if record.live and self._passes(where, record)]
            return found[:MOST], len(found) > MOST
        after = 0
        while True:
            page = await self._store.records(ns, process=process, live=True, after=after, limit=PAGE)
            found += [record.run for record in page if self._passes(where, record)]
            if len(page) < PAGE or len(found) > MOST:
                return found[:MOST], len(found) > MOST
            after = page[-1].run
            await asyncio.sleep(0)

    def _passes(self, where: Callable[[Record], bool], record: Record) -> bool:
        try:
            return where(record)
        except Exception as error:  # its author's, or the record's: nobody else has to suffer for it
            what = f"the test failed for run {self._codec.run_id(record.run)}: {type(error).__name__}: {error}"
            raise PeltonError(Code.EXPRESSION, what) from error

    async def linked(self, ns: str, name: str, text: str) -> list[Record]:
        """Records of the runs that have an attribute, oldest run first, at most `LINKED`."""
        keys = await self._store.candidates(ns, "", [[(name, text, False)]], MOST) or []
        found: list[Record] = []
        for at in range(0, len(keys), PAGE):
            found += await self._store.records_of(keys[at : at + PAGE])
            if len(found) >= LINKED:
                return found[:LINKED]
        return found
