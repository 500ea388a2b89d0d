"""Applies a commit group to the tables, completely or not at all.

The order of the changes is the one that the port's users rely on: conditions first; rows that replace one of the same number
after that one is removed; removals last.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from pelton.kernel.model.reads import place_number
from pelton.kernel.model.state import FRAGMENTED, TRIED, OpenStep, RunStatus
from pelton.kernel.model.transition import UNSET
from pelton.store.group import Committed, DefinitionWrite, Group, LeaseLimit, LeaseWrite, RunWrite
from pelton.store.memory import shared
from pelton.store.memory.shared import REPLIES, SHARED, GroupLost
from pelton.store.memory.table import LAST, PRIMARY, Journal
from pelton.store.memory.tables import (
    AttributeRow,
    DeadBody,
    DefinitionBody,
    DeliveryBody,
    EventBody,
    HeldBody,
    KeptBody,
    NameRow,
    OpenRow,
    PastRow,
    PendingBody,
    RecordRow,
    ResultBody,
    RunRow,
    StepRow,
    StickyBody,
    Tables,
    ThreadRow,
    TimerValue,
)
from pelton.store.packing import UNFIT, pack
from pelton.store.rows import MOST_COPIES, DeadLetter, Delivery, EventRow, RunKeyRow, TallyValue, net_tallies, state_number


class Writes:
    def __init__(self) -> None:
        self.journal = Journal()
        self.tables = Tables(self.journal)
        self.rows_written = 0
        self._delivery = 0
        self._dead = 0
        self._line = 0
        self._numbers: list[int] = []
        self._dead_numbers: list[int] = []
        self._untaken: list[int] = []
        self._refused: list[int] = []
        self._tallies: list[TallyValue] = []
        self._crossed: list[int] = []

    def apply(self, group: Group) -> Committed:
        self._numbers, self._dead_numbers, self._untaken, self._refused = [], [], [], []
        self._tallies, self._crossed = [], []
        try:
            if not SHARED.isdisjoint(group.filled):
                shared.check(self.tables, group)
            self._check(group)
            for write in group.runs:
                self._run(write)
            self._waiting(group)
            self._names(group)
            self._events(group)
            self._leaving(group)
            self._rest(group)
            if group.has("tallies"):
                self._tally(group)
            if group.has("descendants"):
                shared.descend(self.tables, group)
            if not REPLIES.isdisjoint(group.filled):
                shared.reply(self.tables, group)
            for run in group.remove_runs:
                remove_run(self.tables, run)
        except GroupLost as lost:
            self.journal.undo()
            return Committed(group.number, False, str(lost))
        except UNFIT as error:
            self.journal.undo()
            return Committed(group.number, False, f"invalid: {error}")
        self.rows_written += self.journal.keep()
        given = self._numbers, self._dead_numbers, self._untaken, self._refused
        return Committed(group.number, True, "", *given, self._tallies, self._crossed)

    def _check(self, group: Group) -> None:
        t = self.tables
        for key, revision in group.reads:
            row = t.runs.get(key)
            if (-1 if row is None else row.rev) != revision:
                raise GroupLost(f"run {key}")
        for ns, kind, process, text in group.unnamed:
            if any(t.names.rows[key].live for key in t.names.under(PRIMARY, ns, kind, text, process)):
                raise GroupLost(f"name {text} of {ns}")
        for ns, counter in group.handlers:
            if (t.counters.get(ns) or 0) != counter:
                raise GroupLost(f"handlers {ns}")
        for definition in group.definitions:
            ns, kind, name, version = definition.ns, definition.kind, definition.name, definition.version
            if definition.expected >= 0 and t.live_definition(ns, kind, name, version) != definition.expected:
                raise GroupLost(f"definition {kind} {name} of {ns}")
        for ns, name, key_text, revision in group.rendezvous:
            if (t.rendezvous.get((ns, name, key_text)) or 0) != revision:
                raise GroupLost(f"rendezvous {name} {key_text} of {ns}")
            t.rendezvous.put((ns, name, key_text), revision + 1)

    # ---- runs

    def _run(self, write: RunWrite) -> None:
        t, key = self.tables, write.run.key
        head = self._head(write)
        self._steps(write, head[:2])
        for thread in write.threads:
            t.threads.put((key, thread.no), ThreadRow(pack(thread), thread.parent if thread.live else None))
        for no, name, value in write.variables:
            if value is UNSET:
                t.variables.drop((key, no, name))
            else:
                t.variables.put((key, no, name), pack(value))
        for n, node, value, parent in write.fragments:
            t.fragments.put((key, n, node), pack((value, parent)))
        self._record(write, head)
        self._attributes(write, head)
        for low, high, scope, it in write.purges:
            for place in list(t.steps.keys(PRIMARY, (key, low), (key, high))):
                step_row = t.steps.rows[place]
                if not scope or (step_row.scope == scope and step_row.it < it):
                    t.steps.drop(place)
                    if write.run.flags & FRAGMENTED:
                        t.fragments.drop_under(PRIMARY, *place)
                    if write.run.flags & TRIED:
                        t.attempts.drop_under(PRIMARY, *place)
                        t.checkpoints.drop_under(PRIMARY, *place)

    def _steps(self, write: RunWrite, home: tuple[str, str]) -> None:
        t, key = self.tables, write.run.key
        opened, ended = {step.n for step in write.opened}, {step.n for step in write.ended}
        self._drop_open(key, opened.intersection(write.closed))
        for n in ended.intersection(write.reopened):
            t.steps.drop((key, n))
        for step in write.ended:
            if t.steps.get((key, step.n)) is not None:
                raise GroupLost(f"step {step.n} of run {key}")
            place = place_number(step.thread, step.position) if step.position >= 0 else -1
            t.steps.put((key, step.n), StepRow(step.slot, step.scope, step.it, pack(step), place))
        for row in write.opened:
            if t.open.get((key, row.n)) is not None:
                raise GroupLost(f"open row {row.n} of run {key}")
            t.open.put((key, row.n), _open_row(row, home))
        for row, wide, leases in write.changed:
            before = t.open.get((key, row.n))
            if before is not None:
                now = _open_row(row, home) if wide else OpenRow(_bare(row), before.parts, home)
                now = now._replace(quota=before.quota)
                if not leases:
                    _with_lease(now.step, before.step)
                t.open.put((key, row.n), now)
        self._drop_open(key, set(write.closed) - opened)
        for n in write.reopened:
            if n not in ended:
                t.steps.drop((key, n))

    def _drop_open(self, key: int, numbers: Iterable[int]) -> None:
        for n in numbers:
            self.tables.open.drop((key, n))

    def _head(self, write: RunWrite) -> RunRow:
        run, runs = write.run, self.tables.runs
        before = runs.get(run.key)
        if (-1 if before is None else before.rev) != write.expected:
            raise GroupLost(f"run {run.key}")
        placeholder = run.status == RunStatus.EXPECTED
        live = not placeholder and run.status < RunStatus.COMPLETED
        process, listed, created = write.process, not placeholder, run.created
        if before is not None and (placeholder or not write.process):
            process, listed, created = before.process, before.listed, before.created
        ended = (run.ended or run.updated or 1) if run.status >= RunStatus.COMPLETED else 0
        head = RunRow(run.ns, process, listed, live, run.rev, created, pack(run), ended, run.root, int(run.status))
        runs.put(run.key, head)
        return head

    def _record(self, write: RunWrite, head: RunRow) -> None:
        t, key, record, past = self.tables, write.run.key, write.record, write.past
        if record is not None or write.unrecorded:
            before = t.records.get(key)
            if before is not None:
                born = before.born
            elif past:
                born = past[0][0].since
            else:
                born = 0 if record is None else record.since
            where = (before.ns, before.process, before.listed) if before is not None else head[:3]
            if record is not None:
                row = RecordRow(*where, born, record.since, record.number, record.live, pack(record.body))
            else:
                row = RecordRow(*where, born, past[-1][1] if past else 0, 0, False, None)
            t.records.put(key, row)
            for was, until in past:
                if t.past.get((key, was.since)) is not None:
                    raise GroupLost(f"past value {was.since} of run {key}")
                t.past.put((key, was.since), PastRow(until, was.number, was.live, pack(was.body)))

    def _attributes(self, write: RunWrite, head: RunRow) -> None:
        attributes, key = self.tables.attributes, write.run.key
        for name, text, there in write.attributes:
            if not there:
                attributes.drop((key, name, text))
        for name, text, there in write.attributes:
            if there and attributes.get((key, name, text)) is None:
                attributes.put((key, name, text), AttributeRow(*head[:3]))

    # ---- timers, held events, waits and names

    def _waiting(self, group: Group) -> None:
        t = self.tables
        for run, n, arm in group.clear_timers:
            if arm:
                t.timers.drop((run, n, arm))
            else:
                t.timers.drop_under(PRIMARY, run, n)
        for run, n, arm, epoch in group.stale_timers:
            timer = t.timers.get((run, n, arm))
            if timer is not None and timer.epoch == epoch:
                t.timers.drop((run, n, arm))
        for row in group.timers:
            t.timers.put((row.run, row.n, row.arm), TimerValue(row.epoch, row.due))
        for held in group.held:
            if t.held.get(held.id) is not None:
                raise GroupLost(f"held {held.id}")
            t.held.put(held.id, HeldBody(held.ns, held.run, held.name, held.key, held.posted, held.expires, pack(held)))
        for number in group.release:
            if not t.held.drop(number):
                raise GroupLost(f"held {number}")
        self._kept(group)
        self._tries(group)
        self._sticky(group)
        for run, n in group.close_wait_keys:
            t.waits.drop_under("step", run, n)
        for wait in group.wait_keys:
            place = (wait.ns, wait.name, wait.key, wait.run, wait.n)
            if t.waits.get(place) is None:
                t.waits.put(place, wait.opened)

    def _tries(self, group: Group) -> None:
        t = self.tables
        for attempt in group.attempts:
            t.attempts.put((attempt.run, attempt.n, attempt.number), pack(attempt))
        for numbered in group.attempts_gone:
            t.attempts.drop(numbered)
        for checkpoint in group.checkpoints:
            t.checkpoints.put((checkpoint.run, checkpoint.n, checkpoint.number), pack(checkpoint))

    def _kept(self, group: Group) -> None:
        kept = self.tables.kept
        for row in group.kept:
            if kept.get(row.id) is not None or (
                row.ident and kept.count("ident", (row.run, row.name, row.ident), (row.run, row.name, row.ident, LAST))
            ):
                raise GroupLost(f"event of run {row.run}")
            kept.put(row.id, KeptBody(row.ns, row.run, row.name, row.ident, pack(row), row.taken, row.n))
        for number, n, at in group.kept_taken:
            known = kept.get(number)
            if known is not None:
                kept.put(number, known._replace(taken=at, n=n))
        for number in group.kept_gone:
            kept.drop(number)

    def _sticky(self, group: Group) -> None:
        t = self.tables
        for number in group.sticky_gone:
            t.sticky.drop(number)
            t.copies.drop_under(PRIMARY, number)
        for row in group.sticky:
            place = (row.ns, row.name, row.key)
            if t.sticky.get(row.id) is not None or t.sticky.count("key", place, (*place, LAST)):
                raise GroupLost(f"sticky event {row.name} {row.key}")
            t.sticky.put(row.id, StickyBody(*place, row.expires, 0, pack(row)))
        for given in group.copies:
            known = t.sticky.get(given.sticky)
            if known is None:
                continue
            if known.got < MOST_COPIES:
                t.copies.put((given.sticky, given.id), pack(given))
            t.sticky.put(given.sticky, known._replace(got=known.got + 1))

    def _names(self, group: Group) -> None:
        names = self.tables.names
        for run in group.free_run_keys:
            for key in list(names.under("run", run)):
                names.put(key, names.rows[key]._replace(live=False))
        for name in group.run_keys:
            if not name.unique:
                names.put(_name(name), NameRow(True, False))
        for name in group.run_keys:
            if name.unique:
                *place, run = _name(name)
                if any(names.rows[key].live and key[4] != run for key in names.under(PRIMARY, *place)):
                    raise GroupLost(f"key {name.kind} {name.text} of {name.ns}")
                names.put(_name(name), NameRow(True, True))
        for run in group.claim_run_keys:
            for key in list(names.under("run", run)):
                names.put(key, names.rows[key]._replace(live=True))
        for run in group.claim_run_keys:
            unique = [key for key in names.under("run", run) if names.rows[key].unique]
            for *place, _ in unique:
                if any(names.rows[key].live and key[4] != run for key in names.under(PRIMARY, *place)):
                    raise GroupLost(f"keys of run {run}")

    # ---- events, and what leaves

    def _events(self, group: Group) -> None:
        t = self.tables
        for event in group.events:
            ident = (event.ns, event.source, event.event_id)
            known = t.event_ids.get(ident) is not None or t.known_events.get(ident) is not None
            if known or t.events.get(event.key) is not None:
                raise GroupLost("event")
            t.event_ids.put(ident, event.key)
            t.events.put(event.key, EventBody(event.ns, event.type, _event(event), _outcome(event), state_number(event.state)))
        for key, decisions, effects, state in group.event_updates:
            row = t.events.get(key)
            if row is not None:
                changed = row._replace(outcome=pack((decisions, effects, state)), state=state_number(state))
                t.events.put(key, changed)

    def _leaving(self, group: Group) -> None:
        """Numbers are assigned in commit order; those of a lost group stay unused."""
        t = self.tables
        deliveries: list[Delivery] = group.deliveries
        letters: list[DeadLetter] = group.dead
        for delivery in deliveries:
            self._delivery += 1
            self._numbers.append(self._delivery)
            t.deliveries.put(self._delivery, DeliveryBody(delivery.tries, delivery.due, delivery.error, pack(delivery)))
        for number in group.delivered:
            t.deliveries.drop(number)
        for number, tries, due, error in group.retried:
            row = t.deliveries.get(number)
            if row is not None:
                t.deliveries.put(number, row._replace(tries=tries, due=due, error=error))
        for letter in letters:
            self._dead += 1
            self._dead_numbers.append(self._dead)
            t.dead.put(self._dead, DeadBody(letter.ns, pack(letter)))
        for number in group.dead_removed:
            t.dead.drop(number)

    # ---- the rest

    def _rest(self, group: Group) -> None:
        t = self.tables
        for row in group.pending_signals:
            t.pending.put(row.id, PendingBody(row.run, row.due, bool(row.parked), pack(row)))
        for number in group.pending_done:
            if not t.pending.drop(number):
                raise GroupLost(f"signal {number}")
        self._definitions(group.definitions)
        self._untaken = [number for number, lease in enumerate(group.leases) if not self._lease(lease)]
        self._refused = shared.claim(t, group)
        for line in group.logs:
            self._line += 1
            t.logs.put((line.run, line.n, self._line), (line.at, line.text))
        for result in group.results:
            place = (result.job, result.run, result.n)
            if t.results.get(place) is not None:
                raise GroupLost(f"result of run {result.run} in job {result.job}")
            t.results.put(place, ResultBody(result.at, result.outcome, result.detail))
        shared.secrets(t, group)
        for bookmark in group.bookmarks:
            name = (bookmark.ns, bookmark.source, bookmark.name)
            if bookmark.state:
                t.bookmarks.put(name, bytes(bookmark.state))
            else:
                t.bookmarks.drop(name)

    def _tally(self, group: Group) -> None:
        t = self.tables
        for row in net_tallies(group.tallies):
            place = (row.ns, row.process, row.node, row.name)
            before = t.tallies.get(place) or 0
            value = before + row.by
            if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
                value = float(value)
            t.tallies.put(place, value)
            self._tallies.append(TallyValue(*place[1:], value))
            then = row.reached if before < row.at <= value else row.fallen if value < row.at <= before else None
            if row.at and then is not None:
                t.pending.put(then.id, PendingBody(then.run, then.due, bool(then.parked), pack(then)))
                self._crossed.append(then.id)

    def _lease(self, lease: LeaseWrite) -> bool:
        row = self.tables.open.get((lease.run, lease.n))
        if lease.expected >= 0 and (row is None or row.step.polls != lease.expected or (lease.unleased and row.step.lease)):
            return False
        if row is None:
            return lease.limit is None
        if lease.limit is not None and not self._room(lease, lease.limit):
            return False
        step = copy.copy(row.step)
        step.lease, step.worker, step.polls, step.started, step.due = (
            lease.lease, lease.worker, lease.polls, lease.started, lease.due,
        )  # fmt: skip
        quota = lease.limit.name if lease.limit is not None else row.quota
        self.tables.open.put((lease.run, lease.n), OpenRow(step, row.parts, row.home, quota))
        return True

    def _room(self, lease: LeaseWrite, limit: LeaseLimit) -> bool:
        """Whether the limit leaves room for it; if so, it counts towards the rate."""
        t = self.tables
        if limit.most and t.open.count("quota", (limit.name,), (limit.name, LAST)) >= limit.most:
            return False
        if limit.rate:
            for key in list(t.paced.keys(PRIMARY, (limit.name,), (limit.name, limit.at - limit.period, LAST))):
                t.paced.drop(key)
            if t.paced.count(PRIMARY, (limit.name,), (limit.name, LAST)) >= limit.rate:
                return False
            t.paced.put((limit.name, limit.at, lease.run, lease.n, lease.polls), True)
        return True

    def _definitions(self, writes: Iterable[DefinitionWrite]) -> None:
        t = self.tables
        written = list(writes)
        for write in written:
            if write.counts:  # before anything is closed: what the next value of the counter replaces
                last = t.changes.last(PRIMARY, (write.ns,), (write.ns, LAST))
                counter = 1 + max(t.counters.get(write.ns) or 0, last[1] if last is not None else 0)
                gone = t.live_definition(write.ns, write.kind, write.name, write.version)
                t.changes.put((write.ns, counter), (gone, write.row.id if write.row is not None else 0))
        for write in written:
            live = t.live_definition(write.ns, write.kind, write.name, write.version)
            if live:
                t.definitions.put(live, t.definitions.rows[live]._replace(until=write.at))
        for write in written:
            self._definition(write)
        for write in written:
            if write.counts:
                t.counters.put(write.ns, (t.counters.get(write.ns) or 0) + 1)
            if write.moves:
                t.defined.put(write.ns, (t.defined.get(write.ns) or 0) + 1)

    def _definition(self, write: DefinitionWrite) -> None:
        row, definitions = write.row, self.tables.definitions
        if row is None:
            return
        line = (write.ns, write.kind, write.name, write.version)
        later = definitions.count("time", (*line, row.since), (*line, LAST))
        live = self.tables.live_definition(*line) if not row.until else 0
        if later or live or definitions.get(row.id) is not None:
            raise GroupLost(f"definition {write.kind} {write.name} of {write.ns}")
        definitions.put(row.id, DefinitionBody(*line, row.since, row.until, row.hash, pack(row)))


def remove_run(t: Tables, run: int) -> None:
    """Removes everything about a run."""
    t.runs.drop(run)
    t.records.drop(run)
    for table in (
        t.open,
        t.steps,
        t.threads,
        t.variables,
        t.fragments,
        t.attempts,
        t.checkpoints,
        t.timers,
        t.logs,
        t.past,
        t.attributes,
    ):
        table.drop_under(PRIMARY, run)
    t.waits.drop_under("step", run)
    t.names.drop_under("run", run)
    t.kept.drop_under("run", run)
    t.pending.drop_under("run", run)
    if run:
        t.held.drop_under("run", run)


def _with_lease(row: OpenStep, known: OpenStep) -> None:
    """Gives the row the lease columns of what is stored."""
    row.lease, row.worker, row.polls, row.started, row.due = known.lease, known.worker, known.polls, known.started, known.due


def _bare(row: OpenStep) -> OpenStep:
    bare = copy.copy(row)
    bare.input = bare.output = bare.waits = None
    return bare


def _open_row(row: OpenStep, home: tuple[str, str]) -> OpenRow:
    return OpenRow(_bare(row), (pack(row.input), pack(row.output), pack(row.waits)), home)


def _name(row: RunKeyRow) -> tuple[str, str, str, str, int]:
    return row.ns, row.kind, row.text, row.process, row.run


def _event(event: EventRow) -> bytes:
    bare = copy.copy(event)
    bare.decisions, bare.effects = [], []
    return pack(bare)


def _outcome(event: EventRow) -> bytes:
    return pack((event.decisions, event.effects, event.state))
