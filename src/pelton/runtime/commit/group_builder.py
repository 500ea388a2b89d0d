"""Commit groups under construction: the net rows of a batch's transitions, run by run.

Several transitions of a run in one batch are folded: a row opened and closed in the same batch is never written, and a head is
written once. The store executes a group's removals before its insertions (timers, wait keys, ended steps), so only the net
effect is kept here, in that order.

A group is bounded: at most `GROUP_RUNS` runs or `GROUP_ROWS` rows. A request that would exceed that waits for the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from msgspec import json

from pelton.kernel.machine.tokens.lifecycle import MOST_HOPS
from pelton.kernel.model.signals import Start
from pelton.kernel.model.state import OpenStep, Record, Run, RunStatus, Step, StepAttempt, StepCheckpoint, Thread
from pelton.kernel.model.transition import (
    Announcement,
    Claim,
    ClearTimers,
    CloseCorrelations,
    GiveReply,
    Hold,
    KeepAttempt,
    KeepCheckpoint,
    MakeFindable,
    OpenCorrelation,
    Publish,
    Purge,
    RecordChange,
    SetTimer,
    TakeCopy,
    Tally,
    Transition,
)
from pelton.runtime.cache.correlations import CorrelationPoint, PointName
from pelton.runtime.cache.runs import RunEntry, purged, same_lease, work_row
from pelton.runtime.cache.search_lanes import LaneName, SearchLane
from pelton.runtime.commit.durable import durable
from pelton.runtime.ids import IdCodec
from pelton.store.group import Group, HandedOut, ReplyWrite, RunWrite
from pelton.store.packing import pack
from pelton.store.rows import (
    BookmarkRow,
    CopyRow,
    Delivery,
    DescendantsRow,
    EventRow,
    HeldRow,
    KeptRow,
    LogRow,
    PauseRow,
    PendingSignalRow,
    ResultRow,
    RunKeyRow,
    StickyRow,
    TallyRow,
    TimerRow,
    WaitKeyRow,
)
from pelton.telemetry.spans import NO_SPANS

GROUP_RUNS = 64
GROUP_ROWS = 2_000
WRITE_ROWS = 4  # what a write of a service counts as

FREES_KEYS = 1 << 15  # bit of Run.flags, the last below the priority: the run's unique keys become free when it ends

_encode = json.Encoder(enc_hook=repr).encode


NONE: Any = MappingProxyType({})  # stands for a dict that was not needed yet


class Member(Protocol):
    """A request with its rows (or its response) in a group."""

    def settled(self) -> None: ...


class RecordDelta:
    """The change of a run's record in one group. Every superseded value is kept; attributes are netted."""

    __slots__ = ("attributes", "gone", "past", "record")

    def __init__(self) -> None:
        self.record: Record | None = None
        self.past: list[tuple[Record, int]] = []
        self.gone = False
        self.attributes: dict[tuple[str, str], bool] = {}

    def fold(self, change: RecordChange) -> None:
        self.record, self.gone = change.record, change.gone
        self.past += change.past
        for name, text, added in change.attributes:
            if self.attributes.pop((name, text), added) is added:
                self.attributes[name, text] = added

    def fill(self, write: RunWrite) -> None:
        write.record, write.unrecorded = self.record, self.gone
        write.past = self.past
        write.attributes = [(name, text, added) for (name, text), added in self.attributes.items()]


