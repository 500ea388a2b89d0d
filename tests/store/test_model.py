"""Random batches against a store and a plain model of it: the same groups are lost, and the same rows are there.

Groups of one batch are judged one after the other in the model; the store may put them in all at once.
"""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.exploring import examples
from tests.store.rows import HUGE, event, held, run

from pelton.kernel.model.reads import NewestKey, OpenKey, RecordKey, VarsKey
from pelton.kernel.model.state import OpenStep, Record, Step
from pelton.kernel.model.transition import UNSET
from pelton.store.group import Group, RunWrite
from pelton.store.memory.store import MemoryStore
from pelton.store.port import Store
from pelton.store.rows import RunKeyRow, TimerRow
from pelton.store.sqlite.store import SqliteStore

Draw = Callable[[st.SearchStrategy[Any]], Any]
KEYS = (1, 2, 3)
PARTS: tuple[Any, ...] = (None, "small", "m" * 1500, HUGE)


class Model:
    """What the store should hold."""

    def __init__(self) -> None:
        self.revisions: dict[int, int] = {}
        self.open: dict[tuple[int, int], OpenStep] = {}
        self.ended: dict[tuple[int, int], Step] = {}
        self.variables: dict[tuple[int, str], Any] = {}
        self.events: set[str] = set()
        self.held: set[int] = set()
        self.names: dict[tuple[str, int], bool] = {}
        self.meetings: dict[str, int] = {}
        self.timers: dict[tuple[int, int, str], TimerRow] = {}
        self.records: dict[int, Record] = {}
        self.past: dict[int, list[tuple[Record, int]]] = {key: [] for key in KEYS}
        self.attributes: set[tuple[int, str, str]] = set()

    def apply(self, group: Group) -> bool:
        after = copy.deepcopy(self)
        if not after._applied(group):
            return False
        self.__dict__ = after.__dict__
        return True

    def _applied(self, group: Group) -> bool:
        if any(self.revisions.get(key, -1) != revision for key, revision in group.reads):
            return False
        for _, _, key, revision in group.rendezvous:
            if self.meetings.get(key, 0) != revision:
                return False
            self.meetings[key] = revision + 1
        for write in group.runs:
            if self.revisions.get(write.run.key, -1) != write.expected:
                return False
            self._run(write)
        self._timers(group)
        return self._unique(group)

    def _timers(self, group: Group) -> None:
        for run_key, n, arm in group.clear_timers:
            self.timers = {place: row for place, row in self.timers.items() if place != (run_key, n, arm or place[2])}
        self.timers.update({(row.run, row.n, row.arm): row for row in group.timers})

    def _unique(self, group: Group) -> bool:
        for row in group.held:
            if row.id in self.held:
                return False
            self.held.add(row.id)
        for number in group.release:
            if number not in self.held:
                return False
            self.held.remove(number)
        for place in self.names:
            if place[1] in group.free_run_keys:
                self.names[place] = False
        for name in group.run_keys:
            if any(live for (text, run_key), live in self.names.items() if text == name.text and run_key != name.run):
                return False
            self.names[name.text, name.run] = True
        claimed = {place for place in self.names if place[1] in group.claim_run_keys}
        self.names.update(dict.fromkeys(claimed, True))
        for text, run_key in claimed:
            if any(live for place, live in self.names.items() if place[0] == text and place[1] != run_key):
                return False
        for occurrence in group.events:
            if occurrence.event_id in self.events:
                return False
            self.events.add(occurrence.event_id)
        return True

    def _run(self, write: RunWrite) -> None:
        key = write.run.key
        self.revisions[key] = write.run.rev
        for n in write.closed:
            self.open.pop((key, n), None)
        for n in write.reopened:
            self.ended.pop((key, n), None)
        self.open.update({(key, row.n): row for row in write.opened})
        self.open.update({(key, row.n): row for row, *_ in write.changed})
        self.ended.update({(key, row.n): row for row in write.ended})
        for _, name, value in write.variables:
            if value is UNSET:
                self.variables.pop((key, name), None)
            else:
                self.variables[key, name] = value
        self._documents(write)

    def _documents(self, write: RunWrite) -> None:
        key = write.run.key
        self.past[key] += write.past
        if write.unrecorded:
            self.records.pop(key, None)
        if write.record is not None:
            self.records[key] = write.record
        for name, value, there in write.attributes:
            (self.attributes.add if there else self.attributes.discard)((key, name, value))

    def record(self, key: int, at: int) -> Record | None:
        found = [value for value, until in self.past[key] if value.since <= at < until]
        current = self.records.get(key)
        if current is not None and (not at or current.since <= at):
            found = [current]
        return found[0] if found else None


