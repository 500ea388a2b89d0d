"""The store: the one door to durable state. One conformance suite holds every implementation to this page.

Writes come in batches of commit groups. A group is all or nothing; the groups of one batch do not share their fate. A group says
which revision of each run it was decided on (`runs`, `reads`); when one has moved, the group is lost and changes nothing.
Reads see only what is committed. `now` is the store's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct

from pelton.kernel.model.state import OpenStep, Record, Run, Step
from pelton.store.group import Committed, Group
from pelton.store.rows import (
    BookmarkRow,
    DeadLetter,
    DefinitionRow,
    Delivery,
    EventRow,
    HeldRow,
    LogRow,
    PendingSignalRow,
    ResultRow,
    TimerRow,
    WaitKeyRow,
)

Durability = Literal["full", "relaxed"]
"""full: what was acknowledged survives a power cut. relaxed: it survives a crash of the process only."""


class RowCounts(Struct):
    """Rows touched so far: a test reads the difference over one signal."""

    rows_read: int = 0
    rows_written: int = 0
    commits: int = 0


class HandlerChange(NamedTuple):
    """What made the counter of a namespace's handlers this value: the row that was closed (0 = none), and the new one."""

    counter: int
    gone: int
    row: DefinitionRow | None


class Store(Protocol):
    counts: RowCounts

    async def open(self) -> None:
        """Takes the lock, migrates the schema, starts what it needs. Raises StoreBusy when another server has the file."""
        ...

    async def close(self) -> None: ...
    async def lost(self) -> str:
        """Returns when nothing can be written any more until the store is opened again, and says why."""
        ...

    def now(self) -> int:
        """Epoch milliseconds; never goes back."""
        ...

    @property
    def secret(self) -> bytes:
        """32 bytes made once, kept in the store: ids are hashed with it."""
        ...

    async def commit(self, groups: Sequence[Group]) -> list[Committed]:
        """One durable write; groups are judged as if one came after the other. Several calls may be under way: they take effect
        in the order in which they were started. Raises StoreFailed when nothing at all could be written."""
        ...

    # ---- runs
    async def head(self, key: int) -> Run | None: ...
    async def read(self, run: Run, keys: Sequence[Any]) -> list[Any]:
        """Answers keys of kernel.model.reads that are about one run (NewestKey, NewestBelowKey, SlotKey, IterationKey, StepKey,
        OpenKey, ParkedKey, EndedKey, VarKey, VarsKey, ThreadKey, ThreadsKey, FragmentKey, RecordKey, HeldKey with key ""),
        skipping the run's void ranges."""
        ...

    async def steps(self, run: Run, after: int, limit: int) -> list[OpenStep | Step]:
        """Steps by number, ascending, open (n > 0) and ended together, void ones left out."""
        ...

    async def runs(
        self,
        ns: str,
        *,
        process: str = "",
        live: bool | None = None,
        before: int = 0,
        since: int = 0,
        until: int = 0,
        limit: int = 100,
    ) -> list[Run]:
        """Newest first, keys below `before` when given; created from `since` on, before `until`, in milliseconds. Placeholders
        are left out."""
        ...

    async def run_keys(self, ns: str, kind: str, process: str, text: str, live: bool) -> list[int]:
        """Runs by another name, newest first, at most 1000. process "" = any. `live`: only names that are not freed."""
        ...

    async def logs(self, run: int, n: int, limit: int) -> list[LogRow]: ...
    # ---- records: the documents of runs, as they are and as they were. Instants are microseconds.
    async def record(self, run: int, at: int = 0) -> Record | None:
        """As it is (`at` 0), or as it was at that instant: since <= at < until."""
        ...

    async def past(self, run: int, after: int = 0, limit: int = 1000) -> list[tuple[Record, int]]:
        """Superseded values and until when each was good, oldest first: those whose `since` is later than `after`."""
        ...

    async def records(
        self,
        ns: str,
        *,
        process: str = "",
        at: int = 0,
        live: bool | None = None,
        after: int = 0,
        limit: int = 500,
    ) -> list[Record]:
        """By run key, ascending, keys above `after`; process "" = any. With `at`, each as it was then, whatever happened to it
        since: pages that give the same `at` are pages of one list. `live` asks about the value that is given. Fewer than
        `limit`: that was all."""
        ...

    async def candidates(
        self, ns: str, process: str, conjuncts: Sequence[Sequence[tuple[str, str, bool]]], most: int
    ) -> list[int] | None:
        """Keys of the runs that one of the conjuncts, the one with the fewest rows, can be true of; ascending.

        A conjunct is a list of alternatives (name of an attribute, its value, whether that is only how the value begins); one
        without alternatives is true of nothing. None when there is no conjunct, or the best has more than `most` rows: no more
        than that are looked at. process "" = any.
        """
        ...

    async def records_of(self, runs: Sequence[int]) -> list[Record]:
        """Current records, in the order of the keys; runs without one are left out. At most 1,000 keys."""
        ...

    # ---- rendezvous
    async def rendezvous(self, ns: str, name: str, key: str) -> int:
        """Its revision; 0 when there is no row."""
        ...

    async def waiting(self, ns: str, name: str, key: str, limit: int) -> list[WaitKeyRow]:
        """Those who wait longest first."""
        ...

    async def held(self, ns: str, name: str, key: str, limit: int) -> list[HeldRow]: ...
    async def held_size(self, ns: str, name: str = "", key: str = "") -> tuple[int, int]:
        """Count and bytes of what is held under a name and key; without them, under all keys of the namespace."""
        ...

    async def results(self, job: int, after: tuple[int, int], limit: int) -> list[ResultRow]:
        """By (run, n), after that place; (-1, 0) = from the first."""
        ...

    async def held_for(self, run: int, limit: int) -> list[HeldRow]: ...
    async def held_all(self, ns: str, limit: int) -> list[HeldRow]: ...
    async def held_expired(self, now: int, limit: int) -> list[HeldRow]:
        """Those with 0 < expires <= now, soonest first."""
        ...

    # ---- work, timers, pending signals, outbox: what a starting server and the refills read, by index
    async def ready(self, queue: str, limit: int, after: tuple[int, int, int, int] | None = None) -> list[OpenStep]:
        """Work of a queue that is not handed out, by (priority descending, due, run, n), after that place."""
        ...

    async def queue_sizes(self, handed_out: bool = True) -> dict[str, int]:
        """Work items not ended, by queue; those that workers have at the moment only with `handed_out`."""
        ...

    async def leased(self, before: int, limit: int) -> list[OpenStep]:
        """Handed-out work whose lease or attempt ends before that time, soonest first."""
        ...

    async def timers(self, before: int, limit: int) -> list[TimerRow]:
        """Due < before, soonest first."""
        ...

    async def pending_signals(self, limit: int) -> list[PendingSignalRow]:
        """Live ones by due time; those put aside are left out. Writing a row of the same id again replaces it."""
        ...

    async def deliveries(self, limit: int, after: int = 0) -> list[Delivery]: ...
    async def dead(self, ns: str, limit: int, after: int = 0) -> list[DeadLetter]: ...
    async def dead_letter(self, number: int) -> DeadLetter | None: ...
    # ---- events
    async def event(self, ns: str, key: int) -> EventRow | None: ...
    async def event_by_id(self, ns: str, source: str, event_id: str) -> EventRow | None: ...
    async def events(
        self,
        ns: str,
        *,
        type: str = "",
        after: int = 0,
        before: int = 0,
        limit: int = 100,
    ) -> list[EventRow]:
        """Newest first; with `after`, oldest first from there."""
        ...

    async def bookmarks(self, ns: str, source: str, after: str, limit: int) -> list[BookmarkRow]:
        """By name (in the order of its UTF-8), those after that one; "" = from the first."""
        ...

    # ---- definitions
    async def definition(self, id: int) -> DefinitionRow | None: ...
    async def definitions(
        self, ns: str, kind: str, *, name: str = "", version: int = 0, at: int = 0, limit: int = 0, after: str = ""
    ) -> list[DefinitionRow]:
        """Live rows (`at` 0), or those that were live at that microsecond; by name, then version ascending. limit 0 = all.

        `after`: only names behind this one; with neither name nor version."""
        ...

    async def bound(self, ns: str, hash: bytes) -> DefinitionRow | None:
        """A row of kind `bound` by content."""
        ...

    async def live_definitions(self, ns: str, kind: str) -> list[int]:
        """Ids of the live rows, in no order: what an index alone can tell."""
        ...

    async def namespaces(self) -> list[str]:
        """Those that have, or had, handlers: a starting server listens for them."""
        ...

    async def handler_counter(self, ns: str) -> int: ...
    async def handler_changes(self, ns: str, after: int, limit: int) -> list[HandlerChange]:
        """What changed the namespace's handlers after that value of their counter, in order and without gaps, as of one moment:
        one for each value. Fewer than `limit`: these are all. A first value other than `after` + 1 says that the history does
        not go back so far."""
        ...

    async def health(self) -> dict[str, Any]:
        """Sizes and settings for people: file size, WAL size, durability, schema version."""
        ...


class StoreBusy(Exception):
    """Another server has this store open. The text says which file and what to do."""


class StoreFailed(Exception):
    """The store could not write. The text says what the system said."""