class RunDelta:
    """The net change of one run."""

    __slots__ = (
        "changed", "closed", "ended", "entry", "expected", "findable", "fragments", "gone", "handed", "opened", "process",
        "purges", "record_change", "reopened", "run", "threads", "variables", "was",
    )  # fmt: skip

    def __init__(self, entry: RunEntry, expected: int, run: Run, was: int) -> None:
        self.entry = entry
        self.was = was  # its status before, -1 = there was no run
        self.expected = expected
        self.run = run
        self.process = ""
        self.opened: dict[int, OpenStep] = NONE  # each is made when there is something for it: few deltas have much
        self.changed: dict[int, tuple[OpenStep, bool, bool]] = NONE
        self.handed: dict[int, OpenStep] = NONE  # work rows of the store, as they were before: what this rests on
        self.closed: dict[int, None] = NONE
        self.ended: dict[int, Step] = NONE
        self.reopened: dict[int, None] = NONE
        self.threads: dict[int, Thread] = NONE
        self.variables: dict[tuple[int, str], Any] = NONE
        self.fragments: list[tuple[int, str, Any, int]] | None = None
        self.purges: list[tuple[int, int, int, int]] | None = None
        self.findable: dict[tuple[str, str], bool] = NONE
        self.record_change: RecordDelta | None = None
        self.gone: Sequence[int] = ()  # numbers of work rows of the store that were withdrawn or ended

    def fold(self, change: Transition, before: dict[int, OpenStep]) -> int:
        """Adds a transition; `before`: the previous state of the rows that it changes or closes. Returns the number of rows
        added."""
        self.run = change.run
        if change.closed or change.opened or change.changed:
            self._fold_open(change, before)
        if change.reopened:
            self.reopened = self.reopened or {}
            for n in change.reopened:
                if n in self.ended:
                    del self.ended[n]
                else:
                    self.reopened[n] = None
        if change.ended:
            self.ended = self.ended or {}
            for step in change.ended:
                self.ended[step.n] = step
        if change.threads:
            self.threads = self.threads or {}
            for thread in change.threads:
                self.threads[thread.no] = thread
        if change.variables:
            self.variables = self.variables or {}
            for no, name, value in change.variables:
                self.variables[no, name] = value
        if change.record_change is not None:
            self.record_change = self.record_change or RecordDelta()
            self.record_change.fold(change.record_change)
        if change.fragments:
            self.fragments = [*(self.fragments or ()), *change.fragments]
        booked = (
            1 + len(change.record_change.past) + len(change.record_change.attributes) if change.record_change is not None else 0
        )
        return (
            booked + 1 + len(change.opened) + len(change.closed) + len(change.changed) + len(change.ended) + len(change.variables)
        )

    def _fold_open(self, change: Transition, before: dict[int, OpenStep]) -> None:
        opened = self.opened = self.opened or {}
        changed = self.changed = self.changed or {}
        closed = self.closed = self.closed or {}
        gone = [*self.gone]
        for n in change.closed:
            if opened.pop(n, None) is None:
                changed.pop(n, None)
                closed[n] = None
                old = before.get(n)
                if old is None or work_row(old):
                    gone.append(n)
        for row in change.opened:
            if row.n in closed:  # taken back by a rewind in the same batch
                del closed[row.n]
                changed[row.n] = (row, True, True)
            else:
                opened[row.n] = row
        for row in change.changed:
            if row.n in opened:
                opened[row.n] = row
            else:
                old = before.get(row.n)
                wide = old is None or old.input is not row.input or old.output is not row.output or old.waits is not row.waits
                leases = old is None or not same_lease(row, old)
                earlier = changed.get(row.n)
                if earlier is not None:
                    wide, leases = wide or earlier[1], leases or earlier[2]
                changed[row.n] = (row, wide, leases)
                if old is not None and work_row(old) and not work_row(row):
                    gone.append(row.n)
        self.gone = gone

    def rest_on_leases(self, change: Transition, before: dict[int, OpenStep]) -> None:
        """Notes the leases of the work that a transition ends or changes; called before it is folded."""
        for n in (*change.closed, *(row.n for row in change.changed)):
            old = before.get(n)
            if old is not None and n not in self.opened and n not in self.handed and work_row(old):
                self.handed = self.handed or {}
                self.handed[n] = old

    def find_by(self, effect: MakeFindable) -> None:
        found = self.findable = self.findable or {}
        if found.pop((effect.name, effect.text), effect.added) is effect.added:
            found[effect.name, effect.text] = effect.added

    def purge(self, purge: Purge) -> set[int]:
        """Returns the numbers of the steps that go before they were ever written."""
        self.purges = [*(self.purges or ()), (purge.low, purge.high, purge.scope, purge.it)]
        gone = {n for n, step in self.ended.items() if purged(step, purge)}
        for n in gone:
            del self.ended[n]
        if self.fragments is not None:
            self.fragments = [made for made in self.fragments if made[0] not in gone]
        return gone

    def written(self) -> RunWrite:
        write = RunWrite(self.run, self.expected, process=self.process)
        if self.opened:
            write.opened = list(self.opened.values())
        if self.changed:
            write.changed = list(self.changed.values())
        if self.closed:
            write.closed = list(self.closed)
        if self.ended:
            write.ended = list(self.ended.values())
        if self.reopened:
            write.reopened = list(self.reopened)
        if self.threads:
            write.threads = list(self.threads.values())
        if self.variables:
            write.variables = [(no, name, value) for (no, name), value in self.variables.items()]
        if self.record_change is not None:
            self.record_change.fill(write)
        if self.findable:
            changes = [(name, text, added) for (name, text), added in self.findable.items()]
            write.attributes = [*write.attributes, *changes]
        if self.fragments is not None:
            write.fragments = self.fragments
        if self.purges is not None:
            write.purges = self.purges
        return write


