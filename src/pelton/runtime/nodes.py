"""The servers that share a store: which number this one has, which others live, and how far all of them have got.

A server's row has a number, from which its keys are made, and an epoch. Every group of it is fenced by its epoch, so when another
server raises it, because this one has shown no sign of life, nothing more of what this one decided is written. What a server has
claimed, and the work that its own operations hold, is free from then on.

An instant is settled when every living server has settled it. A server writes how far it has got before it reads how far the
others have, and one that joins reads again after its own row is there: so it decides nothing for an instant that was announced.

A server that has its store for itself has no row: number 0, and nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pelton.errors import Code, PeltonError
from pelton.runtime.ids import NODES, Instants, KeyClock
from pelton.runtime.services import Clock, CommitPort, OwnedTasks, log, say, sleep
from pelton.store.group import ClaimWrite, Group, NodeMark, NodeWrite
from pelton.store.port import Store
from pelton.store.rows import NodeRow

BEAT = 1_000  # milliseconds between signs of life
DEAD = 10_000  # milliseconds without one after which a server is declared dead
TRIES = 16


class Nodes:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        committer: CommitPort,
        keys: KeyClock,
        instants: Instants,
        settled: Callable[[], int],
        number: int = 0,
    ) -> None:
        """`settled()`: the instant up to which everything decided here is committed. `number`: 0 = a free one."""
        self.number = number
        self.epoch = 0
        self.shared = store.shared
        self.rows: dict[int, NodeRow] = {}
        self._store = store
        self._clock = clock
        self._committer = committer
        self._keys = keys
        self._instants = instants
        self._settled = settled
        self._instant = 0
        self._noticed: dict[int, tuple[int, int]] = {}  # the last sign of life of each, and when it was noticed here
        self.on_fall: Callable[[], None] | None = None
        self.on_gone: Callable[[], None] | None = None  # another server is gone: what it left is everybody's
        self._tasks = OwnedTasks("nodes")

    def fall(self) -> None:
        """This server was declared dead: it gives no further sign of life."""
        if self.on_fall is not None:
            self.on_fall()

    # ---- coming and going

    async def join(self) -> None:
        """Raises PeltonError "unavailable" if there is no free number."""
        if not self.shared:
            return
        for _ in range(TRIES):
            rows = {row.number: row for row in await self._store.nodes()}
            number = self.number or next((each for each in range(1, NODES) if each not in rows or not rows[each].seen), 0)
            if not number:
                raise PeltonError(Code.UNAVAILABLE, f"{NODES - 1} servers share the store already: stop one of them")
            old = rows.get(number)
            floor = max((row.settled for row in rows.values()), default=0)
            expected, epoch = (old.epoch, old.epoch + 1) if old is not None else (0, 1)
            write = NodeWrite(number, expected, epoch, self._clock.now(), floor)
            [done] = await self._store.commit([Group(1, nodes=[write])])
            if done.ok:
                self.number, self.epoch = number, epoch
                break
        else:
            raise PeltonError(Code.UNAVAILABLE, "other servers were starting at the same time; start this one again")
        self._keys.take(self.number)
        await self._read()
        self._instants.last = max(self._instants.last, *(row.settled for row in self.rows.values()))
        self._tasks.keep(self._beats(), "signs of life")

    async def leave(self) -> None:
        """Called when everything is written."""
        await self._tasks.stop()
        if self.epoch:
            await self._end(NodeRow(self.number, self.epoch, 0, self._settled(), 0))
            self.epoch = 0

    async def declare_dead(self, number: int) -> bool:
        """False if it has gone, or come again, meanwhile."""
        row = next((row for row in await self._store.nodes() if row.number == number), None)
        return row is not None and await self._end(row)

    async def _end(self, row: NodeRow) -> bool:
        write = NodeWrite(row.number, row.epoch, row.epoch + 1, 0, row.settled)
        try:
            [done] = await self._store.commit([Group(1, nodes=[write])])
        except Exception as error:
            log.warning("a server's row was not written", node=row.number, error=say(error))
            return False
        return done.ok

    # ---- what each batch says

    @property
    def fence(self) -> tuple[int, int]:
        return self.number, self.epoch

    def mark(self, batch: int) -> NodeMark:
        return NodeMark(self.number, self.epoch, batch, self._clock.now(), 0)

    @property
    def name(self) -> str:
        """As a worker of built-in queues."""
        return f"{self.number}.{self.epoch}"

    def is_gone(self, worker: str) -> bool:
        """Whether the server is gone that is a worker of built-in queues by this name; also one that never shared the store."""
        number, _, epoch = worker.partition(".")
        row = self.rows.get(int(number)) if number.isdecimal() else None
        return row is None or not row.seen or str(row.epoch) != epoch

    def is_mine(self, key: int) -> bool:
        """Whether a key was made here, or by a server that is gone."""
        maker = KeyClock.maker(key)
        row = self.rows.get(maker)
        return maker == self.number or row is None or not row.seen

    # ---- what one server at a time does

    async def claim(self, kind: str, names: Sequence[str]) -> set[str]:
        """Those that this server has now; all of them if it has its store for itself."""
        if not self.shared:
            return set(names)
        now = self._clock.now()
        claims = [ClaimWrite(kind, name, self.number, self.epoch, now) for name in names]
        done = await self._committer.write(lambda group: group.claims.extend(claims))
        return set(names) - {names[place] for place in done.refused} if done.ok else set()

    async def unclaim(self, kind: str, names: Sequence[str]) -> None:
        if self.shared:
            claims = [ClaimWrite(kind, name, self.number, self.epoch, 0) for name in names]
            await self._committer.write(lambda group: group.unclaimed.extend(claims))

    # ---- instants

    def instant(self) -> int:
        return max(self._instant, 1) if self.epoch else self._settled()  # 0 would stand for now

    async def reach(self) -> int:
        """The settled instant, as soon as it is as late as all that this server has decided so far."""
        wanted = self._settled()
        while self.epoch and self._instant < wanted:
            await self.beat()
            if self._instant < wanted:
                await sleep(self._clock, BEAT // 10)
        return self.instant()

    # ---- signs of life

    async def _beats(self) -> None:
        while True:
            try:
                await self.beat()
            except Exception as error:
                log.warning("no sign of life could be given", error=say(error))
            await sleep(self._clock, BEAT)

    async def beat(self) -> None:
        settled = self._settled()
        write = NodeWrite(self.number, self.epoch, self.epoch, self._clock.now(), settled)
        done = await self._committer.write(lambda group: group.nodes.append(write))
        if not done.ok:
            return
        before = self._living()
        await self._read()
        if self.on_gone is not None and not before <= self._living():
            self.on_gone()
        self._instant = max(self._instant, min(row.settled for row in self.rows.values() if row.seen))
        for row in list(self.rows.values()):
            if row.number != self.number and row.seen and self._is_silent(row):
                log.warning("a server gives no sign of life and is declared dead", node=row.number)
                await self._end(row)

    def _living(self) -> set[tuple[int, int]]:
        return {(row.number, row.epoch) for row in self.rows.values() if row.seen}

    async def _read(self) -> None:
        self.rows = {row.number: row for row in await self._store.nodes()}

    def _is_silent(self, row: NodeRow) -> bool:
        now = self._clock.now()
        seen, at = self._noticed.get(row.number, (-1, now))
        if seen != row.seen:
            self._noticed[row.number] = (row.seen, now)
            return False
        return now - at > DEAD

    def stats(self) -> dict[str, Any]:
        return {"number": self.number, "epoch": self.epoch, "living": sum(1 for row in self.rows.values() if row.seen)}
