"""The store: the only access to durable state. One conformance suite checks every implementation against this module.

Writes are batches of commit groups. A group is all or nothing, independently of the other groups in its batch. A group states
the revision of each run that it was decided on (`runs`, `reads`), and whatever else it rests on; if one has changed, the group is
lost and changes nothing.
Reads see only what is committed. `now` is the store's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct

from pelton.kernel.model.state import OpenStep, Record, Run, Step, StepAttempt, StepCheckpoint
from pelton.store.group import Committed, Group, Lookup
from pelton.store.prefetched import Prefetched
from pelton.store.retention import Sweep, Swept
from pelton.store.row_locks import Owner, RowName
from pelton.store.rows import (
    BookmarkRow,
    ClaimRow,
    CopyRow,
    DeadLetter,
    DefinitionRow,
    Delivery,
    DescendantsRow,
    EventRow,
    HeldRow,
    KeptRow,
    LogRow,
    NodeRow,
    PauseRow,
    PendingSignalRow,
    ReplyRow,
    ResultRow,
    SecretRow,
    StickyRow,
    TallyValue,
    TimerRow,
    WaitKeyRow,
)
from pelton.store.run_query import RunQuery

LAST_VERSION = 2**62
"""A version that comes after all those of a name."""

Durability = Literal["full", "relaxed"]
"""full: acknowledged data survives a power cut. relaxed: it survives a crash of the process only."""


class RowCounts(Struct):
    """Rows touched so far, so that a test can read the difference over one signal."""

    rows_read: int = 0
    rows_written: int = 0
    commits: int = 0


class HandlerChange(NamedTuple):
    """The change that gave a namespace's handler counter this value: the row that was closed (0 = none), and the new one."""

    counter: int
    gone: int
    row: DefinitionRow | None


MOST_COUNTED = 100_000


class Outstanding(NamedTuple):
    """How much of some kinds stands in the store, over all namespaces; of each no more than a limit is counted. Times are epoch
    milliseconds, 0 = there is none. `parked_signals`: those that were put aside, as far as
    there are fewer signals than the limit."""

    deliveries: int = 0
    oldest_delivery: int = 0  # when it was made
    dead_letters: int = 0
    held: int = 0
    overdue: int = 0  # timers
    oldest_timer: int = 0  # when the first timer is due, overdue or not
    signals: int = 0
    parked_signals: int = 0


