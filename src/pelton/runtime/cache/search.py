"""Finding runs by their records: through the store's index if a test can use it, otherwise by scanning every record of the
process.

A search reads what is in the store. `open` waits until everything that had been decided when it was requested is there; `read`
does not, and is for those who look at the records that have changed since as well (`record_log`). A search that no index can
answer scans all records, a page at a time, and yields to other work in between.

Cost: with an index, one read per candidate; without, one per open record of the process. At most `MOST` runs are found.
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
"""(attribute, text, whether the text is a prefix); matching one of them is enough."""


class Finder:
    def __init__(self, store: Store, settled: Callable[[], Awaitable[None]], codec: Codec) -> None:
        """`settled` returns when everything decided so far is committed."""
        self._store = store
        self.settled = settled  # returns when everything decided so far is committed
        self._codec = codec

    async def open(
        self, ns: str, process: str, where: Callable[[Record], bool], conjuncts: Sequence[Alternatives]
    ) -> tuple[list[Record], bool]:
        """Records of a process that are live and match, of the oldest runs first; and whether there are more. Raises
        PeltonError "expression" if `where` fails."""
        await self.settled()
        return await self._found(ns, process, lambda record: self.passes(where, record), conjuncts)

    async def read(
        self, ns: str, process: str, where: Callable[[Record], bool], conjuncts: Sequence[Alternatives]
    ) -> tuple[list[Record], bool]:
        """The same, as the store has it at some time after the call; and those for which `where` fails."""

        def may_pass(record: Record) -> bool:
            try:
                return where(record)
            except Exception:  # whether it fails matters only if it still is as it was read
                return True

        return await self._found(ns, process, may_pass, conjuncts)

    async def some(self, ns: str, process: str, most: int) -> tuple[list[Record], bool]:
        """Live records of a process, at most so many; and whether there are more."""
        page = await self._store.records(ns, process=process, live=True, limit=most + 1)
        return page[:most], len(page) > most

    async def _found(
        self, ns: str, process: str, passes: Callable[[Record], bool], conjuncts: Sequence[Alternatives]
    ) -> tuple[list[Record], bool]:
        keys = await self._store.candidates(ns, process, conjuncts, CANDIDATES) if conjuncts else None
        found: list[Record] = []
        if keys is not None:
            for at in range(0, len(keys), PAGE):
                page = await self._store.records_of(keys[at : at + PAGE])
                found += [record for record in page if record.live and passes(record)]
            return found[:MOST], len(found) > MOST
        after = 0
        while True:
            page = await self._store.records(ns, process=process, live=True, after=after, limit=PAGE)
            found += [record for record in page if passes(record)]
            if len(page) < PAGE or len(found) > MOST:
                return found[:MOST], len(found) > MOST
            after = page[-1].run
            await asyncio.sleep(0)

    def passes(self, where: Callable[[Record], bool], record: Record) -> bool:
        """Raises PeltonError "expression" if `where` fails."""
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