def documents(draw: Draw, model: Model, key: int, number: int) -> dict[str, Any]:
    """Up to three values one after the other from what the model has, the last of which may go; and what the run is found by."""
    value = model.records.get(key)
    past: list[tuple[Record, int]] = []
    now = number * 10 + 10
    for place in range(draw(st.integers(0, 3))):
        if value is not None:
            past.append((value, now + place))
        value = Record(key, now + place, place, draw(st.booleans()), draw(st.sampled_from(PARTS)))
    attributes = [(draw(st.sampled_from("ab")), draw(st.sampled_from(["", "x", "xy"])), draw(st.booleans()))]
    gone = value is not None and draw(st.sampled_from([True, False, False]))
    if value is not None and gone:
        past.append((value, now + 5))
        value = None
    return {"record": value, "past": past, "unrecorded": gone, "attributes": attributes}


def make_write(draw: Draw, model: Model, key: int, right: bool, number: int) -> RunWrite:
    """A write that fits the model's rows; `right` says whether its revision does."""
    found = model.revisions.get(key, -1)
    opened: list[OpenStep] = []
    changed: list[tuple[OpenStep, bool, bool]] = []
    closed: list[int] = []
    ended: list[Step] = []
    reopened: list[int] = []
    for n in range(4):
        part = draw(st.sampled_from(PARTS))
        if (key, n) in model.open:
            token = copy.copy(model.open[key, n])
            way = draw(st.sampled_from(["keep", "close", "end", "narrow", "wide"]))
            if way == "close":
                closed.append(n)
            elif way == "end":
                closed.append(n)
                ended.append(Step(key, n, token.slot, 1, input=token.input, output=part))
            elif way == "narrow":
                token.left += 1
                token.queue = draw(st.sampled_from(["", "q"]))
                changed.append((token, False, draw(st.booleans())))
            elif way == "wide":
                token.output, token.waits = part, draw(st.sampled_from(PARTS))
                changed.append((token, True, draw(st.booleans())))
        elif (key, n) in model.ended:
            if draw(st.booleans()):
                reopened.append(n)
                opened.append(OpenStep(key, n, f"s{n % 2}", 1, input=model.ended[key, n].input, waits=part))
        elif draw(st.booleans()):
            opened.append(OpenStep(key, n, f"s{n % 2}", 1, input=part, queue=draw(st.sampled_from(["", "q"])), priority=n))
    variables = [(0, name, draw(st.sampled_from([1, HUGE, None, UNSET]))) for name in draw(st.sets(st.sampled_from("ab")))]
    return RunWrite(
        run(key, max(found, 0) + 1), found if right else found + 3, opened, changed, closed, ended, reopened,
        variables=variables, process="p" if found < 0 else "", **documents(draw, model, key, number),
    )  # fmt: skip


def make_group(draw: Draw, model: Model, number: int) -> Group:
    mostly = st.sampled_from([True, True, True, False])
    group = Group(number)
    for key in sorted(draw(st.sets(st.sampled_from(KEYS), max_size=2))):
        group.runs.append(make_write(draw, model, key, draw(mostly), number))
    written = {write.run.key for write in group.runs}
    for key in sorted(draw(st.sets(st.sampled_from(KEYS), max_size=1)) - written):
        group.reads.append((key, model.revisions.get(key, -1) if draw(mostly) else 7))
    if draw(st.booleans()):
        group.rendezvous.append(("a", "n", "k", model.meetings.get("k", 0) if draw(mostly) else 9))
    small = st.integers(1, 4)
    kind = draw(st.sampled_from(["", "held", "release", "name", "free", "claim", "event", "timer", "clear"]))
    if kind == "held":
        group.held.append(held(draw(small)))
    elif kind == "release":
        group.release.append(draw(small))
    elif kind == "name":
        group.run_keys.append(RunKeyRow("a", "ref", "p", draw(st.sampled_from("tu")), draw(st.sampled_from(KEYS)), True))
    elif kind == "free":
        group.free_run_keys.append(draw(st.sampled_from(KEYS)))
    elif kind == "claim":
        group.claim_run_keys.append(draw(st.sampled_from(KEYS)))
    elif kind == "event":
        group.events.append(event(number, str(draw(small))))
    elif kind == "timer":
        group.timers.append(TimerRow(1, draw(small), "arm", number, number))
    elif kind == "clear":
        group.clear_timers.append((1, draw(small), draw(st.sampled_from(["", "arm", "other"]))))
    return group


