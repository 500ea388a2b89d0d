"""Reading much of a run without holding up everybody else: reads do not wait, so they are made in pieces.

Cost: a pause after each piece of PAGE steps or keys. The run must not be changed meanwhile by the caller's own process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from pelton.kernel.model.reads import Iterations, IterationsKey
from pelton.kernel.model.state import OpenStep, Run, Step
from pelton.store.port import Store

PAGE = 250


async def read_paged(store: Store, head: Run, keys: Sequence[Any]) -> list[Any]:
    """The answers of `Store.read`, in the order of the keys."""
    if len(keys) <= PAGE and not any(type(key) is IterationsKey for key in keys):
        return await store.read(head, keys)
    answers: list[Any] = []
    plain: list[Any] = []

    async def flush() -> None:
        if plain:
            answers.extend(await store.read(head, plain))
            plain.clear()
            await asyncio.sleep(0)

    for key in keys:
        if type(key) is IterationsKey and (key.high - key.low) * len(key.slots) > PAGE:
            await flush()
            answers.append(await _iterations(store, head, key))
            continue
        plain.append(key)
        if len(plain) >= PAGE:
            await flush()
    await flush()
    return answers


async def _iterations(store: Store, head: Run, key: IterationsKey) -> Iterations:
    each = max(1, PAGE // len(key.slots))
    steps: list[OpenStep | Step] = []
    size = 0
    first = key.high
    while first > key.low and (not steps or size < key.size):
        page = replace(key, low=max(key.low, first - each), high=first, size=max(0, key.size - size))
        (found,) = await store.read(head, [page])
        if steps and size + found.size > key.size:
            break
        steps += found.steps
        size += found.size
        first = found.first
        await asyncio.sleep(0)
        if found.first > page.low:
            break
    return Iterations(first, steps, size)
