"""Short ways to write rows and groups in the tests of stores."""

from __future__ import annotations

from typing import Any

from pelton.kernel.model.state import OpenStep, Run, RunStatus, State, Step
from pelton.store.group import Committed, Group, RunWrite
from pelton.store.port import Store
from pelton.store.rows import DefinitionRow, Delivery, EventRow, HeldRow

BIG = "x" * 3000  # over what an open row keeps in itself
HUGE = "y" * 20000  # over what an ended row keeps in itself


def run(key: int, rev: int = 1, **fields: Any) -> Run:
    return Run(key, fields.pop("ns", "a"), fields.pop("definition", 1), rev=rev, **fields)


def start(key: int, rev: int = 1, process: str = "p", **rows: Any) -> RunWrite:
    head = {name: rows.pop(name) for name in list(rows) if name not in RunWrite.__struct_fields__}
    return RunWrite(run(key, rev, **head), -1, process=process, **rows)


def go(key: int, expected: int, **rows: Any) -> RunWrite:
    head = {name: rows.pop(name) for name in list(rows) if name not in RunWrite.__struct_fields__}
    return RunWrite(run(key, expected + 1, **head), expected, **rows)


def work(key: int, n: int, queue: str = "q", **fields: Any) -> OpenStep:
    return OpenStep(key, n, fields.pop("slot", f"s{n}"), State.WORK, queue=queue, **fields)


def done(key: int, n: int, **fields: Any) -> Step:
    return Step(key, n, fields.pop("slot", f"s{n}"), 1, **fields)


def held(id: int, key: str = "k", **fields: Any) -> HeldRow:
    row = HeldRow(id, "a", 0, "name", key, {"id": id}, -1, -1, id, 0, None, "")
    for name, value in fields.items():
        setattr(row, name, value)
    return row


def event(key: int, event_id: str, **fields: Any) -> EventRow:
    row = EventRow(key, "a", "source", event_id, "type", "", 0, 1, {"k": key}, {}, b"h", 1, [["d"]], [["e"]], "matched")
    for name, value in fields.items():
        setattr(row, name, value)
    return row


def delivery(name: str, **fields: Any) -> Delivery:
    return Delivery(0, "a", "lane", name, "sink:x", b"body", "text/plain", {"h": "1"}, 1, **fields)


def definition(id: int, name: str, version: int, since: int, **fields: Any) -> DefinitionRow:
    return DefinitionRow(id, "a", fields.pop("kind", "process"), "x", name, version, b"{}", fields.pop("hash", b"1"), since)


async def put(store: Store, *groups: Group) -> list[Committed]:
    """Commits; all groups must be in."""
    outcomes = await store.commit(groups)
    assert all(outcome.ok for outcome in outcomes), outcomes
    return outcomes


async def lost(store: Store, group: Group) -> str:
    """Commits; the group must be lost. Why."""
    (outcome,) = await store.commit([group])
    assert not outcome.ok
    assert outcome.number == group.number
    return outcome.lost


ENDED = RunStatus.COMPLETED
