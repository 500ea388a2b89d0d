"""A store for tests of lost races: some commit groups are reported as lost, and change nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from pelton.store.group import Committed, Group
from pelton.store.port import Store

LOST = "run 0 (lost on purpose)"


class LosingStore:
    """All goes to `inner`, but in `commit` each group loses with probability `rate`, by a seed. Groups without a condition (no
    runs, reads, handlers or meetings) never lose: nothing could have raced with them. `lost` counts."""

    def __init__(self, inner: Store, seed: int, rate: float) -> None:
        self.inner = inner
        self.rate = rate
        self.lost = 0
        self._random = random.Random(seed)

    async def commit(self, groups: Sequence[Group]) -> list[Committed]:
        losers = {place for place, group in enumerate(groups) if conditional(group) and self._random.random() < self.rate}
        self.lost += len(losers)
        kept = [group for place, group in enumerate(groups) if place not in losers]
        outcomes = iter(await self.inner.commit(kept) if kept else [])
        return [Committed(group.number, False, LOST) if place in losers else next(outcomes) for place, group in enumerate(groups)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def conditional(group: Group) -> bool:
    return any(map(group.has, ("runs", "reads", "handlers", "rendezvous", "release")))


def losing(inner: Store, seed: int, rate: float) -> Store:
    """A LosingStore, as the Store that it stands for."""
    store: Any = LosingStore(inner, seed, rate)
    whole: Store = store
    return whole
