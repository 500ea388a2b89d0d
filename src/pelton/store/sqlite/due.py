"""How much a sweep would remove for its age, read by index and without the writer."""

from __future__ import annotations

from pelton.store.retention import Sweep
from pelton.store.salvage import dead_from
from pelton.store.sqlite.reader import Reader

DEAD_LETTERS = 1_000  # looked at: their time is inside


def due(reader: Reader, sweep: Sweep) -> int:
    if sweep.kind == "bookmarks" or not sweep.before:
        return 0
    if sweep.kind == "dead_letters":
        bodies = reader.all("oldest_dead_bodies", min(sweep.limit, DEAD_LETTERS))
        return sum(dead_from(0, "", body).at < sweep.before for (body,) in bodies)
    bound = sweep.below if sweep.kind in {"events", "ids"} else sweep.before
    return reader.value(f"due_{sweep.kind}", bound, sweep.limit) or 0
