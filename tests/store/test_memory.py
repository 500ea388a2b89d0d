"""What only the memory store promises: its rows are its own, and a group that is lost is taken back whole."""

from __future__ import annotations

import pytest
from tests.store.rows import event, go, held, lost, put, run, start, work

from pelton.kernel.model.reads import OpenKey, VarKey
from pelton.store.group import Group, LeaseWrite
from pelton.store.memory.store import MemoryStore
from pelton.store.memory.table import After, Journal, Table
from pelton.store.port import StoreFailed
from pelton.store.rows import RunKeyRow, TimerRow


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.open()
    return store


async def test_what_callers_change_afterwards_changes_nothing(store: MemoryStore) -> None:
    token, value, posted = work(1, 1, input={"a": 1}), {"x": [1]}, event(1, "e")
    await put(store, Group(1, [start(1, opened=[token], variables=[(0, "v", value)])], events=[posted]))
    token.input["a"], token.left, value["x"], posted.body["k"] = 2, 9, [], "changed"
    (found,), (given,) = await store.read(run(1), [OpenKey(), VarKey(0, "v")])
    assert (found, given) == (work(1, 1, input={"a": 1}), {"x": [1]})
    found.input["a"], given["x"] = 3, 4
    assert await store.read(run(1), [OpenKey(), VarKey(0, "v")]) == [[work(1, 1, input={"a": 1})], [{"x": [1]}]]
    row = await store.event("a", 1)
    assert row == event(1, "e")


async def test_a_lost_group_is_taken_back_in_every_table(store: MemoryStore) -> None:
    name = RunKeyRow("a", "ref", "p", "t", 1, True)
    await put(store, Group(1, [start(1, opened=[work(1, 1)])], run_keys=[name], timers=[TimerRow(1, 1, "x", 0, 5)]))
    before = {each: dict(table.rows) for each, table in vars(store._tables).items()}
    late = Group(
        2, [go(1, 1, opened=[work(1, 2)], closed=[1]), start(2)], run_keys=[RunKeyRow("a", "ref", "p", "u", 2, True), name],
        clear_timers=[(1, 1, "")], held=[held(4)], events=[event(1, "e")], leases=[LeaseWrite(1, 1, 5, "w", 1, 1, 1)],
        release=[99],
    )  # fmt: skip
    assert await lost(store, late) == "held 99"
    assert {each: table.rows for each, table in vars(store._tables).items()} == before
    assert await store.ready("q", 9) == [work(1, 1)]
    assert await store.runs("a") == [run(1)]


async def test_a_closed_store_takes_nothing_and_may_be_opened_again(store: MemoryStore) -> None:
    await put(store, Group(1, [start(1)]))
    with pytest.raises(StoreFailed, match="already open"):
        await store.open()
    await store.close()
    with pytest.raises(StoreFailed, match="closed"):
        await store.commit([Group(2, [start(2)])])
    await store.open()
    assert [head.key for head in await store.runs("a")] == [1]


def test_an_index_gives_ranges_of_beginnings() -> None:
    table: Table[int, str] = Table(Journal(), text=lambda key, row: (row, key))
    for key, text in enumerate(["b", "a", "ab", "abc", "ac", "b"]):
        table.put(key, text)
    assert list(table.keys("text", ("ab",), (After("ab"),))) == [2, 3]
    assert list(table.under("text", "b")) == [0, 5]
    assert list(table.back("text", (), (After(),))) == [5, 0, 4, 3, 2, 1]
    assert table.count("text", ("a", 1), ("ac",)) == 3
    with pytest.raises(OverflowError):
        table.put(2**63, "x")
    with pytest.raises(UnicodeEncodeError):
        table.put(7, "\ud800")
    assert list(table.under("text", "x")) == []
