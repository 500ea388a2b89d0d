"""A batch of commit groups as operations for the writer. Everything becomes bytes here, in the main process; the writer only
binds.

The rows of all groups are stored together, operation by operation, as the writer executes them, each with the index of its
group in the batch, in case the groups have to be written one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.msgpack import Encoder

from pelton.kernel.model.reads import place_number
from pelton.kernel.model.state import FRAGMENTED, THREADED, TRIED, Bit, OpenStep, RunStatus
from pelton.kernel.model.transition import UNSET
from pelton.store.group import DefinitionWrite, Group, RunWrite
from pelton.store.packing import UNFIT, pack
from pelton.store.rows import (
    DESCENDANTS_SPAN,
    MOST_COPIES,
    EventRow,
    PendingSignalRow,
    net_descendants,
    net_tallies,
    state_number,
)  # fmt: skip
from pelton.store.sqlite.ops import NUMBER, REMOVALS, BatchOps, Row
from pelton.store.sqlite.rows import ended_row, event_ident, open_body, open_parts

_encode = Encoder().encode
NOTHING: list[Any] = []

CHECK_RUN, CHECK_HANDLERS = NUMBER["check_run"], NUMBER["check_handlers"]
RUN_NEW, RUN_STEP, RUN_TURN = NUMBER["run_new"], NUMBER["run_step"], NUMBER["run_turn"]
STEP_NEW, OPEN_NEW, OPEN_GONE = NUMBER["step_new"], NUMBER["open_new"], NUMBER["open_gone"]
STEP_PLACED, OPEN_PLACED = NUMBER["step_placed"], NUMBER["open_placed"]
OPEN_WIDE_KEPT, OPEN_NARROW_KEPT, LEASE_IF = NUMBER["open_wide_kept"], NUMBER["open_narrow_kept"], NUMBER["lease_if"]
LEASE_LIMITED = NUMBER["lease_limited"]
CLAIM = NUMBER["claim_put"]
OPEN_WIDE, OPEN_NARROW, OPEN_REPLACED = NUMBER["open_wide"], NUMBER["open_narrow"], NUMBER["open_replaced"]
TALLY = NUMBER["tally"]
VAR_PUT, EVENT_NEW, LEASE = NUMBER["var_put"], NUMBER["event_new"], NUMBER["lease"]


class Numbers:
    """Numbers that the store assigns: to deliveries, dead letters, and the (namespace, process) pairs that runs are listed
    under. All writes go through this process in one order, so numbers are assigned in commit order."""

    def __init__(self) -> None:
        self.delivery = 0
        self.dead = 0
        self.lines: dict[tuple[str, str], int] = {}
        self.unsaved: set[tuple[str, str]] = set()  # not in the file for sure yet

    def line(self, ns: str, process: str) -> int:
        number = self.lines.get((ns, process))
        if number is None:
            number = self.lines[ns, process] = len(self.lines) + 1
            self.unsaved.add((ns, process))
        return number


class Assigned:
    """Numbers assigned to a group while it was encoded; the caller gets them once the group is committed."""

    __slots__ = ("dead_numbers", "lines", "numbers")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.dead_numbers: list[int] = []
        self.lines: list[tuple[str, str]] = []


class Encoded:
    """A batch under construction. `groups`: number of groups in it. Add with `begin`, then `put`."""

    __slots__ = ("assigned", "groups", "owners", "rows")

    def __init__(self) -> None:
        self.groups = 0
        self.rows: defaultdict[int, list[Row]] = defaultdict(list)
        self.owners: defaultdict[int, list[int]] = defaultdict(list)
        self.assigned = Assigned()  # of the group at hand

    def put(self, op: int, row: Row) -> None:
        self.rows[op].append(row)
        self.owners[op].append(self.groups)

    def add(self, op: str, row: Row) -> None:
        self.put(NUMBER[op], row)

    def take(self, group: Group, numbers: Numbers, now: int) -> Assigned:
        """Adds a group. Raises one of UNFIT if a row cannot be written; then the group leaves no trace, and no number is lost."""
        assigned = self.assigned = Assigned()
        try:
            _group(self, group, numbers, now)
        except UNFIT:
            for op, owners in self.owners.items():
                while owners and owners[-1] == self.groups:
                    owners.pop()
                    self.rows[op].pop()
            raise
        self.groups += 1
        return assigned

    def ops(self) -> BatchOps:
        return {op: (rows, self.owners[op]) for op, rows in self.rows.items() if rows}

    @property
    def asks(self) -> bool:
        """Whether it has rows of which the writer tells whether they applied."""
        return LEASE_IF in self.rows or LEASE_LIMITED in self.rows or CLAIM in self.rows

    @property
    def count(self) -> int:
        return sum(map(len, self.rows.values()))

    def unfit(self) -> dict[int, str]:
        """Indexes of the groups with a row that cannot be sent through the pipe, and why."""
        found: dict[int, str] = {}
        for op, rows in self.rows.items():
            for row, owner in zip(rows, self.owners[op], strict=True):
                try:
                    _encode(row)
                except UNFIT as error:
                    found[owner] = str(error)
        return found


NO_RECORD = 0
OUTCOMES = 64  # batches of a server whose outcome is kept
SHARED = frozenset({
    "fence", "defined", "pause_epochs", "pauses", "records", "handed", "lookups", "looked", "moved", "nodes", "marks", "outcomes",
    "unclaimed", "claims", "unnamed",
})  # fmt: skip
REPLIES = frozenset({"old_requests", "requests", "replies", "replied"})
TRIES = frozenset({"attempts", "attempts_gone", "checkpoints"})
STICKY = frozenset({"sticky", "sticky_gone", "copies"})
USUAL = frozenset({"number", "runs", "handlers", "events", "run_keys", "leases"})


def _group(out: Encoded, group: Group, numbers: Numbers, now: int) -> None:
    filled = group.filled
    if "runs" in filled:
        for write in group.runs:
            _run(out, write, numbers)
    if "handlers" in filled:
        for handlers in group.handlers:
            out.put(CHECK_HANDLERS, handlers)
    if "run_keys" in filled:
        for name in group.run_keys:
            out.add("key_claim" if name.unique else "key_put", (name.ns, name.kind, name.text, name.process, name.run))
    if "events" in filled:
        for event in group.events:
            _event(out, event)
    if "leases" in filled:
        _leases(out, group)
    if not filled <= USUAL:
        _unusual(out, group, numbers, now)
        _tallies(out, group, numbers)
        _descendants(out, group)
        if not REPLIES.isdisjoint(filled):
            _replies(out, group)
        _secrets(out, group)
        if not SHARED.isdisjoint(filled):
            _shared(out, group, now)


def _leases(out: Encoded, group: Group) -> None:
    for lease in group.leases:
        columns = (lease.run, lease.n, lease.lease, lease.worker, lease.polls, lease.started, lease.due)
        if lease.limit is not None:
            name, most, rate, period, at = lease.limit
            pace = period if rate else 0
            out.put(LEASE_LIMITED, (*columns, lease.expected, int(lease.unleased), name, most, rate, pace, at))
        elif lease.expected < 0:
            out.put(LEASE, columns)
        else:
            out.put(LEASE_IF, (*columns, lease.expected, int(lease.unleased)))


def _shared(out: Encoded, group: Group, now: int) -> None:
    """What a group of one of several servers rests on, and says of its server."""
    _conditions(out, group)
    for row in group.pauses:
        out.add("check_pause", (row.ns, row.process, row.epoch - 1))
        out.add("pause_put", (row.ns, row.process, row.epoch, pack(row)))
    for lookup in group.looked:
        out.add("lookup_new", (*lookup, now))
    for lookup in group.moved:
        out.add("lookup_move", (*lookup, now))
    for node in group.nodes:
        out.add("check_node", (node.number, node.expected))
        out.add("node_put", (node.number, node.epoch, node.seen, node.settled))
    for mark in group.marks:
        out.add("node_mark", mark)
        out.add("outcome_old", (mark.number, mark.batch - OUTCOMES, mark.batch))
    for number, batch in group.outcomes:
        out.add("outcome_new", (number, batch, group.number))
    for claim in group.unclaimed:
        out.add("claim_gone", claim[:4])
    for claim in group.claims:
        out.add("claim_put", claim)


def _secrets(out: Encoded, group: Group) -> None:
    for name in group.secrets_gone if group.has("secrets_gone") else ():
        out.add("secret_gone", name)
    for row in group.secrets if group.has("secrets") else ():
        out.add("secret_put", (row.ns, row.name, pack(row)))


def _conditions(out: Encoded, group: Group) -> None:
    for fence in group.fence:
        out.add("check_node", fence)
    for ns, counter in group.defined:
        out.add("check_defined", (ns, counter))
    for known in group.pause_epochs:
        out.add("check_pause", known)
    for ns, kind, process, text in group.unnamed:
        out.add("check_unnamed", (ns, kind, text, process, 0))
    for run, since in group.records:
        out.add("check_record", (run, since or NO_RECORD))
    for handed in group.handed:
        out.add("check_handed", (*handed, 1))
    for lookup, revision in group.lookups:
        out.add("check_lookup", (*lookup, revision))


def _unusual(out: Encoded, group: Group, numbers: Numbers, now: int) -> None:
    for key, revision in group.reads:
        out.put(CHECK_RUN, (key, revision))
    for ns, name, text, revision in group.rendezvous:
        if revision:
            out.add("rendezvous_raise", (ns, name, text, revision, now))
        else:
            out.add("rendezvous_new", (ns, name, text, now))
    _rendezvous(out, group)
    if not TRIES.isdisjoint(group.filled):
        _tries(out, group)
    for key, decisions, effects, state in group.event_updates:
        out.add("event_outcome", (key, pack((decisions, effects, state)), state_number(state)))
    for row in group.pending_signals:
        out.add("inbox_put", (row.id, row.run, row.due, 1 if row.parked else 0, pack(row)))
    for number in group.pending_done:
        out.add("inbox_gone", (number,))
    _leaving(out, group, numbers)
    for definition in group.definitions:
        _definition(out, definition)
    for line in group.logs:
        out.add("log_new", (line.run, line.n, line.at, line.text))
    for result in group.results:
        out.add("result_new", (result.job, result.run, result.n, result.at, result.outcome, result.detail))
    for bookmark in {(row.ns, row.source, row.name): row for row in group.bookmarks}.values():
        if bookmark.state:
            out.add("seen_put", (bookmark.ns, bookmark.source, bookmark.name, bookmark.state))
        else:
            out.add("seen_gone", (bookmark.ns, bookmark.source, bookmark.name))
    for run in group.remove_runs:
        for removal in REMOVALS:
            out.put(removal, (run,))


def _run(out: Encoded, write: RunWrite, numbers: Numbers) -> None:
    line = _head(out, write, numbers)
    key = write.run.key
    put = out.put
    if write.closed:
        opened = {step.n for step in write.opened}
        for n in write.closed:
            put(OPEN_REPLACED if n in opened else OPEN_GONE, (key, n))
    if write.reopened:
        ended = {step.n for step in write.ended}
        for n in write.reopened:
            out.add("step_replaced" if n in ended else "step_gone", (key, n))
    for step in write.ended:
        bits, body, blobs = ended_row(step)
        row = (key, step.n, step.slot, step.scope, step.it, bits, body)
        if step.position < 0:
            put(STEP_NEW, row)
        else:
            put(STEP_PLACED, (*row, place_number(step.thread, step.position)))
        if blobs:
            _blobs(out, key, step.n, blobs)
    if write.opened or write.changed:
        _open(out, write, line)
    for thread in write.threads:
        out.add("thread_put", (key, thread.no, pack(thread), thread.parent if thread.live else None))
    for no, name, value in write.variables:
        if value is UNSET:
            out.add("var_gone", (key, no, name))
        else:
            out.put(VAR_PUT, (key, no, name, pack(value)))
    for n, node, value, parent in write.fragments:
        out.add("fragment_put", (key, n, node, pack(value), parent))
    if write.record is not None or write.unrecorded or write.attributes:
        _record(out, write)
    if write.purges:
        _purges(out, write)


def _purges(out: Encoded, write: RunWrite) -> None:
    key, flags = write.run.key, write.run.flags
    tables = (["fragment"] if flags & FRAGMENTED else []) + (["attempt", "checkpoint"] if flags & TRIED else [])
    for low, high, scope, it in write.purges:
        if scope:
            out.add("purge_scope", (key, low, high, scope, it))
            for table in tables:
                out.add(f"purge_{table}_scope", (key, low, high, scope, it))
        else:
            out.add("purge", (key, low, high))
            for table in tables:
                out.add(f"purge_{table}", (key, low, high))


def _record(out: Encoded, write: RunWrite) -> None:
    """A removed document leaves a row without a body, so that lists as of an earlier instant find it."""
    key, record, past = write.run.key, write.record, write.past
    born = past[0][0].since if past else 0 if record is None else record.since
    if record is not None:
        out.add("record_put", (key, born, record.since, record.number, int(record.live), pack(record.body)))
    elif write.unrecorded:
        out.add("record_put", (key, born, past[-1][1] if past else 0, 0, 0, None))
    for was, until in past:
        out.add("past_new", (key, was.since, until, was.number, int(was.live), pack(was.body)))
    for name, text, there in write.attributes:
        out.add("attr_put" if there else "attr_gone", (key, name, text))


def _open(out: Encoded, write: RunWrite, line: int) -> None:
    key, put = write.run.key, out.put
    threaded = write.run.flags & THREADED
    for row in write.opened:
        bits, columns, blobs = open_parts(row)
        values = (key, row.n, row.slot, row.scope, row.it, *_work(row), open_body(row), bits, *columns, line)
        if not threaded and row.n > 0 and row.position < 0:
            put(OPEN_NEW, values)
        else:
            place = place_number(row.thread, row.position) if row.position >= 0 and row.n > 0 else None
            thread = row.thread if threaded or row.n < 0 else None
            put(OPEN_PLACED, (*values, place, thread, _stranded(row)))
        if blobs:
            _blobs(out, key, row.n, blobs)
    for row, wide, leases in write.changed:
        if wide:
            bits, columns, blobs = open_parts(row)
            if leases:
                put(OPEN_WIDE, (key, row.n, *_work(row), open_body(row), bits, *columns))
            else:
                put(OPEN_WIDE_KEPT, (key, row.n, row.queue, -row.priority, row.limit, open_body(row), bits, *columns))
            _blobs(out, key, row.n, blobs)
        elif leases:
            put(OPEN_NARROW, (key, row.n, *_work(row), open_body(row)))
        else:
            put(OPEN_NARROW_KEPT, (key, row.n, row.queue, -row.priority, row.limit, open_body(row)))
        if row.n < 0:
            out.add("open_stranded", (key, row.n, _stranded(row)))


def _head(out: Encoded, write: RunWrite, numbers: Numbers) -> int:
    """A placeholder is not listed; a run is listed under its namespace and process from the write that names the process. Returns
    what it is listed under, 0 where the write does not say."""
    run = write.run
    head = pack(run)
    placeholder = run.status == RunStatus.EXPECTED
    over = run.status >= RunStatus.COMPLETED
    live = 0 if placeholder or over else 1
    ended = (run.ended or run.updated or 1) if over else 0
    line = 0
    if not placeholder and (write.process or write.expected < 0):
        line = _line(out, numbers, run.ns, write.process)
    if write.expected < 0:
        out.put(RUN_NEW, (run.key, line, live, run.rev, run.created, head, ended, int(run.status)))
    elif line:
        out.add("run_named", (run.key, write.expected, run.rev, head, live, line, run.created, ended, int(run.status)))
    elif not live or run.era:  # a run leaves and joins the live ones only by an end and a rewind, which raises the era
        out.put(RUN_TURN, (run.key, write.expected, run.rev, head, live, ended, int(run.status)))
    else:
        out.put(RUN_STEP, (run.key, write.expected, run.rev, head, int(run.status)))
    return line


def _stranded(row: OpenStep) -> int | None:
    return 1 if row.bits & Bit.STRANDED else None


def _replies(out: Encoded, group: Group) -> None:
    for at in group.old_requests:
        out.add("request_old", (at,))
    for row in group.requests:
        out.add("request_new", (row.ns, row.request, row.body, row.expires))
    for reply in group.replies:
        out.add("reply", reply)
    for request in group.replied:
        out.add("request_gone", request)


def _tallies(out: Encoded, group: Group, numbers: Numbers) -> None:
    for row in net_tallies(group.tallies) if group.has("tallies") else ():
        line = _line(out, numbers, row.ns, row.process)
        out.put(TALLY, (line, row.node, row.name, row.by, row.at, *_crossing(row.reached), *_crossing(row.fallen)))


def _descendants(out: Encoded, group: Group) -> None:
    rows = net_descendants(group.descendants) if group.has("descendants") else ()
    for over in {row.since - DESCENDANTS_SPAN for row in rows}:
        out.add("descendants_old", (over,))
    for row in rows:
        out.add("descendants_add", (row.ns, row.ancestor, row.count, row.since, row.since - DESCENDANTS_SPAN))


def _line(out: Encoded, numbers: Numbers, ns: str, process: str) -> int:
    line = numbers.line(ns, process)
    if (ns, process) in numbers.unsaved:
        out.assigned.lines.append((ns, process))
        out.add("line_new", (line, ns, process))
    return line


def _crossing(row: PendingSignalRow | None) -> Row:
    """The columns of a durable signal that may have to be written; id 0: there is none."""
    return (0, 0, 0, 0, b"") if row is None else (row.id, row.run, row.due, 1 if row.parked else 0, pack(row))


def _work(row: OpenStep) -> Row:
    return (row.queue, -row.priority, row.due, row.lease, row.limit, row.started, row.polls, row.worker)


def _blobs(out: Encoded, run: int, n: int, blobs: Iterable[tuple[int, bytes]]) -> None:
    for part, data in blobs:
        out.add("blob_put", (run, n, part, data))


def _sticky(out: Encoded, group: Group) -> None:
    for number in group.sticky_gone:
        out.add("sticky_gone", (number,))
        out.add("copies_gone", (number,))
    for row in group.sticky:
        body = pack(row)
        out.add("sticky_new", (row.id, row.ns, row.name, row.key, row.expires, len(body), body))
    for given in group.copies:
        out.add("copy_new", (given.sticky, given.id, pack(given), MOST_COPIES))
        out.add("copy_count", (given.sticky,))


def _rendezvous(out: Encoded, group: Group) -> None:
    for run, n, arm in group.clear_timers:
        if arm:
            out.add("timer_clear_arm", (run, n, arm))
        else:
            out.add("timer_clear", (run, n))
    for stale in group.stale_timers:
        out.add("timer_stale", stale)
    for timer in group.timers:
        out.add("timer_put", (timer.run, timer.n, timer.arm, timer.epoch, timer.due))
    for held in group.held:
        out.add("held_new", (held.id, held.ns, held.run, held.name, held.key, held.posted, held.expires, pack(held)))
    for number in group.release:
        out.add("held_release", (number,))
    for event in group.kept:
        out.add("kept_new", (event.id, event.ns, event.run, event.name, event.ident, event.taken, event.n, pack(event)))
    for taken in group.kept_taken:
        out.add("kept_taken", taken)
    for number in group.kept_gone:
        out.add("kept_gone", (number,))
    if not STICKY.isdisjoint(group.filled):
        _sticky(out, group)
    for run, n in group.close_wait_keys:
        out.add("wait_close", (run, n))
    for wait in group.wait_keys:
        out.add("wait_open", (wait.ns, wait.name, wait.key, wait.run, wait.n, wait.opened))
    for run in group.free_run_keys:
        out.add("key_free", (run,))
    for run in group.claim_run_keys:
        out.add("key_again", (run,))
        out.add("check_keys", (run, 0))


def _tries(out: Encoded, group: Group) -> None:
    for attempt in group.attempts:
        out.add("attempt_put", (attempt.run, attempt.n, attempt.number, pack(attempt)))
    for place in group.attempts_gone:
        out.add("attempt_gone", place)
    for checkpoint in group.checkpoints:
        out.add("checkpoint_put", (checkpoint.run, checkpoint.n, checkpoint.number, pack(checkpoint)))


def _event(out: Encoded, event: EventRow) -> None:
    """Decisions and effects may change later, so they are in a separate column, not in the body."""
    outcome = pack((event.decisions, event.effects, event.state))
    kept = event.decisions, event.effects
    event.decisions, event.effects = NOTHING, NOTHING
    try:
        body = pack(event)
    finally:
        event.decisions, event.effects = kept
    ident = event_ident(event.ns, event.source, event.event_id)
    out.put(EVENT_NEW, (event.key, event.ns, event.type, ident, body, outcome, state_number(event.state)))


def _leaving(out: Encoded, group: Group, numbers: Numbers) -> None:
    """Numbers are in the column only, not in the body, and are assigned once everything else has been encoded."""
    bodies = [pack(delivery) for delivery in group.deliveries]
    letters = [pack(letter) for letter in group.dead]
    for delivery, body in zip(group.deliveries, bodies, strict=True):
        numbers.delivery += 1
        out.assigned.numbers.append(numbers.delivery)
        out.add("delivery_new", (numbers.delivery, delivery.tries, delivery.due, delivery.error, body))
    for letter, body in zip(group.dead, letters, strict=True):
        numbers.dead += 1
        out.assigned.dead_numbers.append(numbers.dead)
        out.add("dead_new", (numbers.dead, letter.ns, body))
    for number in group.delivered:
        out.add("delivery_gone", (number,))
    for number, tries, due, error in group.retried:
        out.add("delivery_retry", (number, tries, due, error))
    for number in group.dead_removed:
        out.add("dead_gone", (number,))


def _definition(out: Encoded, write: DefinitionWrite) -> None:
    name: Row = (write.ns, write.kind, write.name, write.version)
    if write.expected >= 0:
        out.add("check_definition", (*name, write.expected))
    row = write.row
    if write.counts:
        out.add("handler_change", (*name, row.id if row is not None else 0))
    out.add("definition_close", (*name, write.at))
    if row is not None:
        out.add("definition_new", (row.id, *name, row.since, row.until, row.hash, pack(row)))
    if write.counts:
        out.add("counter_raise", (write.ns,))
    if write.moves:
        out.add("defined_raise", (write.ns,))


ORDERED = frozenset({"pauses", "nodes", "records", "handed", "lookups", "moved", "claims", "unclaimed", "defined", "unnamed"})
"""Rows whose conditions another group of the batch may change: such a batch is written group by group."""
PLAIN = frozenset({"number", "runs", "handlers", "events", "leases", "run_keys"})


def entangled(groups: Sequence[Group]) -> bool:
    """Whether two groups share a row, so that they must be written one after the other to be checked correctly."""
    if len(groups) < 2:
        return bool(groups and groups[0].has("definitions"))
    written: set[object] = set()
    read: set[object] = set()
    for group in groups:
        if group.filled <= PLAIN and len(group.runs) == 1 and _own_keys(group):  # most are so
            key = group.runs[0].run.key
            if key in written or key in read:
                return True
            written.add(key)
            if "run_keys" in group.filled:
                written.add(("key", key))
            continue
        if group.has("definitions") or not ORDERED.isdisjoint(group.filled):
            return True
        mine = _places(group)
        seen: set[object] = {key for key, _ in group.reads}
        if not written.isdisjoint(mine) or not written.isdisjoint(seen) or not read.isdisjoint(mine):
            return True
        written |= mine
        read |= seen
    return False


def _own_keys(group: Group) -> bool:
    """Whether all keys belong to the group's one run, so that another group with the run's keys has the run too."""
    if "run_keys" not in group.filled:
        return True
    run = group.runs[0].run.key
    return all(name.run == run for name in group.run_keys)


def _places(group: Group) -> set[object]:
    """What the group writes that another group may write too, in an order other than that of the operations."""
    mine: set[object] = {write.run.key for write in group.runs}
    mine.update(point[:3] for point in group.rendezvous)
    mine.update(group.remove_runs)
    mine.update(("held", row.id) for row in group.held)
    mine.update(("held", number) for number in group.release)
    mine.update(("held", row.id) for row in group.kept)
    mine.update(("held", number) for number in (*group.kept_gone, *(taken[0] for taken in group.kept_taken)))
    mine.update(("key", name.run) for name in group.run_keys)
    mine.update(("key", run) for run in (*group.free_run_keys, *group.claim_run_keys))
    mine.update(("timer", timer.run, timer.n) for timer in group.timers)
    mine.update(("timer", run, n) for run, n, _ in group.clear_timers)
    mine.update(("secret", *name) for name in group.secrets_gone)
    mine.update(("secret", row.ns, row.name) for row in group.secrets)
    mine.update(("bookmark", row.ns, row.source, row.name) for row in group.bookmarks)
    return mine
