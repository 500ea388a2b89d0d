"""Checkpoints of work: what the next attempt of a step need not do again.

Only the attempt that is current, and handed out, puts one. Who has lost the work without knowing it is told to stop, and nothing
is stored.

Cost: one row a checkpoint; the open row of the step has their number.
"""

from __future__ import annotations

from msgspec import MsgspecError, json
from msgspec.structs import replace

from pelton.errors import Code
from pelton.kernel.machine.draft import Draft, Refusal
from pelton.kernel.machine.tokens.attempts import ATTEMPT_TEXT
from pelton.kernel.machine.tokens.times import ENDLESS, LEASE, clock, keep_limit
from pelton.kernel.model.signals import PutCheckpoint
from pelton.kernel.model.state import NO_TRIES, TRIED, DueTime, OpenStep, State, StepCheckpoint, worker_of
from pelton.kernel.model.transition import KeepCheckpoint

MOST_CHECKPOINTS = 10_000  # of a step, over all its attempts
CHECKPOINT_BYTES = 262_144  # of JSON


def checkpoint(draft: Draft, signal: PutCheckpoint) -> None:
    row = current(draft, signal)
    tries = row.tries or NO_TRIES
    number = tries.checkpoints
    if 0 <= signal.number < number:
        raise Refusal(Code.EXISTS, f"step {row.slot!r} has a checkpoint {signal.number} already")
    if signal.number > number:
        raise Refusal(Code.CONFLICT, f"the next checkpoint of step {row.slot!r} is {number}, not {signal.number}")
    if number >= MOST_CHECKPOINTS:
        raise Refusal(Code.TOO_LARGE, f"step {row.slot!r} has {MOST_CHECKPOINTS} checkpoints, and may not have more")
    check_size(signal)
    row = draft.edit(row)
    row.tries = replace(tries, checkpoints=number + 1)
    row.updated = draft.now
    begin_anew(draft, row)
    draft.head.flags |= TRIED
    kept = StepCheckpoint(
        row.run, tries.base or row.n, number, row.attempt, draft.now, signal.value, signal.log[:ATTEMPT_TEXT]
    )  # fmt: skip
    draft.effects.append(KeepCheckpoint(kept))


def current(draft: Draft, signal: PutCheckpoint) -> OpenStep:
    """The step, if the sender is who works on it. Raises Refusal."""
    row = draft.open(signal.n) if signal.n > 0 else None
    if row is None or row.state != State.WORK:
        raise Refusal(Code.STEP_ENDED, f"step {signal.n} is not open, or is no work")
    if signal.attempt != row.attempt:
        raise Refusal(
            Code.STEP_ENDED, f"attempt {signal.attempt} of step {row.slot!r} is over; attempt {row.attempt} is the current one"
        )
    if not row.lease:
        raise Refusal(Code.STEP_ENDED, f"step {row.slot!r} is handed out to nobody at present")
    if signal.worker and worker_of(signal.worker)[0] != worker_of(row.worker)[0]:
        raise Refusal(Code.STEP_ENDED, f"step {row.slot!r} is handed out to another worker")
    return row


def check_size(signal: PutCheckpoint) -> None:
    try:
        size = len(json.encode(signal.value))
    except (MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise Refusal(Code.INVALID, f"the value of the checkpoint is no JSON: {error}") from None
    if size > CHECKPOINT_BYTES:
        raise Refusal(Code.TOO_LARGE, f"the value of the checkpoint has {size} bytes; the limit is {CHECKPOINT_BYTES}")


def begin_anew(draft: Draft, row: OpenStep) -> None:
    """The lease and the limit of the attempt count from now on; what was announced of them may be announced again. A firing that
    is under way by the old times finds LEASE, and that nothing is spent."""
    now = clock(draft, row, draft.node_of(row))
    if row.idle and row.lease < ENDLESS:
        row.lease = now + row.idle
    if row.limit:
        row.limit = max(now - row.started, 0) + keep_limit(row)
    if row.idle or row.limit:
        others = {arm: due for arm, due in (row.times or {}).items() if arm not in ("idle", "limit") or due.at or due.fixed}
        row.times = {**others, LEASE: DueTime(0, row.polls)}