class GroupBuilder:
    """A group of the open batch. Nothing else writes into it, so its counts are always right.

    `rows`: an estimate of the rows that it writes; `batch.rows` also has those that belong to no unit of work.
    """

    __slots__ = ("alone", "batch", "deltas", "enqueued", "group", "lanes", "points", "reads", "requests", "rows", "timers")

    def __init__(self, batch: Any, number: int) -> None:
        self.batch = batch
        self.alone = False  # it is for one request only
        self.group = Group(number)
        self.deltas: dict[int, RunDelta] = {}
        self.requests: list[Member] = []
        self.reads: dict[int, int] = {}  # runs that were only looked at
        self.timers: dict[tuple[int, int, str], TimerRow | None] = {}  # None: cleared; arm "" = all of the step
        self.points: dict[PointName, CorrelationPoint] = {}
        self.lanes: dict[LaneName, SearchLane] = NONE
        self.enqueued: list[PendingSignalRow] = []  # to be taken up at once after the commit
        self.rows = 0

    @property
    def full(self) -> bool:
        return self.rows >= GROUP_ROWS or len(self.deltas) >= GROUP_RUNS

    @property
    def stale(self) -> bool:
        """Whether it is built on something that has been lost."""
        if self.points and any(point.stale for point in self.points.values()):
            return True
        if self.lanes and any(lane.stale for lane in self.lanes.values()):
            return True
        return any(delta.entry.stale for delta in self.deltas.values())

    def fold(self, entry: RunEntry, before: Run | None, change: Transition, rows: dict[int, OpenStep]) -> RunDelta:
        """Adds a transition of a run; `rows`: the previous state of those that it changes or closes."""
        delta = self._delta(entry, before, change.run)
        if self.batch.shared:
            delta.rest_on_leases(change, rows)
        self.rows += delta.fold(change, rows)
        return delta

    def _delta(self, entry: RunEntry, before: Run | None, after: Run) -> RunDelta:
        delta = self.deltas.get(entry.key)
        if delta is None:
            delta = self.deltas[entry.key] = RunDelta(
                entry, *((before.rev, after, before.status) if before is not None else (-1, after, -1))
            )
            entry.pins += 1
            entry.group = self
            self.reads.pop(entry.key, None)
        return delta

    def read(self, run: int, revision: int) -> None:
        if run not in self.deltas:
            self.reads.setdefault(run, revision)

    def advance_point(self, point: CorrelationPoint) -> None:
        """Makes the group depend on this point, and advance it."""
        if point.name not in self.points:
            self.points[point.name] = point
            self.group.rendezvous.append((*point.name, point.revision))
            point.revision += 1
            point.pins += 1
            point.group = self

    def keep_to(self, lane: SearchLane) -> None:
        """The group is lost with all of the lane that came before."""
        if lane.name not in self.lanes:
            self.lanes = self.lanes or {}
            self.lanes[lane.name] = lane
            if lane.pins:
                self.batch.patient = True
            lane.pins += 1
            lane.group = self

    def set_timer(self, row: TimerRow) -> None:
        self.timers[row.run, row.n, row.arm] = row

    def clear_timers(self, run: int, n: int, arm: str) -> None:
        if not arm:
            for known in [known for known in self.timers if known[0] == run and known[1] == n]:
                del self.timers[known]
        self.timers[run, n, arm] = None

    def clear_stale_timer(self, run: int, n: int, arm: str, epoch: int) -> None:
        """Clears the timer if it still has that epoch; one that was set again under the same name stays."""
        self.group.stale_timers.append((run, n, arm, epoch))

    def enqueue(self, row: PendingSignalRow) -> None:
        """Adds a durable signal or job, which is taken up immediately after the commit."""
        self.group.pending_signals.append(row)
        self.enqueued.append(row)
        self.rows += 1

    def remove_signal(self, pending: int) -> None:
        """Removes a durable signal together with its effect."""
        self.group.pending_done.append(pending)

    def count_descendants(self, rows: Sequence[DescendantsRow]) -> None:
        if rows:
            self.group.descendants += rows

    def log(self, rows: Sequence[LogRow]) -> None:
        if rows:  # a list that is there, even empty, makes the group an unusual one
            self.group.logs += rows

    def keep_results(self, rows: Sequence[ResultRow]) -> None:
        if rows:
            self.group.results += rows

    def name_runs(self, rows: Sequence[RunKeyRow]) -> None:
        """Adds further names of runs, including unique ones; the group is lost if another run has one of those."""
        if rows:
            self.group.run_keys += rows
            self.batch.named += rows
            self.rows += len(rows)

    def free_names(self, run: int) -> None:
        """The names of a run that has ended are free for others."""
        group = self.group
        group.free_run_keys.append(run)
        if group.has("claim_run_keys") and run in group.claim_run_keys:
            group.claim_run_keys.remove(run)

    def claim_names(self, run: int) -> None:
        """A run that had freed its names goes on, and has them again; the group is lost if another live run has one of them."""
        group = self.group
        if group.has("free_run_keys"):
            group.free_run_keys = [other for other in group.free_run_keys if other != run]
        if run not in group.claim_run_keys:
            group.claim_run_keys.append(run)

    def hold(self, row: HeldRow) -> None:
        self.group.held.append(row)

    def release(self, held: int) -> None:
        """Releases a held row; the group is lost if the row is already gone."""
        self.group.release.append(held)

    def stick(self, row: StickyRow) -> None:
        """Adds a sticky event; the group is lost if there is one under its name and key."""
        self.group.sticky.append(row)

    def drop_sticky(self, event: int) -> None:
        self.group.sticky_gone.append(event)

    def drop_kept(self, event: int) -> None:
        """Removes an event that stays, and has not been taken."""
        self.group.kept_gone.append(event)

    def record_event(self, row: EventRow, bookmark: BookmarkRow | None) -> None:
        """Records an event; the group is lost if it is already recorded, or if its namespace's handlers have changed."""
        self.group.events.append(row)
        self.group.handlers.append((row.ns, row.handlers))
        if bookmark is not None:
            self.group.bookmarks.append(bookmark)
        self.rows += 1
        self.batch.rows += 1

    def change_pause(self, row: PauseRow) -> None:
        """A process is paused or resumed; the group is lost if somebody else has changed that."""
        self.group.pauses.append(row)
        self.rows += 1
        self.batch.rows += 1

    def remove_run(self, run: int, revision: int) -> None:
        self.read(run, revision)
        self.group.remove_runs.append(run)
        self.rows += WRITE_ROWS

    def write(self, fill: Callable[[Group], None]) -> Group:
        """Adds a service's rows. Raises what `fill` raises; the group is then unusable."""
        fill(self.group)
        self.rows += WRITE_ROWS
        self.batch.rows += WRITE_ROWS
        return self.group

    def join(self, other: GroupBuilder) -> None:
        """Takes over all of another group of the same batch; they have no run in common."""
        self.deltas.update(other.deltas)
        for delta in other.deltas.values():
            delta.entry.group = self
        for run, revision in other.reads.items():
            self.read(run, revision)
        for run in self.deltas:
            self.reads.pop(run, None)
        self.points.update(other.points)
        for point in other.points.values():
            point.group = self
        if other.lanes:
            self.lanes = {**self.lanes, **other.lanes}
            for lane in other.lanes.values():
                lane.group = self
        self.requests += other.requests
        self.timers.update(other.timers)
        self.enqueued += other.enqueued
        self.rows += other.rows
        mine, theirs = self.group, other.group
        for name in theirs.filled - FINISHED:
            getattr(mine, name).extend(getattr(theirs, name))

    def finish(self, born: Callable[[OpenStep], OpenStep]) -> Group:
        """The group in the store's form. New work is offered to pollers that are already waiting for it."""
        group = self.group
        for delta in self.deltas.values():
            for n, row in delta.opened.items():
                if work_row(row):
                    leased = born(row)
                    if leased is not row:
                        delta.opened[n] = leased
                        delta.entry.replace(leased)
            group.runs.append(delta.written())
            for n, row in delta.handed.items():
                group.handed.append(HandedOut(row.run, n, row.polls, row.lease))
        if {"free_run_keys", "run_keys"} <= group.filled:
            # Keys are freed before they are claimed: what is over already would hold its name for good.
            over = set(group.free_run_keys)
            group.run_keys = [row for row in group.run_keys if not (row.unique and row.run in over)]
        if self.reads:
            group.reads.extend(self.reads.items())
        for key, timer in self.timers.items():
            if timer is None:
                group.clear_timers.append(key)
            else:
                group.timers.append(timer)
        return group


