"""The times at which an open step is woken: those of its time arms, its limits, and the begin of a delayed attempt.

Each is kept in the row (`OpenStep.times`), with the epoch of its timer. Setting a time and taking a firing both raise the epoch:
a firing that is delivered twice, or late, finds another one and changes nothing. The row says what is to come, so that a halt,
another version of the process or a lost timer changes none of it.
"""

from __future__ import annotations

from msgspec.structs import replace

from pelton.kernel.machine.draft import Draft
from pelton.kernel.model.process import Node
from pelton.kernel.model.state import NO_TRIES, Bit, DueTime, OpenStep
from pelton.kernel.model.transition import ClearTimers, SetTimer

AGAIN = "again"  # when a delayed attempt in the same step begins
LEASE = "lease"  # no time: which hand-out's limits have been announced, or moved by a halt


def set_time(draft: Draft, row: OpenStep, arm: str, at: int, *, after: int = 0, fixed: bool = False) -> None:
    """Sets the time of an arm, which replaces the one before. The row must be the draft's own."""
    due = DueTime(max(at, 1), next_epoch(row, arm), after, fixed)
    row.times = {**(row.times or {}), arm: due}
    start_timer(draft, row, arm)


def start_timer(draft: Draft, row: OpenStep, arm: str) -> None:
    due = time_of(row, arm)
    row.bits |= Bit.TIMED
    draft.effects.append(SetTimer(row.n, arm, due.epoch, due.at))


def time_of(row: OpenStep, arm: str) -> DueTime:
    return (row.times or {}).get(arm) or NEVER


NEVER = DueTime()
ENDLESS = 1 << 61  # a lease from here on is not lost


def next_epoch(row: OpenStep, arm: str) -> int:
    known = (row.times or {}).get(arm)
    if known is not None:
        return known.epoch + 1
    return row.k if arm.isdigit() else row.attempt  # what rows counted that kept no times


def spend(row: OpenStep, arm: str) -> None:
    """A time has fired, or is not waited for any more. The row must be the draft's own."""
    known = time_of(row, arm)
    row.times = {**(row.times or {}), arm: DueTime(0, next_epoch(row, arm), known.after, known.fixed)}


def drop_time(draft: Draft, row: OpenStep, arm: str) -> None:
    if time_of(row, arm).at:
        spend(row, arm)
        draft.effects.append(ClearTimers(row.n, arm))


# ---- halts


def clock_stands(draft: Draft, row: OpenStep, node: Node) -> bool:
    """Whether the step's times do not count at present, since its thread is halted."""
    return node.on_halt == "stop" and draft.halted(row.thread)


def clock(draft: Draft, row: OpenStep, node: Node) -> int:
    """The instant that durations of the step begin at: now, or when its clock stopped."""
    if not clock_stands(draft, row, node):
        return draft.now
    thread = draft.thread(row.thread)
    return (thread.halted if thread is not None else 0) or draft.now


def move_times(draft: Draft, row: OpenStep, node: Node) -> OpenStep:
    """The step's clock goes on after a halt: what was still to come when it stopped comes later by the length of the halt. Dates
    stay, and come at once where they have passed. Answers the draft's own row."""
    thread = draft.thread(row.thread)
    since = thread.halted if thread is not None else 0
    late = draft.now - since if since else 0
    row = draft.edit(row)
    for arm, due in (row.times or {}).items():
        if due.at:
            moved = due.at if due.fixed or due.at <= since else due.at + late
            set_time(draft, row, arm, moved, after=due.after, fixed=due.fixed)
    if row.lease:
        if since < row.lease < ENDLESS:
            row.lease += late
        if row.limit:
            tries = row.tries or NO_TRIES
            row.tries = replace(tries, limit=tries.limit or row.limit)  # the next attempt has it as it was decided
            row.limit += late
        row.times = {**(row.times or {}), LEASE: DueTime(0, row.polls)}
    return row
