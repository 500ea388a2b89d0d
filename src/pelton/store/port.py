"""The store: the one door to durable state. One conformance suite holds every implementation to this page.

Writes come in batches of commit groups. A group is all or nothing; the groups of one batch do not share their fate. A group says
which revision of each run it was decided on (`runs`, `reads`); when one has moved, the group is lost and changes nothing.
Reads see only what is committed. `now` is the store's clock.
"""

from __future__ import annotations

from collections.abc import KeysView, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.state import OpenStep, Record, Run, Step, Thread


class RunWrite(Struct, gc=False):
    """The net change of one run in one group: several transitions of it may have been folded into this.

    `expected`: the revision that must be found; -1 = the run must not exist; an EXPECTED stub has its own revision.
    """

    run: Run
    expected: int
    opened: Sequence[OpenStep] = ()
    # (row, whether its input, output or waits changed too). Slot, scope and iteration of a row never change; the lease columns
    # are written as the row has them, so it must carry the leases given out since it was read.
    changed: Sequence[tuple[OpenStep, bool]] = ()
    closed: Sequence[int] = ()
    ended: Sequence[Step] = ()
    reopened: Sequence[int] = ()  # numbers of ended steps that go
    threads: Sequence[Thread] = ()
    variables: Sequence[tuple[int, str, Any]] = ()  # value UNSET (kernel.transition) removes
    fragments: Sequence[tuple[int, str, JSON]] = ()
    purges: Sequence[tuple[int, int, int, int]] = ()  # (low, high, scope, it) of kernel.transition.Purge
    process: str = ""  # with a new run, and with a stub that becomes one: name of its process, for listing
    # The run's document (a stub has none): its new current value; the values that this supersedes, oldest first, each with the
    # microsecond that it was good until (one that was made and superseded in here is among them); whether there is none any
    # more (`past` says what there was), which a `record` beside it outweighs. `past` comes with one of the two.
    record: Record | None = None
    past: Sequence[tuple[Record, int]] = ()
    unrecorded: bool = False
    # (name, value, True = add, False = remove): what the run is found by, net. Adding what is there changes nothing, nor does
    # removing what is not.
    attributes: Sequence[tuple[str, str, bool]] = ()


class LeaseWrite(Struct, gc=False):
    """Lease columns of an open row; touches no revision. Ignored when the row is gone."""

    run: int
    n: int
    lease: int
    worker: str
    polls: int
    started: int
    due: int


class TimerRow(Struct, array_like=True, gc=False):
    run: int
    n: int
    arm: str
    epoch: int
    due: int


class HeldRow(Struct, array_like=True):
    """Something that arrived before anything could take it. `run` 0: held under the rendezvous (ns, name, key)."""

    id: int
    ns: str
    run: int
    name: str
    key: str
    body: JSON
    thread: int
    position: int
    posted: int
    expires: int
    report: JSON
    source: str


class WaitKeyRow(Struct, array_like=True):
    ns: str
    name: str
    key: str
    run: int
    n: int
    opened: int = 0  # since when; who waits longest is served first


class RunKeyRow(Struct, array_like=True, gc=False):
    """Another name for a run. `unique`: no other run may have a live row of (ns, kind, process, text), else the group is lost."""

    ns: str
    kind: str
    process: str
    text: str
    run: int
    unique: bool


class Delivery(Struct, array_like=True, gc=False):
    """A message on its way out. `lane`: order is kept within one; `id` is the receiver's means to know a repeat."""

    number: int  # assigned by the store in commit order; 0 when new
    ns: str
    lane: str
    id: str
    sink: str
    body: bytes
    content_type: str
    headers: dict[str, str]
    created: int
    tries: int = 0
    due: int = 0
    error: str = ""
    run: int = 0
    n: int = 0
    hops: int = 0