FINISHED = frozenset({"number", "runs", "reads", "timers", "clear_timers"})  # made when the group is finished


class EffectRows:
    """Turns effects into rows. The committer handles signals to other runs; everything else is here."""

    __slots__ = ("_codec", "_keys", "ancestor", "hops", "spans")

    def __init__(self, codec: IdCodec, keys: Callable[[], int]) -> None:
        self._codec = codec
        self._keys = keys
        self.hops = 0  # signals and events that led to what is being translated
        self.ancestor = 0  # of what it causes: as in Run
        self.spans = NO_SPANS

    def add(
        self, builder: GroupBuilder, delta: RunDelta, change: Transition, now: int, listens: Callable[[str, str], bool]
    ) -> Iterable[Announcement]:
        """Adds the rows of a transition's effects; returns the announcements that someone listens to (`listens(ns, type)`)."""
        head = change.run
        run = head.key
        group = builder.group
        announced: list[Announcement] = []
        effect: Any  # told apart by its type, which is quicker than a row of isinstance
        for effect in change.effects:
            kind = type(effect)
            if kind is Announcement:
                if listens(head.ns, effect.type):
                    announced.append(effect)
                continue
            builder.rows += 1
            if kind is SetTimer:
                builder.set_timer(TimerRow(run, *effect))
            elif kind is ClearTimers:
                builder.clear_timers(run, effect.n, effect.arm)
            elif kind is Publish:
                group.deliveries.append(self._delivery(head, effect, now))
            elif kind is Hold:
                self._hold(group, head, effect, now)
            elif kind is Claim:
                take(group, effect, now)
            elif kind is TakeCopy:
                place = effect.n, effect.thread, effect.position
                group.copies.append(CopyRow(effect.id, self._keys(), run, *place, now))
            elif kind is OpenCorrelation:
                group.wait_keys.append(WaitKeyRow(head.ns, effect.name, effect.key, run, effect.n, effect.since or now))
            elif kind is CloseCorrelations:
                close_wait_keys(group, run, effect.n)
            elif kind is MakeFindable:
                delta.find_by(effect)
            elif kind is Purge:
                forget_steps(group, run, delta.purge(effect))
            else:
                self._rest(group, head, effect, now)
        if has_freed(head):
            builder.free_names(run)
        return announced

    def _delivery(self, head: Run, effect: Publish, now: int) -> Delivery:
        return Delivery(
            number=0,
            ns=head.ns,
            lane=self._codec.run_id(head.key),
            id=self._codec.message_id(head.key, effect.n, effect.attempt),
            sink=effect.sink,
            body=_encode(effect.body),
            content_type="application/json",
            headers={},
            created=now,
            run=head.key,
            n=effect.n,
            hops=max(head.hops, self.hops) + 1,
            ancestor=self.ancestor or head.passes_on,
            trace=self.spans.of_step(head.trace, head.key, effect.n),
        )

    def _rest(self, group: Group, head: Run, effect: Any, now: int) -> None:
        """What is rare."""
        if type(effect) is GiveReply:
            group.replies.append(ReplyWrite(head.ns, effect.request, pack(effect.body), now))
        elif type(effect) is Tally:
            group.tallies.extend(self._tallied(head, effect, now))
        elif type(effect) is KeepAttempt:
            group.attempts.append(effect.attempt)
            if effect.forget >= 0:
                group.attempts_gone.append((head.key, effect.attempt.n, effect.forget))
        elif type(effect) is KeepCheckpoint:
            group.checkpoints.append(effect.checkpoint)

    def _tallied(self, head: Run, effect: Tally, now: int) -> list[TallyRow]:
        place = head.ns, effect.process, effect.node
        reached, fallen = (self._follows(start, now) for start in (effect.reached, effect.fallen))
        rows = [TallyRow(*place, "standing", effect.by, effect.at, reached, fallen)] if effect.by else []
        if effect.passed:
            rows.append(TallyRow(*place, "passed", effect.passed))
        rows += [TallyRow(*place, f"sum:{name}", by) for name, by in effect.sums]
        return rows

    def _follows(self, start: Start | None, now: int) -> PendingSignalRow | None:
        """What the store writes if a mark is crossed."""
        if start is None:
            return None
        row = PendingSignalRow(self._keys(), start.key, durable(start, self.hops + 1, ancestor=start.ancestor), now)
        if self.hops >= MOST_HOPS:
            chain = f"{self.hops + 1} signals in a row led to this one; the limit is {MOST_HOPS}"
            row.parked = f"{chain}. Check the definitions for a loop"
        return row

    def _hold(self, group: Group, head: Run, effect: Hold, now: int) -> None:
        row = self._held(head, effect)
        if effect.taken < 0:
            group.held.append(row)
        if effect.keeps:
            group.kept.append(kept_row(row, effect, now))

    def _held(self, head: Run, effect: Hold) -> HeldRow:
        return HeldRow(
            id=self._keys(),
            ns=head.ns,
            run=0 if effect.key and not effect.kept else head.key,
            name=effect.name,
            key=effect.key,
            body=effect.body,
            thread=effect.thread,
            position=effect.position,
            posted=effect.posted,
            expires=effect.expires,
            report=effect.report,
            source=effect.source,
            keeps=effect.keeps,
        )


