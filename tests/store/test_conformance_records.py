"""What every store must do with the documents of runs and what runs are found by. Held to by each store of the factory."""

from __future__ import annotations

from typing import Any

import pytest
from tests.store.conftest import Factory
from tests.store.rows import HUGE, go, lost, put, run, start

from pelton.kernel.model.reads import RecordKey
from pelton.kernel.model.state import Record, RunStatus
from pelton.store.group import Group, RunWrite
from pelton.store.port import Store


def record(key: int, since: int, number: int = 1, *, live: bool = True, body: Any = None) -> Record:
    return Record(key, since, number, live, {"at": since} if body is None else body)


def change(key: int, expected: int, *values: tuple[int, int], gone: int = 0, **rows: Any) -> RunWrite:
    """From value to value, by (since, number): the last one is current, unless it is `gone` at some time."""
    records = [record(key, since, number) for since, number in values]
    rows["past"] = list(zip(records, [*(since for since, _ in values[1:]), *([gone] if gone else [])], strict=False))
    rows |= {"unrecorded": True} if gone else {"record": records[-1]}
    return start(key, **rows) if expected < 0 else go(key, expected, **rows)


async def seen(store: Store, key: int, *instants: int) -> list[int | None]:
    """Numbers of the values as of these instants."""
    found = [await store.record(key, at) for at in instants]
    return [None if value is None else value.number for value in found]


async def listed(store: Store, **what: Any) -> list[tuple[int, int]]:
    return [(value.run, value.number) for value in await store.records("a", **what)]


async def test_a_run_without_a_document_has_none(store: Store) -> None:
    await put(store, Group(1, [start(1)]))
    assert await store.record(1) is None
    assert await store.record(1, 10) is None
    assert await store.past(1) == []
    assert await store.records("a") == []
    assert await store.records("a", at=10) == []
    assert await store.read(run(1), [RecordKey()]) == [None]


@pytest.mark.parametrize("body", [{"a": [1, None, 2.5, {"b": "ß\0𝄞"}]}, None, [], "text", 0, False, 2**70, {"big": HUGE}])
async def test_a_document_is_there_as_it_was_given_after_reopening(store_factory: Factory, body: Any) -> None:
    store = await store_factory()
    first, second = Record(1, 10, 1, True, body), Record(1, 20, 2, False, body)
    await put(store, Group(1, [start(1, record=first)]))
    assert await store.read(run(1), [RecordKey()]) == [first]
    await put(store, Group(2, [go(1, 1, record=second, past=[(first, 20)])]))
    await store.close()
    store = await store_factory()
    assert await store.read(run(1), [RecordKey()]) == [second]
    assert await store.past(1) == [(first, 20)]
    assert await store.record(1, 19) == first
    assert await store.records("a", at=19) == [first]
    assert await store.records("a") == [second]


async def test_a_value_is_good_from_its_since_and_not_at_its_until(store: Store) -> None:
    await put(store, Group(1, [start(1, record=record(1, 10))]))
    assert await seen(store, 1, 1, 9, 10, 11) == [None, None, 1, 1]
    await put(store, Group(2, [change(1, 1, (10, 1), (20, 2))]))
    await put(store, Group(3, [change(1, 2, (20, 2), (21, 3))]))
    assert await seen(store, 1, 9, 10, 19, 20, 21, 22, 0) == [None, 1, 1, 2, 3, 3, 3]
    for at, number in ((9, None), (10, 1), (19, 1), (20, 2), (21, 3), (0, 3)):
        assert await listed(store, at=at) == ([] if number is None else [(1, number)])


async def test_several_values_may_pass_within_one_write(store: Store) -> None:
    await put(store, Group(1, [change(1, -1, (10, 1), (11, 2), (12, 3))]))  # made and superseded in the same write
    assert [(value.number, until) for value, until in await store.past(1)] == [(1, 11), (2, 12)]
    await put(store, Group(2, [change(1, 1, (12, 3), (20, 4), (21, 5), (30, 6))]))
    assert await seen(store, 1, 9, 10, 11, 12, 19, 20, 21, 29, 30, 0) == [None, 1, 2, 3, 3, 4, 5, 5, 6, 6]
    assert await listed(store, at=9) == []
    assert await listed(store, at=10) == [(1, 1)]
    assert await listed(store, at=21) == [(1, 5)]


