"""Attempts of steps and their checkpoints, as callers read and put them.

What is stored of an attempt is in the kernel's `tokens/attempts.py`: the last one is the step's own row. Checkpoints are found
under the number of the step whose attempt put the first one; those that the step does not count are of before a rewind.

Cost of a list: one read of rows, and one for each attempt that is a step of its own, at most MOST_ATTEMPTS.
"""

from __future__ import annotations

from typing import Protocol

from msgspec.structs import replace

from pelton.errors import Code, PeltonError
from pelton.kernel.machine.tokens.attempts import MOST_ATTEMPTS, as_attempt
from pelton.kernel.model.reads import StepKey
from pelton.kernel.model.signals import PutCheckpoint
from pelton.kernel.model.state import NO_TRIES, OpenStep, Run, State, Step, StepAttempt, StepCheckpoint
from pelton.runtime.api import CheckpointPut
from pelton.store.packing import pack
from pelton.store.port import Store

TRIES = 8  # a checkpoint without a number: others may come between
STOP = frozenset({Code.STEP_ENDED, Code.NO_STEP, Code.ENDED, Code.NOT_FOUND, Code.UNKNOWN_RUN})


class Signals(Protocol):
    async def __call__(self, run: int, signal: PutCheckpoint) -> object: ...


async def attempts_of(store: Store, head: Run, n: int) -> list[StepAttempt]:
    """The newest attempts of a step of work, oldest first."""
    found: list[StepAttempt] = []
    row: OpenStep | Step | None = (await store.read(head, [StepKey(n)]))[0] if n > 0 else None
    while row is not None and row.state == State.WORK and len(found) < MOST_ATTEMPTS:
        found.append(as_attempt(row))
        if row.tries is not None and row.tries.since:
            stored = await store.attempts(head.key, row.n, row.attempt - MOST_ATTEMPTS, MOST_ATTEMPTS)
            found += reversed([attempt for attempt in stored if attempt.number < row.attempt])
        row = (await store.read(head, [StepKey(row.previous)]))[0] if row.previous else None
    return found[MOST_ATTEMPTS - 1 :: -1]


async def checkpoint_of(store: Store, head: Run, n: int, number: int) -> StepCheckpoint | None:
    row: OpenStep | Step | None = (await store.read(head, [StepKey(n)]))[0] if n > 0 else None
    tries = (row.tries if row is not None else None) or NO_TRIES
    if not 0 <= number < tries.checkpoints:
        return None
    found = await store.checkpoint(head.key, tries.base or n, number)
    if found is not None:
        found.n = n
    return found


async def put_checkpoint(store: Store, send: Signals, run: int, signal: PutCheckpoint) -> CheckpointPut:
    """Raises PeltonError unless it was stored, or its sender has to stop."""
    for _ in range(TRIES):
        numbered = signal if signal.number >= 0 else replace(signal, number=await count(store, run, signal.n))
        try:
            await send(run, numbered)
        except PeltonError as error:
            if error.code in STOP:
                return CheckpointPut(False, -1, error.public().message)
            if error.code not in (Code.EXISTS, Code.CONFLICT):
                raise
            if numbered is signal:
                if error.code is Code.CONFLICT or not await is_repeat(store, run, signal):
                    raise
                return CheckpointPut(True, signal.number)
        else:
            return CheckpointPut(True, numbered.number)
    raise PeltonError(Code.BUSY, "the same attempt puts other checkpoints at the same time; retry the request", "number")


async def count(store: Store, run: int, n: int) -> int:
    head = await store.head(run)
    row = (await store.read(head, [StepKey(n)]))[0] if head is not None and n > 0 else None
    return ((row.tries if row is not None else None) or NO_TRIES).checkpoints


async def is_repeat(store: Store, run: int, signal: PutCheckpoint) -> bool:
    """Whether the checkpoint that is there is the same one, of the same attempt: the answer to it was lost."""
    head = await store.head(run)
    found = await checkpoint_of(store, head, signal.n, signal.number) if head is not None else None
    return found is not None and found.attempt == signal.attempt and pack(found.value) == pack(signal.value)