def forget_steps(group: Group, run: int, gone: set[int]) -> None:
    """What the group was to write about steps that are not written."""
    for name in ("attempts", "checkpoints") if gone else ():
        if group.has(name):
            rows: list[StepAttempt | StepCheckpoint] = getattr(group, name)
            setattr(group, name, [row for row in rows if row.run != run or row.n not in gone])


def take(group: Group, effect: Claim, now: int) -> None:
    group.release.append(effect.id)
    if effect.keeps:
        group.kept_taken.append((effect.id, effect.n, now))


def kept_row(row: HeldRow, effect: Hold, now: int) -> KeptRow:
    """The record of an event that stays; it has the id of the row by which it is held."""
    taken = effect.taken >= 0
    return KeptRow(
        row.id, row.ns, row.run, row.name, effect.ident, row.body, row.thread, row.position, row.posted, row.expires, row.source,
        now if taken else 0, effect.taken if taken else 0,
    )  # fmt: skip


def has_freed(head: Run) -> bool:
    """Whether the run is over and its unique keys are free for another run."""
    return head.status >= RunStatus.COMPLETED and bool(head.flags & FREES_KEYS)


def goes_on(before: Run, head: Run) -> bool:
    """Whether a run that was over, and had freed its unique keys, goes on."""
    return has_freed(before) and head.status < RunStatus.COMPLETED


def close_wait_keys(group: Group, run: int, n: int) -> None:
    """Closes wait keys, both those opened in the same batch and those in the store."""
    group.wait_keys = [row for row in group.wait_keys if row.run != run or row.n != n]
    group.close_wait_keys.append((run, n))