async def test_a_document_that_went_is_there_as_it_was_and_may_come_again(store: Store) -> None:
    await put(store, Group(1, [start(1, record=record(1, 10))]))
    await put(store, Group(2, [change(1, 1, (10, 1), (20, 2), gone=30)]))
    assert await store.record(1) is None
    assert await store.read(run(1), [RecordKey()]) == [None]
    assert await store.records("a") == await store.records("a", live=True) == await store.records("a", live=False) == []
    assert await seen(store, 1, 9, 10, 20, 29, 30, 31) == [None, 1, 2, 2, None, None]
    assert await listed(store, at=29) == [(1, 2)]
    assert await listed(store, at=30) == await listed(store, at=9) == []
    await put(store, Group(3, [go(1, 2, record=record(1, 40, 3))]))
    assert await seen(store, 1, 29, 30, 39, 40, 0) == [2, None, None, 3, 3]
    assert [await listed(store, at=at) for at in (10, 29, 30, 39, 40, 0)] == [[(1, 1)], [(1, 2)], [], [], [(1, 3)], [(1, 3)]]
    assert [until for _, until in await store.past(1)] == [20, 30]


async def test_a_document_may_come_and_go_within_one_write(store: Store) -> None:
    await put(store, Group(1, [change(1, -1, (10, 1), (11, 2), gone=12)]), Group(2, [start(2)]))
    assert await seen(store, 1, 9, 10, 11, 12, 0) == [None, 1, 2, None, None]
    assert [await listed(store, at=at) for at in (9, 10, 11, 12, 0)] == [[], [(1, 1)], [(1, 2)], [], []]
    # it went and came again: what is beside `unrecorded` is what there is
    again = record(1, 50, 4)
    await put(store, Group(3, [go(1, 1, record=again, past=[(record(1, 30, 3), 40)], unrecorded=True)]))
    assert await store.record(1) == again
    assert await seen(store, 1, 29, 30, 40, 49, 50) == [None, 3, None, None, 4]
    await put(store, Group(4, [go(2, 1, unrecorded=True)]))  # nothing there to go
    assert await store.record(2) is None
    assert await listed(store, at=10**16) == [(1, 4)]


async def test_a_write_without_a_document_leaves_it(store: Store) -> None:
    await put(store, Group(1, [start(1, record=record(1, 10), attributes=[("a", "x", True)])]))
    await put(store, Group(2, [go(1, 1)]))
    assert await store.record(1) == record(1, 10)
    assert await store.candidates("a", "p", [[("a", "x", False)]], 9) == [1]


async def test_a_lost_group_leaves_nothing_of_a_document(store: Store) -> None:
    await put(store, Group(1, [start(1, record=record(1, 10), attributes=[("a", "x", True)])]))
    late = change(1, 7, (10, 1), (20, 2), attributes=[("a", "x", False), ("a", "y", True)])
    assert await lost(store, Group(2, [late])) == "run 1"
    outcomes = await store.commit([Group(3, [late]), Group(4, [start(2, record=record(2, 15))])])
    assert [outcome.ok for outcome in outcomes] == [False, True]
    poison = go(1, 1, record=record(1, 20, 2, body=object()), past=[(record(1, 10), 20)], attributes=[("a", "z", True)])
    assert (await lost(store, Group(5, [poison]))).startswith("invalid")
    assert await store.record(1) == record(1, 10)
    assert await store.past(1) == []
    found = [await store.candidates("a", "p", [[("a", value, False)]], 9) for value in "xyz"]
    assert found == [[1], [], []]
    # a second value from the same instant: the first one stands, and nothing else of the group does
    await put(store, Group(6, [change(1, 1, (10, 1), (20, 2))]))
    assert (await lost(store, Group(7, [change(1, 2, (10, 1), (30, 3))]))) == "past value 10 of run 1"
    assert await seen(store, 1, 10, 20, 0) == [1, 2, 2]


