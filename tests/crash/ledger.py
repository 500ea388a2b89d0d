"""What the outside knows: what it asked for, what was acknowledged, and what it may ask for again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Told(NamedTuple):
    """An update of a task that was answered 200. `at`: epoch milliseconds of the answer."""

    run: str
    token: str
    at: int


@dataclass
class Ledger:
    """Runs carry a correlation id of their cause: that is how they are counted."""

    started: dict[str, str] = field(default_factory=dict)  # correlation id -> run, as acknowledged by the API
    asked: set[str] = field(default_factory=set)  # correlation ids of starts without an answer: one run or none
    keyed: dict[str, str] = field(default_factory=dict)  # the same for starts with an idempotency key: exactly one
    events: dict[str, list[str]] = field(default_factory=dict)  # id of an acknowledged event -> runs named in its answers
    paid: dict[str, str] = field(default_factory=dict)  # id of an acknowledged event that ends a wait -> run
    sent: set[str] = field(default_factory=set)  # ids in messages that the queue has taken
    told: dict[str, list[Told]] = field(default_factory=dict)  # task -> acknowledged updates
    tried: dict[str, set[str]] = field(default_factory=dict)  # task -> tokens of all updates, answered or not
    left: dict[str, Counter[str]] = field(default_factory=dict)  # run -> ids of the messages that left for it
    under_way: int = 0  # requests without an answer yet
    repeats: int = 0  # events posted again on purpose, or for want of an answer
    refusals: Counter[int] = field(default_factory=Counter)  # answers that were not 2xx, by status

    def acknowledged(self) -> int:
        return len(self.started) + len(self.keyed) + len(self.events) + len(self.paid) + sum(map(len, self.told.values()))
