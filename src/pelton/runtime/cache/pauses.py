"""Which processes are paused, as far as this server has asked.

A change counts from the moment at which it is decided here, before it is committed: what is decided after it goes by it, and
rests on it until it is there. Where other servers change pauses too, whatever is decided by one rests on its epoch.
"""

from __future__ import annotations

from collections import OrderedDict

from pelton.kernel.model.reads import ProcessPause
from pelton.store.port import Store
from pelton.store.rows import PauseRow

MOST = 10_000

Name = tuple[str, str]  # namespace, process


class Pauses:
    __slots__ = ("_known", "_store", "_undecided")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[Name, PauseRow] = OrderedDict()
        self._undecided: dict[Name, PauseRow] = {}  # on their way to the store

    def get(self, name: Name) -> PauseRow | None:
        """None: it has to be read first."""
        return self._undecided.get(name) or self._known.get(name)

    def is_undecided(self, name: Name) -> bool:
        return name in self._undecided

    async def prepare(self, name: Name) -> None:
        """Reads it if need be, so that what is decided next does not have to wait for that."""
        if self.get(name) is None:
            await self.read(name)

    async def read(self, name: Name) -> None:
        row = await self._store.pause(*name)
        self._learn(name, row or PauseRow(*name, epoch=0, paused=False))

    def decide(self, row: PauseRow) -> None:
        self._undecided[row.ns, row.process] = row

    def settle(self, row: PauseRow) -> None:
        """The change is committed."""
        self.forget((row.ns, row.process))
        self._learn((row.ns, row.process), row)

    def forget(self, name: Name) -> None:
        """It is another by now, or the change was lost."""
        self._undecided.pop(name, None)
        self._known.pop(name, None)

    def _learn(self, name: Name, row: PauseRow) -> None:
        self._known.setdefault(name, row)  # what was read may be older than what has been decided since
        if len(self._known) > MOST:
            self._known.popitem(last=False)


def pause_of(row: PauseRow) -> ProcessPause | None:
    return ProcessPause(row.since, row.by, row.why, row.refuses) if row.paused else None
