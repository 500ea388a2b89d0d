"""What a connector remembers of its addresses: whether each could be reached when last tried, and since when.

Bounded: beyond `limit` addresses the one that was tried longest ago is forgotten.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from pelton.connectors.port import Health


def epoch_milliseconds() -> int:
    return time.time_ns() // 1_000_000


class HealthBook:
    def __init__(self, clock: Callable[[], int] = epoch_milliseconds, limit: int = 10_000) -> None:
        self._clock = clock
        self._limit = limit
        self._entries: OrderedDict[str, Health] = OrderedDict()

    def good(self, address: str) -> None:
        self._note(address, True, "")

    def bad(self, address: str, detail: str) -> None:
        self._note(address, False, detail)

    def view(self) -> Mapping[str, Health]:
        """A copy: it does not change under the reader."""
        return dict(self._entries)

    def _note(self, address: str, healthy: bool, detail: str) -> None:
        """`since` moves only when an address turns good or bad, so it says how long a trouble has lasted."""
        known = self._entries.get(address)
        if known is None or known.healthy != healthy:
            self._entries[address] = Health(healthy, detail, self._clock())
        elif known.detail != detail:
            self._entries[address] = Health(healthy, detail, known.since)
        self._entries.move_to_end(address)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)