async def test_past_values_come_in_pages(store: Store) -> None:
    await put(store, Group(1, [change(1, -1, *((number * 10, number) for number in range(1, 8)))]), Group(2, [start(2)]))
    page = await store.past(1, limit=4)
    assert [(value.number, until) for value, until in page] == [(1, 20), (2, 30), (3, 40), (4, 50)]
    assert [value.number for value, _ in await store.past(1, page[-1][0].since, 4)] == [5, 6]
    assert await store.past(1, 60) == []


async def test_documents_are_listed_by_process_namespace_and_life(store: Store) -> None:
    for key in range(1, 9):
        await put(
            store,
            Group(
                key, [start(key, process=f"p{key % 2}", ns="b" if key == 8 else "a", record=record(key, key, live=key % 4 > 0))]
            ),
        )
    await put(store, Group(10, [start(20, process="p1")]))
    assert [key for key, _ in await listed(store)] == [1, 2, 3, 4, 5, 6, 7]
    assert [key for key, _ in await listed(store, process="p0")] == [2, 4, 6]
    assert [key for key, _ in await listed(store, live=True)] == [1, 2, 3, 5, 6, 7]
    assert [key for key, _ in await listed(store, live=False)] == [4]
    assert [key for key, _ in await listed(store, process="p0", live=True, after=2)] == [6]
    assert [key for key, _ in await listed(store, after=3, limit=2)] == [4, 5]
    assert await listed(store, process="p9") == []
    assert [value.run for value in await store.records("b", at=8)] == [8]
    settled = Record(2, 100, 2, False, {})
    await put(store, Group(11, [go(2, 1, status=RunStatus.COMPLETED, record=settled, past=[(record(2, 2), 100)])]))
    assert [key for key, _ in await listed(store, process="p0", live=True)] == [6]
    assert [key for key, _ in await listed(store, process="p0", live=True, at=99)] == [2, 6]
    assert [key for key, _ in await listed(store, live=False, at=100)] == [2, 4]


async def test_pages_as_of_an_instant_are_of_one_list_while_documents_change(store: Store) -> None:
    for key in range(1, 21):
        await put(store, Group(key, [start(key, process=f"p{key % 3}", record=record(key, key))]))
    found: list[tuple[int, int]] = []
    now, revisions = 100, dict.fromkeys(range(1, 21), 1)
    while page := await listed(store, at=50, after=found[-1][0] if found else 0, limit=3):
        found += page
        now += 10
        for key in (1, found[-1][0], 20):  # one behind, the last seen, and the one to come last
            expected = revisions[key]
            was = await store.record(key)
            if was is None:
                write = go(key, expected, record=record(key, now, 9))
            elif key == 20:
                write = change(key, expected, (was.since, was.number), gone=now)
            else:
                write = change(key, expected, (was.since, was.number), (now, was.number + 1))
            revisions[key] += 1
            await put(store, Group(now, [write]))
        await put(store, Group(1, [start(100 + now, record=record(100 + now, now))]))
    assert found == [(key, 1) for key in range(1, 21)]


async def test_a_namespace_of_very_many_processes_lists_its_documents_all_the_same(store: Store) -> None:
    groups = [
        Group(key, [start(key, process=f"p{key}", record=record(key, key), attributes=[("a", f"v{key % 2}", True)])])
        for key in range(1, 101)
    ]
    await put(store, *groups, Group(200, [start(200, ns="b", record=record(200, 5), attributes=[("a", "v1", True)])]))
    assert [key for key, _ in await listed(store, after=97)] == [98, 99, 100]
    await put(store, Group(1, [change(99, 1, (99, 1), (150, 2))]), Group(2, [change(98, 1, (98, 1), gone=150)]))
    assert await listed(store, after=97) == [(99, 2), (100, 1)]
    assert await listed(store, after=97, at=149) == [(98, 1), (99, 1), (100, 1)]
    assert await listed(store, after=97, at=99, live=True) == [(98, 1), (99, 1)]
    assert await store.candidates("a", "", [[("a", "v1", False)]], 50) == list(range(1, 101, 2))
    assert await store.candidates("a", "", [[("a", "v1", False)]], 49) is None


