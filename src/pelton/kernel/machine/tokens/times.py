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
LEFT, LIMIT_LEFT = "left", "limit left"  # no times: what `stop_lease` took from a hand-out


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
FOREVER = (1 << 62) - 1  # such a lease


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
    if row.times is not None and LIMIT_LEFT in row.times:
        give_back_lease(draft, row, since)
    if row.lease:
        if since < row.lease < ENDLESS:
            row.lease += late
        if row.limit:
            keep_limit(row)
            row.limit += late
        row.times = {**(row.times or {}), LEASE: DueTime(0, row.polls)}
    return row


def stop_lease(draft: Draft, row: OpenStep) -> None:
    """Work in a halted thread whose lease or limit would be over: until its clock goes on it has neither, so that nobody looks
    at it time and again among those that are over. The row must be the draft's own."""
    since = clock(draft, row, draft.node_of(row))
    keep_limit(row)
    times = dict(row.times or {})
    if row.lease < ENDLESS:
        times[LEFT] = DueTime(0, row.polls, max(row.lease - since, 1))
        row.lease = FOREVER
    times[LIMIT_LEFT] = DueTime(0, row.polls, row.limit)
    row.limit = 0
    row.times = times


def give_back_lease(draft: Draft, row: OpenStep, since: int) -> None:
    """Undoes `stop_lease`, as of the instant `since` at which the clock stopped. Work that was handed out anew since has
    its limit as it was decided; a sign of life since then has made the lease a new one."""
    times = row.times or {}
    left, limit = times.get(LEFT), times[LIMIT_LEFT]
    if left is not None and left.epoch == row.polls and row.lease >= ENDLESS:
        row.lease = (since or draft.now) + left.after
    row.limit = limit.after if limit.epoch == row.polls or row.tries is None else row.tries.limit
    row.times = {arm: due for arm, due in times.items() if arm not in {LEFT, LIMIT_LEFT}}


def keep_limit(row: OpenStep) -> int:
    """The limit of an attempt as it was decided, which the next one has too; 0 = none. The row must be the draft's own."""
    tries = row.tries or NO_TRIES
    decided = tries.limit or row.limit
    if decided != tries.limit:
        row.tries = replace(tries, limit=decided)
    return decided