class DeadLetter(Struct, array_like=True):
    """A delivery that was given up (direction "out"), or a message that could not be taken ("in")."""

    number: int
    ns: str
    direction: str
    address: str
    id: str
    body: bytes
    headers: dict[str, str]
    reason: str
    tries: int
    at: int
    delivery: Delivery | None = None


class EventRow(Struct, array_like=True, gc=False):
    """An event, with what its handlers made of it. Unique by (ns, source, event_id)."""

    key: int
    ns: str
    source: str
    event_id: str
    type: str
    subject: str
    time: int  # when it happened, by its source; 0 = not said
    received: int
    body: JSON
    attributes: dict[str, Any]  # further CloudEvents attributes
    hash: bytes  # of type and body: the same id with another body is a conflict
    handlers: int  # number of the handler set that it was matched against
    decisions: list[Any]  # plain data, see runtime.base.Decision
    effects: list[Any]  # what it caused, see runtime.base.EventEffect
    state: str  # matched | unmatched | held | failed
    hops: int = 0


class DefinitionRow(Struct, array_like=True):
    """One version, as it was from `since` until `until` (0 = still). Rows are never changed but for `until`.

    kind: process | policy | handler | bound (what runs follow: a process with all that it refers to) | ...
    """

    id: int
    ns: str
    kind: str
    language: str
    name: str
    version: int
    body: bytes  # JSON text as the language keeps it
    hash: bytes
    since: int  # microseconds, strictly rising within (ns, kind, name, version)
    until: int = 0
    actor: str = ""


class DefinitionWrite(Struct):
    """Closes the live row of (ns, kind, name, version) if there is one, then inserts `row` (None: only closes).

    `expected`: the id of the live row that the writer saw (0: none, -1: any); another one = the group is lost.
    """

    ns: str
    kind: str
    name: str
    version: int
    row: DefinitionRow | None
    at: int
    expected: int = -1
    counts: bool = False  # raises the namespace's counter of handlers, which remembers this change


class InboxRow(Struct, array_like=True, gc=False):
    """A durable signal to a run, to be applied in a later commit; or a fan-out job with its cursor."""

    id: int
    run: int
    signal: bytes  # msgpack of kernel.signals.AnySignal, or of the job
    due: int
    tries: int = 0
    job: bool = False
    parked: str = ""  # why it was put aside, "" = live


class LogRow(Struct, array_like=True):
    run: int
    n: int
    at: int
    text: str


class ResultRow(Struct, array_like=True, gc=False):
    """What became of a job's signal to one run; kept for a week. (job, run, n) is there once: a second one loses its group.

    The row with run 0 is the job's own: `n` says for how many runs it was.
    """

    job: int
    run: int
    n: int
    at: int
    outcome: str  # signalled | held | unchanged | failed
    detail: str = ""


class SeenRow(Struct, array_like=True, gc=False):
    """What a source that looks for itself has told of something by name, so that it is not told again. A row of the same name
    replaces the one before; `state` b"" removes it."""

    ns: str
    source: str
    name: str
    state: bytes