async def find(store: Store, *conjuncts: list[tuple[str, str, bool]], most: int = 100, process: str = "p") -> list[int] | None:
    return await store.candidates("a", process, conjuncts, most)


async def filed(store: Store, key: int, *values: tuple[str, str], **fields: Any) -> None:
    await put(store, Group(key, [start(key, attributes=[(name, value, True) for name, value in values], **fields)]))


async def test_runs_are_found_by_the_part_with_the_fewest_rows(store: Store) -> None:
    groups = [Group(key, [start(key, attributes=[("all", "x", True), ("some", f"s{key % 100}", True)])]) for key in range(1, 501)]
    await put(store, *groups)
    everyone, few = [("all", "x", False)], [("some", "s7", False)]
    assert await find(store, everyone, few) == await find(store, few, everyone) == [7, 107, 207, 307, 407]
    before = store.counts.rows_read
    await find(store, everyone, few)
    assert store.counts.rows_read - before < 100
    assert await find(store, everyone) is None
    assert await find(store, everyone, most=500) == list(range(1, 501))
    assert await find(store, everyone, most=499) is None
    assert await find(store, few, most=5) == [7, 107, 207, 307, 407]
    assert await find(store, few, most=4) is None
    assert await find(store, few, everyone, most=4) is None
    assert await find(store, [("some", "s", True)], everyone, [("some", "s1", True)], most=400) == [
        key for key in range(1, 501) if str(key % 100).startswith("1")
    ]
    before = store.counts.rows_read
    assert await find(store, everyone, [("some", "s", True)], most=10) is None
    assert store.counts.rows_read - before <= 2 * 11 + 2


async def test_conditions_that_say_little_or_nothing(store: Store) -> None:
    await filed(store, 1, ("a", "x"))
    assert await find(store) is None
    assert await find(store, []) == []
    assert await find(store, [("a", "x", False)], []) == []
    assert await find(store, [("a", "y", False)], most=0) == []
    assert await find(store, [("a", "x", False)], most=0) is None
    assert await find(store, [("b", "x", False)]) == []
    assert await find(store, [("a", "", True)]) == [1]
    assert await find(store, [("a", "", False)]) == []
    assert await find(store, [("a", "x", False)], process="other") == []
    assert await store.candidates("nowhere", "", [[("a", "x", False)]], 9) == []


async def test_alternatives_are_put_together_and_a_run_is_named_once(store: Store) -> None:
    await filed(store, 3, ("a", "x"), ("a", "y"))
    await filed(store, 1, ("a", "y"), ("b", "x"), process="q")
    await filed(store, 2, ("a", "z"))
    await filed(store, 4, ("a", "x"), ns="b")
    either = [("a", "x", False), ("a", "y", False), ("a", "x", True)]
    assert await find(store, either) == [3]
    assert await find(store, either, process="") == [1, 3]
    assert await find(store, [("a", "", True)], process="") == [1, 2, 3]
    assert await find(store, [("b", "x", False), ("a", "z", False)], process="") == [1, 2]


LAST = "\U0010ffff"
VALUES = [
    "", "\0", "a", "a\0", "a\0b", "ab", "ab" + LAST, "ab" + LAST * 2 + "z", "ac", "aß", "Aß", "a'b", "a%", "a_", "日本", "日本語",
    "\ud7ff", "\ud7ffz", "\ue000", LAST, LAST + "a", LAST * 3, "𝄞", "\u0301e", "é", "e\u0301", "ﬀ", "x" * 5000, "x" * 5001,
]  # fmt: skip