async def compare(store: Store, model: Model) -> None:
    for key in KEYS:
        head = await store.head(key)
        assert (-1 if head is None else head.rev) == model.revisions.get(key, -1)
        whole = run(key)
        opened, variables, *newest = await store.read(whole, [OpenKey(), VarsKey(0), NewestKey("s0"), NewestKey("s1")])
        assert opened == [model.open[place] for place in sorted(model.open) if place[0] == key]
        assert variables == {name: value for (owner, name), value in model.variables.items() if owner == key}
        ended = [model.ended[place] for place in sorted(model.ended) if place[0] == key]
        assert [step for step in await store.steps(whole, -1, 99) if isinstance(step, Step)] == ended
        for slot, found in zip(("s0", "s1"), newest, strict=True):
            numbers = [step.n for step in [*opened, *ended] if step.slot == slot]
            assert (None if found is None else found.n) == max(numbers, default=None)
    work = sorted((row for row in model.open.values() if row.queue), key=lambda row: (-row.priority, row.run, row.n))
    assert await store.ready("q", 99) == work
    assert {row.id for row in await store.held_all("a", 99)} == model.held
    assert sorted(await store.timers(1 << 60, 99), key=lambda row: row.n) == sorted(model.timers.values(), key=lambda row: row.n)
    assert await store.rendezvous("a", "n", "k") == model.meetings.get("k", 0)
    await compare_documents(store, model)


def compare_blobs(store: SqliteStore) -> None:
    blobs = set(store._reader.db.execute("SELECT run, n, part FROM blob"))
    said: set[Any] = set()
    for key, n, bits in store._reader.db.execute("SELECT run, n, parts FROM open UNION ALL SELECT run, n, parts FROM step"):
        assert isinstance(bits, int)
        said |= {(key, n, part) for part in range(3) if bits >> part & 1}
    assert blobs == said, "a blob without its row, or a row without its blob"


async def compare_documents(store: Store, model: Model) -> None:
    edges = {value.since for values in model.past.values() for value, _ in values} | {
        until for values in model.past.values() for _, until in values
    }
    edges |= {value.since for value in model.records.values()}
    for at in sorted({0} | {instant for edge in edges for instant in (edge - 1, edge)}):
        expected = [model.record(key, at) for key in KEYS]
        assert [await store.record(key, at) for key in KEYS] == expected
        there = [value for value in expected if value is not None]
        assert await store.records("a", process="p", at=at) == there
        assert (
            await store.records("a", at=at, after=KEYS[0], limit=1, live=True)
            == [value for value in there if value.live and value.run > KEYS[0]][:1]
        )
    for key in KEYS:
        assert await store.past(key) == model.past[key]
        assert await store.read(run(key), [RecordKey()]) == [model.records.get(key)]
    for name in "ab":
        for value in ("", "x", "xy"):
            same = sorted({key for key, *filed in model.attributes if filed == [name, value]})
            begin = sorted({key for key, filed, text in model.attributes if filed == name and text.startswith(value)})
            assert await store.candidates("a", "p", [[(name, value, False)]], 99) == same
            assert await store.candidates("a", "", [[(name, value, True)]], 99) == begin


def new_sqlite(folder: str) -> Store:
    return SqliteStore(Path(folder) / "model.db", "relaxed")


def new_memory(folder: str) -> Store:
    return MemoryStore()


@pytest.mark.parametrize("make", [new_sqlite, new_memory])
@given(data=st.data())
@examples(60)
def test_random_batches(make: Callable[[str], Store], data: st.DataObject) -> None:
    async def example() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = make(folder)
            await store.open()
            try:
                model = Model()
                number = 0
                for _ in range(data.draw(st.integers(1, 6))):
                    # every group is drawn against the state before its batch, as racing writers would
                    groups = [make_group(data.draw, model, number + place) for place in range(3)]
                    number += 3
                    expected = [model.apply(group) for group in groups]
                    outcomes = await store.commit(groups)
                    assert [outcome.ok for outcome in outcomes] == expected, outcomes
                    await compare(store, model)
                    if isinstance(store, SqliteStore):
                        compare_blobs(store)
            finally:
                await store.close()

    asyncio.run(example())
