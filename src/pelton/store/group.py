"""What is written: a commit group, the writes in it, and its outcome.

A group is all or nothing. It states the revision of each run that it was decided on (`runs`, `reads`); if one has changed, the
group is lost and changes nothing.
"""

from __future__ import annotations

from collections.abc import KeysView, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.state import OpenStep, Record, Run, Step, StepAttempt, StepCheckpoint, Thread
from pelton.store.rows import (
    BookmarkRow,
    CopyRow,
    DeadLetter,
    DefinitionRow,
    Delivery,
    DescendantsRow,
    EventRow,
    HeldRow,
    KeptRow,
    LogRow,
    PauseRow,
    PendingSignalRow,
    ReplyRow,
    ResultRow,
    RunKeyRow,
    SecretRow,
    StickyRow,
    TallyRow,
    TallyValue,
    TimerRow,
    WaitKeyRow,
)


class RunWrite(Struct, gc=False):
    """The net change of one run in one group: several transitions of it may have been folded into this.

    `expected`: the revision that must be found; -1 = the run must not exist; an EXPECTED placeholder has its own.
    """

    run: Run
    expected: int
    opened: Sequence[OpenStep] = ()
    # (row, whether its input, output or waits changed too, whether its lease columns did: lease, worker, polls, started, due).
    # Slot, scope and iteration of a row never change; lease columns that did not change stay as the store has them.
    changed: Sequence[tuple[OpenStep, bool, bool]] = ()
    closed: Sequence[int] = ()
    ended: Sequence[Step] = ()
    reopened: Sequence[int] = ()  # numbers of ended steps that go
    threads: Sequence[Thread] = ()
    variables: Sequence[tuple[int, str, Any]] = ()  # value UNSET (kernel.transition) removes
    fragments: Sequence[tuple[int, str, JSON, int]] = ()  # number of the fork's step, its node, value, fragment it is part of
    # (low, high, scope, it) of kernel.transition.Purge: with the steps go their attempts, checkpoints and fragments
    purges: Sequence[tuple[int, int, int, int]] = ()
    process: str = ""  # with a new run, and with a placeholder that becomes one: name of its process, for listing
    # The run's document (a placeholder has none): its new current value; the values that this supersedes, oldest first, each with
    # the microsecond that it was good until (one that was made and superseded in here is among them); whether there is none any
    # more (`past` says what there was), which a `record` beside it outweighs. `past` comes with one of the two.
    record: Record | None = None
    past: Sequence[tuple[Record, int]] = ()
    unrecorded: bool = False
    # (name, value, True = add, False = remove): what the run is found by, net. Adding what is there changes nothing, nor does
    # removing what is not.
    attributes: Sequence[tuple[str, str, bool]] = ()


class LeaseLimit(NamedTuple):
    """The work of a name: at most `most` leases at a time, and at most `rate` of them written since `at` less `period`, in
    milliseconds; 0 = without that limit."""

    name: str
    most: int
    rate: int
    period: int
    at: int


class LeaseWrite(Struct, gc=False):
    """Lease columns of an open row; changes no revision. Ignored if the row is gone.

    `expected`: the row must have been handed out so many times (-1: whatever it has), and with `unleased` not be handed out now;
    otherwise it is left as it is, and its place among the group's leases is in `Committed.untaken`. `limit`: likewise, where it
    leaves no room; `expected` comes with it."""

    run: int
    n: int
    lease: int
    worker: str
    polls: int
    started: int
    due: int
    expected: int = -1
    unleased: bool = False
    limit: LeaseLimit | None = None


class HandedOut(NamedTuple):
    """The lease of an open row that a decision rests on; if the row has another, or is gone, the group is lost ("work RUN N")."""

    run: int
    n: int
    polls: int
    lease: int


class NodeWrite(NamedTuple):
    """A server's row. `expected`: the epoch that must be found, 0 = no row; if it is another, the group is lost ("node N").
    `epoch` above `expected` declares the server that had it dead, or gone: nothing that rests on it is written any more."""

    number: int
    expected: int
    epoch: int
    seen: int  # milliseconds, of its own clock
    settled: int  # microseconds: it decides nothing more for instants up to then


class NodeMark(NamedTuple):
    """That a server has written a batch, in a group of its own at the end of that batch. Lost if its epoch is another."""

    number: int
    epoch: int
    batch: int
    seen: int
    settled: int


class ClaimWrite(NamedTuple):
    """What one server at a time may do, by kind and name. It is refused while another server has it whose epoch still holds; its
    place among the group's claims is then in `Committed.refused`. Claiming again what one has is granted."""

    kind: str
    name: str
    node: int
    epoch: int
    at: int


class ReplyWrite(NamedTuple):
    """Answers a request, if there is one of that name that has no answer and has not expired at `at`; else nothing changes."""

    ns: str
    request: str
    body: bytes
    at: int


class Lookup(NamedTuple):
    """Which runs have an attribute, as a revision: raised by groups that change it, see `Group.lookups`."""

    ns: str
    name: str
    text: str


class DefinitionWrite(Struct):
    """Closes the live row of (ns, kind, name, version) if there is one, then inserts `row` (None: only closes).

    `expected`: the id of the live row that the writer saw (0: none, -1: any); if it is a different one, the group is lost."""

    ns: str
    kind: str
    name: str
    version: int
    row: DefinitionRow | None
    at: int
    expected: int = -1
    counts: bool = False  # raises the namespace's counter of handlers, which remembers this change
    moves: bool = False  # raises the namespace's counter of all other definitions


