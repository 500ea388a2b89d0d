"""What a transition is likely to read, according to the definition: the slots that may be needed from a given slot on, until
every token has stopped again. A cold run is loaded with them in one go; whatever this misses becomes a `Need` later, never an
error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from pelton.kernel.model.process import Call, Emit, Join, Node, Process, Scope, Take, Wait, Work, targets

STOPS = (Work, Wait, Take, Call, Emit)
MOST_SLOTS = 64
MOST_NODES = 256
MOST_PROCESSES = 1_000

_known: dict[int, dict[str, tuple[str, ...]]] = {}


def prefetch(process: Process, slot: str) -> tuple[str, ...]:
    """Slots worth loading with a signal to a step of `slot`; at most 64. Cached by definition."""
    of_process = _known.get(process.definition)
    if of_process is None:
        if len(_known) >= MOST_PROCESSES:
            _known.clear()
        of_process = _known[process.definition] = {}
    found = of_process.get(slot)
    if found is None:
        found = of_process[slot] = tuple(_slots(process, slot))
    return found


def _slots(process: Process, slot: str) -> list[str]:
    found: dict[str, None] = {slot: None}
    for join in process.joins_of.get(slot, ()):
        found[join] = None
    seen: set[str] = set()
    pending = [slot, *process.joins_of.get(slot, ()), *_owners(process, slot)]
    while pending and len(seen) < MOST_NODES and len(found) < MOST_SLOTS:
        name = pending.pop()
        node = process.nodes.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if isinstance(node, Join):
            found[name] = None
        for read in _reads(node):
            found[read] = None
        if name == slot or not isinstance(node, STOPS):
            pending += targets(node)
    return list(found)[:MOST_SLOTS]


def _owners(process: Process, slot: str) -> list[str]:
    """Scopes whose body may hold the slot; their conditions are evaluated when the body's last token is gone."""
    return [name for name, node in process.nodes.items() if isinstance(node, Scope) and name != slot]


def _reads(value: Any, depth: int = 0) -> Iterator[str]:
    reads = getattr(value, "reads", None)
    if isinstance(reads, frozenset):
        for read in reads:
            if getattr(read, "kind", "") == "slot":
                yield read.name
    elif depth > 4:
        return
    elif isinstance(value, Node | Struct):
        for name in value.__struct_fields__:
            if name != "annotations":
                yield from _reads(getattr(value, name), depth + 1)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _reads(item, depth + 1)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _reads(item, depth + 1)