async def test_values_and_their_beginnings_may_be_any_text(store: Store) -> None:
    await put(store, Group(1, [start(n + 1, attributes=[("a", value, True)]) for n, value in enumerate(VALUES)]))
    await filed(store, 900, ("b", "a"))
    for n, value in enumerate(VALUES):
        assert await find(store, [("a", value, False)]) == [n + 1], ascii(value[:9])
    for begin in [*VALUES, "x", "日", "ab" + LAST, "b", LAST * 2]:
        expected = [n + 1 for n, value in enumerate(VALUES) if value.startswith(begin)]
        assert await find(store, [("a", begin, True)]) == expected, ascii(begin[:9])


async def test_half_a_pair_of_surrogates_is_in_no_text(store: Store) -> None:
    await filed(store, 1, ("a", "x"))
    assert await find(store, [("a", "\ud800", False)]) == []
    assert await find(store, [("a", "x\udfff", True), ("a", "x", False)]) == [1]
    assert await find(store, [("\ud800", "x", False)]) == []
    reason = await lost(store, Group(2, [start(2, attributes=[("a", "\ud800", True)])]))
    assert reason.startswith("invalid")
    assert await store.head(2) is None


async def test_attributes_come_and_go_with_their_runs(store_factory: Factory) -> None:
    store = await store_factory()
    await filed(store, 1, ("a", "x"), ("a", "y"))
    await put(store, Group(2, [go(1, 1, attributes=[("a", "x", False), ("a", "z", True), ("a", "y", True), ("q", "q", False)])]))
    await store.close()
    store = await store_factory()
    assert [await find(store, [("a", value, False)]) for value in "xyz"] == [[], [1], [1]]
    outcomes = await store.commit(
        [Group(1, [go(1, 2, attributes=[("a", "y", False)])]), Group(2, [go(1, 3, attributes=[("a", "y", True)])])]
    )
    assert all(outcome.ok for outcome in outcomes)
    assert await find(store, [("a", "y", False)]) == [1]


async def test_a_stub_that_becomes_a_run_is_found(store: Store) -> None:
    await put(store, Group(1, [start(1, process="", status=RunStatus.EXPECTED)]))
    await put(store, Group(2, [go(1, 1, process="p", record=record(1, 10), attributes=[("a", "x", True)])]))
    assert await listed(store, process="p") == [(1, 1)]
    assert await find(store, [("a", "x", False)]) == [1]


async def test_removed_runs_leave_no_documents(store: Store) -> None:
    for key in (1, 2):
        await put(store, Group(key, [change(key, -1, (10, 1), (20, 2), attributes=[("a", "x", True)])]))
    await put(store, Group(3, remove_runs=[1]))
    assert await store.record(1) is None
    assert await store.record(1, 15) is None
    assert await store.past(1) == []
    assert await listed(store) == [(2, 2)]
    assert await listed(store, at=15) == [(2, 1)]
    assert await find(store, [("a", "x", False)]) == [2]
    await put(store, Group(4, [start(1)]))
    assert await store.record(1) is None
    assert await listed(store, at=15) == [(2, 1)]


async def test_rows_are_counted_and_runs_without_documents_pay_nothing(store: Store) -> None:
    await put(
        store, Group(1, [change(1, -1, *((n, n) for n in range(1, 301)), attributes=[("a", "x", True)])]), Group(2, [start(2)])
    )
    before = store.counts.rows_read, store.counts.rows_written
    await store.record(1, 150)
    await store.records("a", at=150)
    await store.read(run(1), [RecordKey()])
    await put(store, Group(3, [go(2, 1)]))
    assert store.counts.rows_read - before[0] <= 5
    assert store.counts.rows_written - before[1] == 1
    await put(store, Group(4, [change(1, 1, (300, 300), (400, 301), attributes=[("a", "x", False), ("a", "y", True)])]))
    assert store.counts.rows_written - before[1] == 1 + 5
