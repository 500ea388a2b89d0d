"""The removal of old data from the tables in memory; see `store.retention`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

from pelton.store.memory.table import LAST, PRIMARY, Table
from pelton.store.memory.tables import KnownEvent, Tables
from pelton.store.memory.writes import remove_run
from pelton.store.retention import Sweep, Swept
from pelton.store.salvage import dead_from, event_from

K = TypeVar("K")


def sweep_tables(t: Tables, sweep: Sweep) -> Swept:
    """One step. Removes the oldest rows of one kind beyond its limit."""
    return SWEEPS[sweep.kind](t, sweep)


def _oldest(keys: Iterable[K], age: Callable[[K], int], count: int, sweep: Sweep, before: int) -> list[K]:
    """`keys`: the oldest first; `count`: how many there are."""
    excess = max(0, count - sweep.rows) if sweep.rows >= 0 else 0
    found = list(islice(keys, sweep.limit))
    return [key for place, key in enumerate(found) if place < excess or age(key) < before]


def due(t: Tables, sweep: Sweep) -> int:
    """How many rows a sweep would remove for their age."""
    if sweep.kind == "bookmarks" or not sweep.before:
        return 0
    keys, age = _AGES[sweep.kind](t)
    bound = sweep.below if sweep.kind in {"events", "ids"} else sweep.before
    return sum(age(key) < bound for key in islice(keys, sweep.limit))


_AGES: dict[str, Callable[[Tables], tuple[Iterable[Any], Callable[[Any], int]]]] = {
    "events": lambda t: (t.events.keys("age", (), (LAST,)), int),
    "ids": lambda t: (t.known_events.keys("age", (), (LAST,)), lambda key: t.known_events.rows[key].key),
    "runs": lambda t: (t.runs.keys("ended", (), (LAST,)), lambda key: t.runs.rows[key].ended),
    "dead_letters": lambda t: (sorted(t.dead.rows), lambda key: dead_from(key, "", t.dead.rows[key].body).at),
    "results": lambda t: (t.results.keys("at", (), (LAST,)), lambda key: t.results.rows[key].at),
    "logs": lambda t: (t.logs.keys("age", (), (LAST,)), lambda key: t.logs.rows[key][0]),
}


def _drop(table: Table[Any, Any], keys: list[Any], sweep: Sweep) -> Swept:
    for key in keys:
        table.drop(key)
    return Swept(len(keys), len(keys) == sweep.limit, (), len(table.rows))


def _events(t: Tables, sweep: Sweep) -> Swept:
    keys = _oldest(t.events.keys("age", (), (LAST,)), int, len(t.events.rows), sweep, sweep.below)
    for key in keys:
        row = t.events.rows[key]
        event = event_from(key, row.ns, row.type, row.body, row.outcome)
        ident = (
            next((ident for ident, number in t.event_ids.rows.items() if number == key), None)
            if not event.source
            else (event.ns, event.source, event.event_id)
        )
        if ident is not None:
            t.event_ids.drop(ident)
        if sweep.remember and ident is not None:
            t.known_events.put(ident, KnownEvent(key, event.hash, event.state))
    return _drop(t.events, keys, sweep)


def _ids(t: Tables, sweep: Sweep) -> Swept:
    known = t.known_events
    keys = _oldest(known.keys("age", (), (LAST,)), lambda key: known.rows[key].key, len(known.rows), sweep, sweep.below)
    return _drop(known, keys, sweep)


def _runs(t: Tables, sweep: Sweep) -> Swept:
    runs = t.runs
    count = runs.count("ended", (), (LAST,))
    keys = _oldest(runs.keys("ended", (), (LAST,)), lambda key: runs.rows[key].ended, count, sweep, sweep.before)
    removed: list[int] = []
    for key in keys:
        row = runs.rows[key]
        root = runs.get(row.root) if row.root != key else None
        until = 0 if root is None else sweep.now if root.live else root.ended
        if until > row.ended:
            runs.put(key, row._replace(ended=until))
        else:
            remove_run(t, key)
            removed.append(key)
    return Swept(len(removed), len(keys) == sweep.limit, tuple(removed), count - len(removed))


def _dead_letters(t: Tables, sweep: Sweep) -> Swept:
    rows = t.dead.rows
    keys = _oldest(sorted(rows), lambda key: dead_from(key, "", rows[key].body).at, len(rows), sweep, sweep.before)
    return _drop(t.dead, keys, sweep)


def _results(t: Tables, sweep: Sweep) -> Swept:
    rows = t.results.rows
    keys = _oldest(t.results.keys("at", (), (LAST,)), lambda key: rows[key].at, len(rows), sweep, sweep.before)
    return _drop(t.results, keys, sweep)


def _logs(t: Tables, sweep: Sweep) -> Swept:
    rows = t.logs.rows
    keys = _oldest(t.logs.keys("age", (), (LAST,)), lambda key: rows[key][0], len(rows), sweep, sweep.before)
    return _drop(t.logs, keys, sweep)


def _bookmarks(t: Tables, sweep: Sweep) -> Swept:
    uses = t.source_uses
    for pair in sweep.used:
        uses.put(pair, sweep.now)
    for ns, source in {(key[0], key[1]) for key in t.bookmarks.rows}:
        if uses.get((ns, source)) is None:
            uses.put((ns, source), sweep.now)
    removed = 0
    for pair in list(uses.keys("age", (), (sweep.before,))):
        keys = list(islice(t.bookmarks.under(PRIMARY, *pair), sweep.limit - removed))
        removed += len(keys)
        for key in keys:
            t.bookmarks.drop(key)
        if removed >= sweep.limit:
            return Swept(removed, True)
        uses.drop(pair)
    return Swept(removed, False)


SWEEPS: dict[str, Callable[[Tables, Sweep], Swept]] = {
    "events": _events,
    "ids": _ids,
    "runs": _runs,
    "dead_letters": _dead_letters,
    "results": _results,
    "logs": _logs,
    "bookmarks": _bookmarks,
}
