"""Attempts of a step of work: what is kept of one that another follows, and what the next one goes on with.

A step that is tried once has no row but its own. Where the definition makes each attempt a step, that step is the attempt. Where
it is tried again in place, the transition that ends an attempt writes a row of it, and drops the oldest one beyond MOST_ATTEMPTS.

Cost: one row for each attempt that failed and is followed by another; nothing otherwise.
"""

from __future__ import annotations

from typing import Any

from msgspec import MsgspecError, json
from msgspec.structs import replace

from pelton.kernel.machine.draft import Draft, StepFailed
from pelton.kernel.model.state import NO_TRIES, TRIED, OpenStep, Step, StepAttempt, Tries
from pelton.kernel.model.transition import KeepAttempt

MOST_ATTEMPTS = 100  # the newest of a step that are known, the last one included
ATTEMPT_TEXT = 10_000  # characters of a message, and of a log
ATTEMPT_CONTENT = 4_096  # bytes of JSON of what came with a failure; more is left out


def keep_attempt(draft: Draft, row: OpenStep, item: StepFailed) -> None:
    """The present attempt has ended and the next one is made: `row` must be the draft's own."""
    failure = item.failure
    attempt = as_attempt(row)
    attempt.ended, attempt.status = draft.now, item.status
    attempt.failure, attempt.kind = failure.name, failure.kind
    attempt.message, attempt.content = failure.message[:ATTEMPT_TEXT], bounded(failure.content)
    draft.effects.append(KeepAttempt(attempt, max(row.attempt - (MOST_ATTEMPTS - 1), -1)))
    draft.head.flags |= TRIED
    tries = row.tries or NO_TRIES
    if tries.limit:
        row.limit = tries.limit
    row.tries = replace(tries, since=draft.now, limit=0, log="", lost=False)


def as_attempt(row: OpenStep | Step) -> StepAttempt:
    """The last attempt of a step, by the step's own row."""
    tries = row.tries or NO_TRIES
    attempt = StepAttempt(
        row.run, row.n, row.attempt, tries.since or row.opened, 0, row.started, lost=tries.lost, worker=row.worker,
        polls=row.polls, log=tries.log,
    )  # fmt: skip
    if isinstance(row, OpenStep):
        attempt.due = row.due
    else:
        attempt.ended, attempt.status, attempt.failure, attempt.kind = row.ended, row.status, row.failure, row.kind
        if row.failure:
            attempt.message, attempt.content = row.reason[:ATTEMPT_TEXT], bounded(row.content)
        else:
            attempt.message = row.reason[:ATTEMPT_TEXT]
    return attempt


def bounded(content: Any) -> Any:
    if content is None:
        return None
    try:
        return content if len(json.encode(content)) <= ATTEMPT_CONTENT else None
    except (MsgspecError, TypeError, ValueError, OverflowError):
        return None


def add_log(row: OpenStep, text: str) -> None:
    """What a worker logged, after what it logged before; the end of a long one is kept. `row` must be the draft's own."""
    tries = row.tries or NO_TRIES
    whole = f"{tries.log}\n{text}" if tries.log else text
    row.tries = replace(tries, log=whole[-ATTEMPT_TEXT:])


def carried(row: OpenStep) -> Tries | None:
    """What an attempt that is a step of its own has from the one before: its checkpoints."""
    tries = row.tries
    if tries is None or not tries.checkpoints:
        return None
    return Tries(checkpoints=tries.checkpoints, base=tries.base or row.n)