class Group:
    """One commit group. `number` is returned in the result.

    Most groups use few of the lists, so each is created on first access; `has` checks without creating it.
    """

    number: int
    runs: list[RunWrite]
    reads: list[tuple[int, int]]  # (run key, revision) that must still hold; -1 = must not exist
    handlers: list[tuple[str, int]]  # (ns, counter) that must still hold
    defined: list[tuple[str, int]]  # (ns, counter of its other definitions) that must still hold
    records: list[tuple[int, int]]  # (run, since when its current record is good, 0 = it has none) that must still hold
    handed: list[HandedOut]  # leases that must still hold
    lookups: list[tuple[Lookup, int]]  # revisions that must still hold; one that nobody looks up has none
    looked: list[Lookup]  # looked up from now on: revision 1, if it has none
    moved: list[Lookup]  # raised where they are looked up
    pause_epochs: list[
        tuple[str, str, int]
    ]  # (ns, process, epoch of its pause) that must still hold, or it is lost ("pause NS PROCESS")
    pauses: list[PauseRow]  # the epoch before each must be the one that is found; likewise
    fence: list[tuple[int, int]]  # (node, epoch) that must still hold, or the group is lost ("node N")
    outcomes: list[tuple[int, int]]  # (node, batch) whose outcome this group is part of
    nodes: list[NodeWrite]
    marks: list[NodeMark]
    claims: list[ClaimWrite]
    unclaimed: list[ClaimWrite]  # given back, by whom it was claimed
    rendezvous: list[tuple[str, str, str, int]]  # (ns, name, key, revision): must still hold, and is raised
    timers: list[TimerRow]
    clear_timers: list[tuple[int, int, str]]  # (run, n, arm), arm "" = all of the step
    stale_timers: list[tuple[int, int, str, int]]  # (run, n, arm, epoch): goes only when it still has that epoch
    held: list[HeldRow]
    release: list[int]  # ids of held rows that go; one that is gone already = the group is lost
    kept: list[KeptRow]  # one that is there already = the group is lost ("event of run N")
    kept_taken: list[tuple[int, int, int]]  # (id, step, when)
    kept_gone: list[int]
    attempts: list[StepAttempt]  # one that is there is replaced
    attempts_gone: list[tuple[int, int, int]]  # (run, n, number)
    checkpoints: list[StepCheckpoint]  # one that is there is replaced
    sticky_gone: list[int]  # with their copies, before `sticky`
    sticky: list[StickyRow]  # one that is there already under the name and key = the group is lost ("sticky event NAME KEY")
    copies: list[CopyRow]  # of what is gone they count for nothing; once there are MOST_COPIES, further ones are only counted
    wait_keys: list[WaitKeyRow]
    close_wait_keys: list[tuple[int, int]]  # (run, n)
    run_keys: list[RunKeyRow]
    unnamed: list[tuple[str, str, str, str]]  # (ns, kind, process, text): no live run may have that name before `run_keys`
    free_run_keys: list[int]  # runs whose keys, unique or not, are live no more (before `run_keys` of this group)
    claim_run_keys: list[int]  # runs whose keys are live again; the group is lost if another live run has a unique one of them
    events: list[EventRow]
    event_updates: list[tuple[int, list[Any], list[Any], str]]  # (key, decisions, effects, state)
    deliveries: list[Delivery]
    delivered: list[int]  # numbers that go
    retried: list[tuple[int, int, int, str]]  # (number, tries, due, error)
    dead: list[DeadLetter]
    dead_removed: list[int]
    pending_signals: list[PendingSignalRow]
    pending_done: list[int]  # one that is gone already = the group is lost ("signal ID")
    definitions: list[DefinitionWrite]
    leases: list[LeaseWrite]
    logs: list[LogRow]
    results: list[ResultRow]
    bookmarks: list[BookmarkRow]
    secrets_gone: list[tuple[str, str]]  # (ns, name), before `secrets`; one that is gone already = the group is lost
    secrets: list[SecretRow]  # one that is there is replaced
    tallies: list[TallyRow]  # added up; a mark that the group's changes together cross is told with it, and so by one group only
    descendants: list[DescendantsRow]  # added up; some rows whose span is over go with them
    old_requests: list[int]  # instants: some of what has expired by then goes, before `requests` are made
    requests: list[ReplyRow]  # one of a name that is there = the group is lost ("request NAME of NS")
    replies: list[ReplyWrite]
    replied: list[tuple[str, str]]  # (ns, request) that go; one that is gone already = the group is lost
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
        """`number`, and the names of the lists that were created."""
        return self.__dict__.keys()


GROUP_LISTS = frozenset(Group.__annotations__) - {"number"}


class Committed(Struct, gc=False):
    """`lost` names what had changed: "run 12", "event", "handlers default", "key ...". `numbers`: those of the group's
    deliveries, in order: within a lane later ones are higher. `dead_numbers`: likewise, of its dead letters. `untaken`,
    `refused`: places of leases and claims that did not apply. `tallies`: the new values of what the group has added up;
    `crossed`: ids of the durable signals that the store has written since marks were crossed; None: it is not known which."""

    number: int
    ok: bool
    lost: str = ""
    numbers: list[int] = []
    dead_numbers: list[int] = []
    untaken: list[int] = []
    refused: list[int] = []
    tallies: list[TallyValue] = []
    crossed: list[int] | None = []
