"""The workspace: what this process knows about the store, what it has not written yet, and what else decisions need.

The committer creates it and passes it on. Units of work, requests, the loader and the pending signals share it, and do not
depend on the committer. Only the committer opens a new batch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pelton.kernel.model.state import Run
from pelton.kernel.model.transition import Announcement
from pelton.runtime.api import EventIn, WorkHooks
from pelton.runtime.cache.correlations import CorrelationCache
from pelton.runtime.cache.descendants import Descendants
from pelton.runtime.cache.lookups import Lookups, SearchResult
from pelton.runtime.cache.pauses import Pauses
from pelton.runtime.cache.record_log import RecordLog
from pelton.runtime.cache.runs import RunCache
from pelton.runtime.cache.search import Finder
from pelton.runtime.cache.search_lanes import SearchLanes
from pelton.runtime.commit.batch import Batch
from pelton.runtime.commit.durable import DurableAnnouncement, encode_signal
from pelton.runtime.commit.group_builder import EffectRows, GroupBuilder
from pelton.runtime.definitions.definitions import DefinitionCache, Write
from pelton.runtime.ids import IdCodec, Instants
from pelton.store.group import Lookup
from pelton.store.port import Store
from pelton.store.rows import PendingSignalRow
from pelton.telemetry.spans import NO_SPANS


class Workspace:
    """`write` commits rows in a separate group; `settled` returns when everything decided so far is committed."""

    __slots__ = (
        "_write",
        "cache",
        "codec",
        "correlations",
        "definitions",
        "descendants",
        "effects",
        "finder",
        "instants",
        "keys",
        "lanes",
        "listens",
        "lookups",
        "open_batch",
        "pauses",
        "record_log",
        "settled",
        "shared",
        "spans",
        "store",
        "work",
    )  # fmt: skip

    def __init__(
        self,
        store: Store,
        codec: IdCodec,
        keys: Callable[[], int],
        write: Write,
        settled: Callable[[], Awaitable[None]],
        cache_bytes: int,
    ) -> None:
        self.store = store
        self.codec = codec
        self.keys = keys  # makes keys of runs and rows, each higher than the one before
        self.cache = RunCache(cache_bytes)
        self.correlations = CorrelationCache(store)
        self.instants = Instants(store.now)
        self.definitions = DefinitionCache(store, keys, write, self.instants)
        self.effects = EffectRows(codec, keys)
        self.spans = NO_SPANS
        self.lookups = Lookups()
        self.pauses = Pauses(store)
        self.descendants = Descendants(store)
        self.settled = settled
        self.lanes = SearchLanes()
        self.record_log = RecordLog()
        self._write = write
        self.finder = Finder(store, settled, codec)
        self.shared = store.shared
        self.open_batch = Batch(1, self.shared)
        self.work: WorkHooks | None = None
        self.listens: Callable[[str, str], bool] = lambda ns, kind: False  # whether a handler is for events of that type

    def publish_fact(
        self, builder: GroupBuilder, head: Run, fact: Announcement, now: int, hops: int, ancestor: int, removed: bool = False
    ) -> None:
        """Turns an announcement that a handler listens to into an event, through a durable job in the same commit. `removed`: the
        run is removed in that commit, with its rows."""
        data = {"run": self.codec.run_id(head.key), "n": fact.n, "data": fact.data}
        event = EventIn(
            source="pelton",
            type=fact.type,
            ns=head.ns,
            id=f"{self.codec.step_id(head.key, fact.n)}-{head.rev}-{fact.type}",
            subject=self.codec.run_id(head.key),
            time=now,
            door="server",
            body=data,
            hops=max(head.hops, hops) + 1,
            ancestor=ancestor or head.passes_on,
            trace=self.spans.of_run(head.trace, head.key),
        )
        run = 0 if removed else head.key
        builder.enqueue(PendingSignalRow(self.keys(), run, encode_signal(DurableAnnouncement(event)), now, job=True))

    async def begin_lookups(self, lookups: Sequence[Lookup]) -> tuple[dict[Lookup, int], dict[Lookup, int]]:
        """Called before runs are looked up by attributes; waits until everything decided so far is committed. Returns what the
        answer rests on here, and in the store where others write to it."""
        await self.finder.settled()
        moves = {lookup: self.lookups.begin(lookup) for lookup in lookups}
        revisions: dict[Lookup, int] = {}
        if self.shared:
            for lookup in lookups:
                while not (revision := await self.store.lookup(lookup)):
                    await self._write(lambda group, lookup=lookup: group.looked.append(lookup))  # type: ignore[misc]
                revisions[lookup] = revision
        return moves, revisions

    async def look_up(self, lookup: Lookup) -> SearchResult:
        """Runs that have an attribute."""
        moves, revisions = await self.begin_lookups([lookup])
        return SearchResult(await self.finder.linked(*lookup), moves, revisions)

    def forget(self, key: int) -> None:
        """Drops a run that is being removed from memory."""
        self.record_log.forget(key)
        entry = self.cache.peek(key)
        if entry is not None:
            if entry.pins:
                entry.stale = True
            else:
                self.cache.drop(entry)
