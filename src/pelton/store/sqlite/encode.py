"""A commit group as operations for the writer. Everything becomes bytes here, in the main process; the writer only binds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pelton.kernel.rows import OpenStep, RunStatus
from pelton.kernel.transition import UNSET
from pelton.store.base import DefinitionWrite, Group, RunWrite
from pelton.store.sqlite.ops import NUMBER, REMOVALS, GroupOps, Row
from pelton.store.sqlite.rows import ended_row, event_ident, open_body, open_parts, pack

O = NUMBER  # noqa: E741 - read as "the operation ..."


class Numbers:
    """Numbers that the store gives out: of deliveries, dead letters, and the (namespace, process) pairs that runs are listed
    under. All writes come through this process in one order, so that the order of giving out is the order of commits."""

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


class Encoded:
    """One group as operations, with what the caller is to be told when it is in."""

    __slots__ = ("dead_numbers", "lines", "number", "numbers", "ops")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ops: GroupOps = {}
        self.numbers: list[int] = []
        self.dead_numbers: list[int] = []
        self.lines: list[tuple[str, str]] = []

    def add(self, op: str, row: Row) -> None:
        self.ops.setdefault(O[op], []).append(row)


def encode(group: Group, numbers: Numbers, now: int) -> Encoded:
    """Raises TypeError or msgspec.EncodeError when a row holds what is not plain data; no number is lost by that."""
    out = Encoded(group.number)
    for key, revision in group.reads:
        out.add("check_run", [key, revision])
    for ns, counter in group.handlers:
        out.add("check_handlers", [ns, counter])
    for ns, name, text, revision in group.rendezvous:
        if revision:
            out.add("rendezvous_raise", [ns, name, text, revision, now])
        else:
            out.add("rendezvous_new", [ns, name, text, now])
    for write in group.runs:
        _run(out, write, numbers)
    _meetings(out, group)
    _events(out, group)
    _leaving(out, group, numbers)
    for definition in group.definitions:
        _definition(out, definition)
    for lease in group.leases:
        out.add("lease", [lease.run, lease.n, lease.lease, lease.worker, lease.polls, lease.started, lease.due])
    for line in group.logs:
        out.add("log_new", [line.run, line.n, line.at, line.text])
    for run in group.remove_runs:
        for removal in REMOVALS:
            out.ops.setdefault(removal, []).append([run])
    return out


def _run(out: Encoded, write: RunWrite, numbers: Numbers) -> None:
    _head(out, write, numbers)
    key = write.run.key
    opened = {step.n for step in write.opened}
    ended = {step.n for step in write.ended}
    for n in write.closed:
        out.add("open_replaced" if n in opened else "open_gone", [key, n])
    for n in write.reopened:
        out.add("step_replaced" if n in ended else "step_gone", [key, n])
    for step in write.ended:
        bits, body, blobs = ended_row(step)
        out.add("step_new", [key, step.n, step.slot, step.scope, step.it, bits, body])
        _blobs(out, key, step.n, blobs)
    for row in write.opened:
        bits, columns, blobs = open_parts(row)
        out.add("open_new", [key, row.n, row.slot, row.scope, row.it, *_work(row), open_body(row), bits, *columns])
        _blobs(out, key, row.n, blobs)
    for row, wide in write.changed:
        if wide:
            bits, columns, blobs = open_parts(row)
            out.add("open_wide", [key, row.n, *_work(row), open_body(row), bits, *columns])
            _blobs(out, key, row.n, blobs)
        else:
            out.add("open_narrow", [key, row.n, *_work(row), open_body(row)])
    for thread in write.threads:
        out.add("thread_put", [key, thread.no, pack(thread)])
    for no, name, value in write.variables:
        if value is UNSET:
            out.add("var_gone", [key, no, name])
        else:
            out.add("var_put", [key, no, name, pack(value)])
    for n, node, value in write.fragments:
        out.add("fragment_put", [key, n, node, pack(value)])
    for low, high, scope, it in write.purges:
        if scope:
            out.add("purge_scope", [key, low, high, scope, it])
        else:
            out.add("purge", [key, low, high])


def _head(out: Encoded, write: RunWrite, numbers: Numbers) -> None:
    """A stub is not listed; a run is, under its namespace and process, from the write that names the process."""
    run = write.run
    head = pack(run)
    stub = run.status == RunStatus.EXPECTED
    live = 0 if stub or run.status >= RunStatus.COMPLETED else 1
    line = 0
    if not stub and (write.process or write.expected < 0):
        line = numbers.line(run.ns, write.process)
        if (run.ns, write.process) in numbers.unsaved:
            out.lines.append((run.ns, write.process))
            out.add("line_new", [line, run.ns, write.process])
    if write.expected < 0:
        out.add("run_new", [run.key, line, live, run.rev, run.created, head])
    elif line:
        out.add("run_named", [run.key, write.expected, run.rev, head, live, line, run.created])
    elif not live or run.era:  # a run leaves and joins the live ones only by an end and a rewind, which raises the era
        out.add("run_turn", [run.key, write.expected, run.rev, head, live])
    else:
        out.add("run_step", [run.key, write.expected, run.rev, head])


def _work(row: OpenStep) -> Row:
    return [row.queue, -row.priority, row.due, row.lease, row.limit, row.started, row.polls, row.worker]


def _blobs(out: Encoded, run: int, n: int, blobs: Iterable[tuple[int, bytes]]) -> None:
    for part, data in blobs:
        out.add("blob_put", [run, n, part, data])


def _meetings(out: Encoded, group: Group) -> None:
    for run, n, arm in group.clear_timers:
        if arm:
            out.add("timer_clear_arm", [run, n, arm])
        else:
            out.add("timer_clear", [run, n])
    for timer in group.timers:
        out.add("timer_put", [timer.run, timer.n, timer.arm, timer.epoch, timer.due])
    for held in group.held:
        out.add("held_new", [held.id, held.ns, held.run, held.name, held.key, held.posted, held.expires, pack(held)])
    for number in group.release:
        out.add("held_release", [number])
    for run, n in group.close_wait_keys:
        out.add("wait_close", [run, n])
    for wait in group.wait_keys:
        out.add("wait_open", [wait.ns, wait.name, wait.key, wait.run, wait.n])
    for run in group.free_run_keys:
        out.add("key_free", [run])
    for name in group.run_keys:
        out.add("key_claim" if name.unique else "key_put", [name.ns, name.kind, name.text, name.process, name.run])


def _events(out: Encoded, group: Group) -> None:
    for event in group.events:
        outcome = pack((event.decisions, event.effects, event.state))
        kept = event.decisions, event.effects
        event.decisions, event.effects = [], []
        try:
            body = pack(event)
        finally:
            event.decisions, event.effects = kept
        ident = event_ident(event.ns, event.source, event.event_id)
        out.add("event_new", [event.key, event.ns, event.type, ident, body, outcome])
    for key, decisions, effects, state in group.event_updates:
        out.add("event_outcome", [key, pack((decisions, effects, state))])
    for row in group.inbox:
        out.add("inbox_put", [row.id, row.run, row.due, 1 if row.parked else 0, pack(row)])
    for number in group.inbox_done:
        out.add("inbox_gone", [number])


def _leaving(out: Encoded, group: Group, numbers: Numbers) -> None:
    """Numbers are kept in the column only, not in the body, and are given out when everything else has been turned into bytes."""
    bodies = [pack(delivery) for delivery in group.deliveries]
    letters = [pack(letter) for letter in group.dead]
    for delivery, body in zip(group.deliveries, bodies, strict=True):
        numbers.delivery += 1
        out.numbers.append(numbers.delivery)
        out.add("delivery_new", [numbers.delivery, delivery.tries, delivery.due, delivery.error, body])
    for letter, body in zip(group.dead, letters, strict=True):
        numbers.dead += 1
        out.dead_numbers.append(numbers.dead)
        out.add("dead_new", [numbers.dead, letter.ns, body])
    for number in group.delivered:
        out.add("delivery_gone", [number])
    for number, tries, due, error in group.retried:
        out.add("delivery_retry", [number, tries, due, error])
    for number in group.dead_removed:
        out.add("dead_gone", [number])


def _definition(out: Encoded, write: DefinitionWrite) -> None:
    name: Row = [write.ns, write.kind, write.name, write.version]
    if write.expected >= 0:
        out.add("check_definition", [*name, write.expected])
    out.add("definition_close", [*name, write.at])
    row = write.row
    if row is not None:
        out.add("definition_new", [row.id, *name, row.since, row.until, row.hash, pack(row)])
    if write.counts:
        out.add("counter_raise", [write.ns])


def entangled(groups: Sequence[Group]) -> bool:
    """Whether two groups meet on a row, so that they must go in one after the other to be judged rightly."""
    if len(groups) < 2:
        return bool(groups and groups[0].definitions)
    written: set[object] = set()
    read: set[object] = set()
    for group in groups:
        if group.definitions:
            return True
        mine: set[object] = {write.run.key for write in group.runs}
        mine.update(meeting[:3] for meeting in group.rendezvous)
        mine.update(group.remove_runs)
        seen: set[object] = {key for key, _ in group.reads}
        if not written.isdisjoint(mine) or not written.isdisjoint(seen) or not read.isdisjoint(mine):
            return True
        written |= mine
        read |= seen
    return False