class Store(Protocol):
    """Several servers may share what a store has; then `shared` is true, and each decides on what it remembers only as far as a
    condition of its commit confirms it. One that has the store for itself may believe what it remembers."""

    counts: RowCounts

    @property
    def shared(self) -> bool: ...

    async def open(self) -> None:
        """Takes the lock, migrates the schema, starts what it needs. Raises StoreBusy if another server has the file open."""
        ...

    async def close(self) -> None: ...
    async def lost(self) -> str:
        """Returns, with the reason, when nothing more can be written until the store is opened again."""
        ...

    def now(self) -> int:
        """Epoch milliseconds; never decreases."""
        ...

    @property
    def secret(self) -> bytes:
        """32 random bytes, generated once and stored; ids are hashed with it."""
        ...

    async def commit(self, groups: Sequence[Group]) -> list[Committed]:
        """One durable write; groups are checked as if applied one after another. Several calls may be in progress: they take
        effect in the order in which they were started. Raises StoreFailed if nothing at all could be written."""
        ...

    async def lock(self, owner: Owner, rows: Collection[RowName], wait: float) -> bool:
        """For the second try of a group that was lost, where the store is shared. What is read after this can be changed by no
        other server until `unlock`: groups of others that change one of the rows are lost, and what they had begun to write
        before is written. All of the rows, or none: False if that takes longer than `wait` seconds, or if the owner's epoch has
        ended. Who wants a row that another server has waits in line. Rows that are not there can be locked, too. They are free
        when the owner's epoch ends."""
        ...

    async def unlock(self, owner: Owner, rows: Collection[RowName]) -> None: ...
    async def sweep(self, sweep: Sweep) -> Swept:
        """Removes the oldest rows of one kind beyond a limit, in a write of its own that no commit waits for noticeably. Of runs
        only those that have ended, each with everything about it; one that another run has started stays as long as its outermost
        run. Raises StoreFailed."""
        ...

    async def due(self, sweep: Sweep) -> int:
        """How many rows of its kind such a sweep would remove for their age, of bookmarks 0; no more than its `limit` are
        counted. Changes nothing."""
        ...

    # ---- runs
    async def head(self, key: int) -> Run | None: ...
    async def prefetch(self, runs: Sequence[tuple[int, int]]) -> list[Prefetched | None]:
        """Runs that are about to be changed, each with the number of the step that this is about (0 = none), in the order given:
        in one question what most changes rest on, of a small run everything. At most `PREFETCH_RUNS`; of each no more than
        `PREFETCH_ROWS` rows of a kind and `PREFETCH_BYTES` bytes of rows beside that step. None: there is no such run."""
        ...

    async def read(self, run: Run, keys: Sequence[Any]) -> list[Any]:
        """Answers keys of kernel.model.reads that concern one run (NewestKey, NewestBelowKey, SlotKey, PlaceBelowKey,
        IterationKey, IterationsKey, StepKey, OpenKey, ThreadRowsKey, WaitsKey, StrandedKey, EndedKey, VarKey, VarsKey, ThreadKey,
        ThreadsKey, ChildrenKey, FragmentKey, FragmentsKey, RecordKey, KeptKey, HeldKey with key ""), skipping the run's void
        ranges. As many rows are read as the answer has."""
        ...

    async def steps(self, run: Run, after: int, limit: int) -> list[OpenStep | Step]:
        """Steps by number, ascending, open (n > 0) and ended; void ones are left out."""
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
        status: int = -1,
    ) -> list[Run]:
        """Runs, newest first; with keys below `before` if given; created from `since` on and before `until`, in milliseconds; in
        that status (a RunStatus; -1 = any). Placeholders are left out."""
        ...

    async def find_runs(self, query: RunQuery, offset: int, limit: int) -> tuple[int, list[Run]]:
        """How many runs there are, and those at the positions from `offset` on."""
        ...

    async def run_processes(self, ns: str) -> list[str]:
        """The names of all processes of which there are runs, in order; there may be names among them of which there are none."""
        ...

    async def at_node(self, ns: str, process: str, slot: str, after: tuple[int, int], limit: int) -> list[OpenStep]:
        """Open rows of a slot over all runs of a process, parked ones included, by (run, n) after that position, so the oldest
        run first; (0, 0) = from the first."""
        ...

    async def count_at_node(self, ns: str, process: str, slot: str, most: int) -> int:
        """Their number; no more than `most` are counted."""
        ...

    async def count_live(self, ns: str, process: str, most: int) -> int:
        """Number of runs that have not ended; no more than `most` are counted."""
        ...

    async def pause(self, ns: str, process: str) -> PauseRow | None: ...
    async def run_keys(self, ns: str, kind: str, process: str, text: str, live: bool) -> list[int]:
        """Runs by another name, newest first, at most 1000. process "" = any. `live`: only names that have not been freed."""
        ...

    async def logs(self, run: int, n: int, limit: int) -> list[LogRow]: ...
    async def attempts(self, run: int, n: int, after: int, limit: int) -> list[StepAttempt]:
        """The attempts of a step that have rows of their own, with numbers above `after`, ascending."""
        ...

    async def checkpoint(self, run: int, n: int, number: int) -> StepCheckpoint | None: ...
    async def checkpoints(self, run: int, n: int, after: int, limit: int) -> list[StepCheckpoint]:
        """With numbers above `after`, ascending; those that a rewind has left behind are among them."""
        ...

    # ---- records: the documents of runs, as they are and as they were. Instants are microseconds.
    async def record(self, run: int, at: int = 0) -> Record | None:
        """The current record (`at` 0), or the one valid at that instant: since <= at < until."""
        ...

    async def past(self, run: int, after: int = 0, limit: int = 1000) -> list[tuple[Record, int]]:
        """Superseded values and until when each was valid, oldest first; only those whose `since` is later than `after`."""
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
        """Records by run key, ascending, for keys above `after`; process "" = any. With `at`, each as of that instant, whatever
        happened since: pages with the same `at` are pages of one list. `live` refers to the value that is returned. Fewer than
        `limit` means that there are no more."""
        ...

    async def candidates(
        self, ns: str, process: str, conjuncts: Sequence[Sequence[tuple[str, str, bool]]], most: int
    ) -> list[int] | None:
        """Keys, ascending, of the runs for which the conjunct with the fewest rows can be true.

        A conjunct is a list of alternatives (attribute name, value, whether the value is a prefix); one without alternatives is
        never true. None if there is no conjunct, or if the best one has more than `most` rows; no more than that are read.
        process "" = any.
        """
        ...

    async def records_of(self, runs: Sequence[int]) -> list[Record]:
        """Current records, in the order of the keys; runs without a record are left out. At most 1,000 keys."""
        ...

    # ---- rendezvous
    async def rendezvous(self, ns: str, name: str, key: str) -> int:
        """The revision of the rendezvous row; 0 if there is none."""
        ...

    async def waiting(self, ns: str, name: str, key: str, limit: int, last: bool = False) -> list[WaitKeyRow]:
        """Waits, longest first; with `last` shortest first. As many rows are read as the answer has."""
        ...

    async def held(self, ns: str, name: str, key: str, limit: int) -> list[HeldRow]: ...
    async def held_size(self, ns: str, name: str = "", key: str = "") -> tuple[int, int]:
        """Number and bytes of the rows held under a name and key; without them, under all keys of the namespace."""
        ...

    async def results(self, job: int, after: tuple[int, int], limit: int) -> list[ResultRow]:
        """Results by (run, n), after that position; (-1, 0) = from the first."""
        ...

    async def held_for(self, run: int, limit: int) -> list[HeldRow]: ...
    async def kept(self, id: int) -> KeptRow | None: ...
    async def kept_of(self, run: int, after: int, limit: int) -> list[KeptRow]:
        """The events of a run that stay, with ids above `after`, by id."""
        ...

    async def kept_named(self, ns: str, name: str, taken: bool | None, after: int, limit: int) -> list[KeptRow]:
        """Those of all runs of a namespace, by name. `taken` None: taken or not."""
        ...

    async def sticky(self, ns: str, name: str, key: str) -> StickyRow | None: ...
    async def sticky_named(self, ns: str, name: str, got: bool | None, after: str, limit: int) -> list[StickyRow]:
        """Those of a name with keys after that one, by key. `got` None: whether or not there are copies."""
        ...

    async def sticky_size(self, ns: str) -> tuple[int, int]:
        """Number and bytes of the sticky events of a namespace."""
        ...

    async def sticky_expired(self, now: int, limit: int) -> list[StickyRow]:
        """Those with 0 < expires <= now, soonest first."""
        ...

    async def copies(self, sticky: int, after: int, limit: int) -> list[CopyRow]:
        """The copies of a sticky event with ids above `after`, by id; about the first MOST_COPIES of them."""
        ...

    async def held_all(self, ns: str, limit: int, after: tuple[int, int] = (-1, -1)) -> list[HeldRow]:
        """By (posted, id), after that position."""
        ...

    async def held_expired(self, now: int, limit: int) -> list[HeldRow]:
        """Held rows with 0 < expires <= now, soonest first."""
        ...

    # ---- work, timers, pending signals, outbox: what a starting server and the refills read, by index
    async def ready(self, queue: str, limit: int, after: tuple[int, int, int, int] | None = None) -> list[OpenStep]:
        """Work on a queue that is not handed out, by (priority descending, due, run, n), after that position."""
        ...

    async def queue_sizes(self, handed_out: bool = True) -> dict[str, int]:
        """Unfinished work items by queue; `handed_out`: include those that workers currently hold."""
        ...

    async def leased(self, before: int, limit: int) -> list[OpenStep]:
        """Handed-out work whose lease or attempt ends before that time, soonest first."""
        ...

    async def timers(self, before: int, limit: int) -> list[TimerRow]:
        """Timers due before that time, soonest first."""
        ...

    async def pending_signals(self, limit: int) -> list[PendingSignalRow]:
        """Live rows by due time; parked ones are left out. Writing a row with the same id replaces it."""
        ...

    async def deliveries(self, limit: int, after: int = 0) -> list[Delivery]: ...
    async def dead(self, ns: str, limit: int, after: int = 0) -> list[DeadLetter]: ...
    async def dead_letter(self, number: int) -> DeadLetter | None: ...
    async def outstanding(self, now: int, most: int = MOST_COUNTED) -> Outstanding:
        """For those who watch a server: `most` of each kind are counted. Timers are overdue that are due before `now`."""
        ...

    # ---- events
    async def event(self, ns: str, key: int) -> EventRow | None: ...
    async def event_by_id(self, ns: str, source: str, event_id: str) -> EventRow | None:
        """With the type "" it is one whose row has been removed (`sweep`): only key, hash and state are left."""
        ...

    async def events(
        self,
        ns: str,
        *,
        type: str = "",
        state: str = "",
        after: int = 0,
        before: int = 0,
        limit: int = 100,
    ) -> list[EventRow]:
        """Events, newest first; with `after`, oldest first from there. As many rows are read as the answer has."""
        ...

    async def bookmarks(self, ns: str, source: str, after: str, limit: int) -> list[BookmarkRow]:
        """Bookmarks by name (in UTF-8 order), after that one; "" = from the first."""
        ...

    async def secret_named(self, ns: str, name: str) -> SecretRow | None: ...
    async def secrets(self, after: tuple[str, str], limit: int, ns: str = "") -> list[SecretRow]:
        """Secrets by (ns, name), after that one; ("", "") = from the first. `ns`: only those of that namespace."""
        ...

    async def reply(self, ns: str, request: str) -> ReplyRow | None: ...
    async def descendants(self, ns: str, ancestor: int) -> DescendantsRow | None: ...
    async def tallies(self, ns: str, process: str, after: tuple[str, str] = ("", ""), limit: int = 1000) -> list[TallyValue]:
        """Numbers of a process's nodes that were changed ever, by (node, name), after that one."""
        ...

    # ---- definitions
    async def definition(self, id: int) -> DefinitionRow | None: ...
    async def definitions(
        self,
        ns: str,
        kind: str,
        *,
        name: str = "",
        version: int = 0,
        at: int = 0,
        limit: int = 0,
        after: str = "",
        after_version: int = LAST_VERSION,
    ) -> list[DefinitionRow]:
        """Live rows (`at` 0), or those live at that microsecond; by name, then version, ascending. limit 0 = all.

        `after`, `after_version`: only those after this name and version; with neither name nor version."""
        ...

    async def bound(self, ns: str, hash: bytes) -> DefinitionRow | None:
        """A row of kind `bound`, by content."""
        ...

    async def definition_counter(self, ns: str) -> int:
        """Raised by every change of a definition that is not a handler, and is not merely bound."""
        ...

    async def namespaces(self) -> list[str]:
        """Namespaces that have, or had, handlers; a starting server listens for them."""
        ...

    async def handler_counter(self, ns: str) -> int: ...
    async def handler_changes(self, ns: str, after: int, limit: int) -> list[HandlerChange]:
        """Changes of the namespace's handlers after that value of their counter, one for each value, in order and without gaps,
        as of one instant. Fewer than `limit` means that there are no more. If the first value is not `after` + 1, the history
        does not go back that far."""
        ...

    # ---- servers that share the store
    async def nodes(self) -> list[NodeRow]: ...
    async def outcome(self, node: int, epoch: int, batch: int) -> set[int] | None:
        """Numbers of the groups of a batch that were written; None if the batch was not. Of the last 64 batches of a node."""
        ...

    async def claims(self, kind: str, limit: int, after: str = "") -> list[ClaimRow]:
        """Claims whose holder's epoch still holds, by name."""
        ...

    async def lookup(self, lookup: Lookup) -> int:
        """Its revision; 0 if nobody looks it up."""
        ...

    async def health(self) -> dict[str, Any]:
        """Sizes and settings for people: file size, WAL size, durability, schema version. `unhealthy`: why nothing can be
        committed now, or what is read may be wrong; absent or "" if all is well."""
        ...


class StoreBusy(Exception):
    """Another server has this store open. The text names the file and the remedy."""


class StoreFailed(Exception):
    """The store could not write. The text contains the system's error."""