class Group:
    """One commit group. `number` comes back in the result.

    Most groups use few of the lists, so each is made when it is first asked for; `has` asks without making it.
    """

    number: int
    runs: list[RunWrite]
    reads: list[tuple[int, int]]  # (run key, revision) that must still hold; -1 = must not exist
    handlers: list[tuple[str, int]]  # (ns, counter) that must still hold
    rendezvous: list[tuple[str, str, str, int]]  # (ns, name, key, revision): must still hold, and is raised
    timers: list[TimerRow]
    clear_timers: list[tuple[int, int, str]]  # (run, n, arm), arm "" = all of the step
    stale_timers: list[tuple[int, int, str, int]]  # (run, n, arm, epoch): goes only when it still has that epoch
    held: list[HeldRow]
    release: list[int]  # ids of held rows that go; one that is gone already = the group is lost
    wait_keys: list[WaitKeyRow]
    close_wait_keys: list[tuple[int, int]]  # (run, n)
    run_keys: list[RunKeyRow]
    free_run_keys: list[int]  # runs whose keys, unique or not, are live no more (before `run_keys` of this group)
    events: list[EventRow]
    event_updates: list[tuple[int, list[Any], list[Any], str]]  # (key, decisions, effects, state)
    deliveries: list[Delivery]
    delivered: list[int]  # numbers that go
    retried: list[tuple[int, int, int, str]]  # (number, tries, due, error)
    dead: list[DeadLetter]
    dead_removed: list[int]
    inbox: list[InboxRow]
    inbox_done: list[int]
    definitions: list[DefinitionWrite]
    leases: list[LeaseWrite]
    logs: list[LogRow]
    results: list[ResultRow]
    seen: list[SeenRow]
    remove_runs: list[int]  # everything about these runs goes

    def __init__(self, number: int, runs: list[RunWrite] | None = None, **rows: list[Any]) -> None:
        self.number = number
        if runs is not None:
            self.runs = runs
        if rows:
            if unknown := rows.keys() - GROUP_LISTS:
                raise TypeError(f"a group has no rows named {', '.join(sorted(unknown))}")
            self.__dict__.update(rows)

    def __getattr__(self, name: str) -> list[Any]:
        if name not in GROUP_LISTS:
            raise AttributeError(name)
        made: list[Any] = []
        self.__dict__[name] = made
        return made

    def has(self, name: str) -> bool:
        """Whether there are rows of this name."""
        return bool(self.__dict__.get(name))

    @property
    def filled(self) -> KeysView[str]:
        """`number`, and the names of the lists that were made."""
        return self.__dict__.keys()


GROUP_LISTS = frozenset(Group.__annotations__) - {"number"}


class Committed(Struct, gc=False):
    """`lost` names what had moved: "run 12", "event", "handlers default", "key ...". `numbers`: those of the group's deliveries,
    in order. `dead_numbers` likewise."""

    number: int
    ok: bool
    lost: str = ""
    numbers: list[int] = []
    dead_numbers: list[int] = []


class Counts(Struct):
    """Rows touched so far: a test reads the difference over one signal."""

    rows_read: int = 0
    rows_written: int = 0
    commits: int = 0


class HandlerChange(NamedTuple):
    """What made the counter of a namespace's handlers this value: the row that was closed (0 = none), and the new one."""

    counter: int
    gone: int
    row: DefinitionRow | None


class Page(NamedTuple):
    rows: list[Any]
    total: int  # -1 when not counted


class Store(Protocol):
    counts: Counts

    async def open(self) -> None:
        """Takes the lock, migrates the schema, starts what it needs. Raises StoreBusy when another server has the file."""
        ...

    async def close(self) -> None: ...
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
    async def facts(self, run: Run, keys: Sequence[Any]) -> list[Any]:
        """Answers keys of kernel.facts that are about one run (NewestKey, NewestBelowKey, SlotKey, IterationKey, StepKey,
        OpenKey, ParkedKey, EndedKey, VarKey, VarsKey, ThreadKey, ThreadsKey, FragmentKey, RecordKey, HeldKey with key ""),
        skipping the run's void ranges."""
        ...

    async def prefetch(self, run: Run, n: int, slots: Sequence[str]) -> tuple[OpenStep | None, list[Any]]:
        """The open row n and the newest step of each slot, in one go."""
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
        """Newest first, keys below `before` when given; created from `since` on, before `until`, in milliseconds. No stubs."""
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
        """By run key, ascending, keys above `after`; process "" = any. With `at`, each as it was then, whatever became of it
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

    # ---- work, timers, inbox, outbox: what a starting server and the refills read, by index
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

    async def inbox(self, limit: int) -> list[InboxRow]:
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

    async def seen(self, ns: str, source: str, after: str, limit: int) -> list[SeenRow]:
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
