"""What every store must do with events, meetings, deliveries, the inbox and definitions."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.store.conftest import Factory
from tests.store.rows import definition, delivery, event, go, held, lost, put, start

from pelton.kernel.model.reads import KeptKey
from pelton.store.group import DefinitionWrite, Group
from pelton.store.port import Outstanding, Store
from pelton.store.rows import DeadLetter, DefinitionRow, Delivery, KeptRow, PendingSignalRow, TimerRow, WaitKeyRow


async def test_an_event_is_unique_by_source_and_id_in_its_namespace(store: Store) -> None:
    first = event(1, "e1")
    await put(store, Group(1, events=[first]))
    assert await lost(store, Group(2, [start(1)], events=[event(2, "e1")])) == "event"
    assert await store.head(1) is None
    await put(store, Group(3, events=[event(3, "e1", source="other"), event(4, "e1", ns="b"), event(5, "1", source="sourcee")]))
    outcomes = await store.commit(
        [Group(4, events=[event(6, "e2")]), Group(5, events=[event(7, "e2")]), Group(6, events=[event(8, "e3")])]
    )
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert await store.event_by_id("a", "source", "e1") == first
    assert await store.event_by_id("a", "source", "e9") is None
    assert await store.event("a", 1) == first
    assert await store.event("b", 1) is None


async def test_events_by_type_and_page_and_what_became_of_them(store: Store) -> None:
    await put(store, Group(1, events=[event(key, f"e{key}", type="t1" if key % 2 else "t2") for key in range(1, 8)]))

    async def keys(**what: object) -> list[int]:
        return [row.key for row in await store.events("a", **what)]  # type: ignore[arg-type]

    assert await keys() == [7, 6, 5, 4, 3, 2, 1]
    assert await keys(type="t1", limit=2) == [7, 5]
    assert await keys(before=5, limit=2) == [4, 3]
    assert await keys(after=3, limit=2) == [4, 5]
    assert await keys(type="t2", after=2, before=7) == [4, 6]
    await put(store, Group(2, event_updates=[(3, ["x"], [], "failed"), (99, [], [], "")]))
    assert await store.event("a", 3) == event(3, "e3", type="t1", decisions=["x"], effects=[], state="failed")


async def test_a_meeting_point_admits_one_of_two(store: Store) -> None:
    place = ("a", "n", "k")
    assert await store.rendezvous(*place) == 0
    waits = WaitKeyRow("a", "n", "k", 1, 4)
    outcomes = await store.commit(
        [
            Group(1, [start(1)], rendezvous=[(*place, 0)], wait_keys=[waits]),
            Group(2, [start(2)], rendezvous=[(*place, 0)], held=[held(1, name="n")]),
        ]
    )
    assert [outcome.ok for outcome in outcomes] == [True, False]
    assert await store.rendezvous(*place) == 1
    assert await store.waiting(*place, 9) == [waits]
    assert await store.held("a", "n", "k", 9) == []
    assert "n k" in await lost(store, Group(3, rendezvous=[(*place, 2)]))
    await put(store, Group(4, rendezvous=[(*place, 1)], close_wait_keys=[(1, 4)]))
    assert (await store.rendezvous(*place), await store.waiting(*place, 9)) == (2, [])


async def test_a_revision_never_comes_back_while_a_decision_may_be_under_way(store: Store) -> None:
    place = ("a", "n", "k")
    await put(store, Group(1, rendezvous=[(*place, 0)], held=[held(1, name="n")]))
    await put(store, Group(2, rendezvous=[(*place, 1)], release=[1]))
    assert await store.rendezvous(*place) == 2


async def test_a_held_row_is_taken_once(store: Store) -> None:
    rows = [held(1), held(2, key="k2", expires=50), held(3, run=8, key="", expires=60, report={"n": 1}), held(4, ns="b")]
    await put(store, Group(1, held=rows))
    assert await store.held("a", "name", "k", 9) == [rows[0]]
    assert await store.held_for(8, 9) == [rows[2]]
    assert await store.held_all("a", 9) == rows[:3]
    assert await store.held_expired(50, 9) == [rows[1]]
    assert await store.held_expired(99, 9) == rows[1:3]
    outcomes = await store.commit([Group(2, [start(1)], release=[1]), Group(3, [start(2)], release=[1, 2])])
    assert [(outcome.ok, outcome.lost) for outcome in outcomes] == [(True, ""), (False, "held 1")]
    assert await store.held_all("a", 9) == rows[1:3]
    assert await lost(store, Group(4, release=[1])) == "held 1"


async def test_what_stands_is_counted_up_to_a_limit(store: Store) -> None:
    assert await store.outstanding(100) == Outstanding()
    letters = [DeadLetter(0, "b", "in", "sqs:x", str(place), b"", {}, "why", 1, 1) for place in range(2)]
    signals = [PendingSignalRow(9, 1, b"s", 1), PendingSignalRow(8, 1, b"s", 1), PendingSignalRow(7, 1, b"s", 1, parked="why")]
    timers = [TimerRow(1, place, "idle", 1, due) for place, due in ((1, 70), (2, 99), (3, 100))]
    rows = Group(
        1, [start(1)], deliveries=[delivery(str(place)) for place in range(4)], dead=letters, held=[held(1)], timers=timers,
        pending_signals=signals,
    )  # fmt: skip
    await put(store, rows)
    assert await store.outstanding(100) == Outstanding(4, 1, 2, 1, 2, 70, 2, 1)
    assert await store.outstanding(100, 3) == Outstanding(3, 1, 2, 1, 2, 70, 2, 1)
    assert (await store.outstanding(100, 1)).overdue == 1


async def test_deliveries_are_numbered_in_the_order_of_commits(store_factory: Factory) -> None:
    store = await store_factory()
    batches = [[Group(1, deliveries=[delivery(f"{batch}.{place}") for place in range(3)])] for batch in range(20)]
    outcomes = await asyncio.gather(*(store.commit(batch) for batch in batches))
    numbers = [number for (outcome,) in outcomes for number in outcome.numbers]
    assert numbers == sorted(set(numbers))
    found = await store.deliveries(100)
    assert [(row.number, row.id) for row in found] == list(
        zip(numbers, (row.id for (group,) in batches for row in group.deliveries), strict=True)
    )
    assert [row.number for row in await store.deliveries(2, numbers[3])] == numbers[4:6]
    await put(store, Group(2, delivered=numbers))
    await store.close()
    store = await store_factory()
    (outcome,) = await put(store, Group(3, deliveries=[delivery("new")]))
    assert outcome.numbers[0] > numbers[-1]


async def test_a_delivery_is_retried_given_up_and_sent_again(store: Store) -> None:
    (outcome,) = await put(store, Group(1, deliveries=[delivery("d")]))
    (number,) = outcome.numbers
    await put(store, Group(2, retried=[(number, 2, 77, "refused")]))
    (row,) = await store.deliveries(9)
    assert (row.number, row.tries, row.due, row.error, row.headers) == (number, 2, 77, "refused", {"h": "1"})
    letter = DeadLetter(0, "a", "out", "sink:x", "d", b"body", {}, "gone", 3, 99, row)
    (outcome,) = await put(store, Group(3, delivered=[number], dead=[letter]))
    letter.number = outcome.dead_numbers[0]
    assert (await store.deliveries(9), await store.dead("a", 9), await store.dead("b", 9)) == ([], [letter], [])
    assert await store.dead_letter(letter.number) == letter
    assert await store.dead("a", 9, letter.number) == []
    assert isinstance(letter.delivery, Delivery)
    await put(store, Group(4, deliveries=[letter.delivery], dead_removed=[letter.number]))
    assert await store.dead("a", 9) == []
    assert len(await store.deliveries(9)) == 1


async def test_a_lost_group_leaves_no_delivery(store: Store) -> None:
    await put(store, Group(1, [start(1)]))
    outcomes = await store.commit([Group(2, [start(1)], deliveries=[delivery("no")]), Group(3, deliveries=[delivery("yes")])])
    assert [outcome.numbers == [] for outcome in outcomes] == [True, False]
    assert [row.id for row in await store.deliveries(9)] == ["yes"]


async def test_the_inbox(store: Store) -> None:
    rows = [PendingSignalRow(1, 5, b"s", 30), PendingSignalRow(2, 5, b"t", 10), PendingSignalRow(3, 0, b"j", 20, job=True)]
    await put(store, Group(1, pending_signals=rows))
    assert await store.pending_signals(9) == [rows[1], rows[2], rows[0]]
    again = PendingSignalRow(3, 0, b"j2", 5, tries=1, job=True)
    await put(store, Group(2, pending_signals=[again, PendingSignalRow(2, 5, b"t", 10, parked="poison")], pending_done=[1]))
    assert await store.pending_signals(9) == [again]


def write(
    row: DefinitionRow | None, at: int, expected: int = -1, name: str = "d", version: int = 1, **fields: bool
) -> DefinitionWrite:
    kind = row.kind if row else "process"
    return DefinitionWrite("a", kind, row.name if row else name, row.version if row else version, row, at, expected, **fields)


async def test_definitions_as_they_were(store: Store) -> None:
    await put(store, Group(1, definitions=[write(definition(1, "d", 1, 100), 100), write(definition(2, "c", 1, 100), 100)]))
    await put(
        store, Group(2, definitions=[write(definition(3, "d", 1, 200), 200, expected=1), write(definition(4, "d", 2, 200), 200)])
    )
    await put(store, Group(3, definitions=[write(None, 300)]))

    async def ids(**what: object) -> list[int]:
        return [row.id for row in await store.definitions("a", "process", **what)]  # type: ignore[arg-type]

    assert await ids() == [2, 4]
    assert sorted(row.id for row in await store.definitions("a", "process")) == [2, 4]
    assert await store.definitions("a", "handler") == await store.definitions("b", "process") == []
    assert await ids(at=99) == []
    assert await ids(at=100) == [2, 1]
    assert await ids(at=199, name="d") == [1]
    assert await ids(at=200) == [2, 3, 4]
    assert await ids(at=299, name="d", version=1) == [3]
    assert await ids(at=300, version=1) == [2]
    assert await ids(name="d") == [4]
    assert await ids(name="d", version=2) == [4]
    assert await ids(version=1) == [2]
    assert await ids(limit=1) == [2]
    assert await ids(limit=1, after="c") == await ids(after="ca") == [4]
    assert await ids(after="d") == await ids(after="d", at=200) == []
    assert await ids(after="c", at=200) == [3, 4]
    assert await ids(after="b", at=100, limit=1) == [2]
    row = await store.definition(1)
    assert row is not None
    assert row.until == 200
    assert await store.definition(77) is None


async def test_a_definition_that_somebody_else_has_changed_is_lost(store: Store) -> None:
    await put(store, Group(1, definitions=[write(definition(1, "d", 1, 100), 100, expected=0)]))
    assert (
        await lost(store, Group(2, definitions=[write(definition(2, "d", 1, 200), 200, expected=0)]))
        == "definition process d of a"
    )
    assert (
        await lost(store, Group(3, definitions=[write(definition(2, "d", 1, 100), 100, expected=1)]))
        == "definition process d of a"
    )
    row = await store.definition(1)
    assert row is not None
    assert row.until == 0
    outcomes = await store.commit(
        [
            Group(4, definitions=[write(definition(2, "d", 1, 200), 200, expected=1)]),
            Group(5, definitions=[write(None, 300, expected=1)]),
        ]
    )
    assert [outcome.ok for outcome in outcomes] == [True, False]


async def test_bound_definitions_by_content(store: Store) -> None:
    bound = definition(1, "d", 1, 100, kind="bound", hash=b"h1")
    await put(store, Group(1, definitions=[write(bound, 100), write(definition(2, "d", 1, 100, hash=b"h2"), 100)]))
    assert await store.bound("a", b"h1") == bound
    assert await store.bound("a", b"h2") is None
    assert await store.bound("b", b"h1") is None


async def test_an_event_is_matched_against_the_handlers_of_its_commit(store: Store) -> None:
    handler = definition(1, "h", 1, 100, kind="handler")
    assert await store.handler_counter("a") == 0
    outcomes = await store.commit(
        [
            Group(1, events=[event(1, "e1")], handlers=[("a", 0)]),
            Group(2, definitions=[write(handler, 100, counts=True)]),
            Group(3, events=[event(2, "e2")], handlers=[("a", 0)]),
            Group(4, [start(1)], events=[event(3, "e3")], handlers=[("a", 1), ("b", 0)]),
        ]
    )
    assert [(outcome.ok, outcome.lost) for outcome in outcomes] == [(True, ""), (True, ""), (False, "handlers a"), (True, "")]
    assert await store.handler_counter("a") == 1
    assert await store.namespaces() == ["a"]
    assert await lost(store, Group(5, [go(1, 1)], handlers=[("a", 0)])) == "handlers a"


async def changes(store: Store, ns: str, after: int, limit: int = 99) -> list[tuple[int, int, int]]:
    return [(each.counter, each.gone, each.row.id if each.row else 0) for each in await store.handler_changes(ns, after, limit)]


async def test_each_value_of_the_handlers_counter_remembers_its_change(store: Store) -> None:
    def handler(number: int, name: str, at: int, expected: int = -1, ns: str = "a") -> DefinitionWrite:
        row = definition(number, name, 1, at, kind="handler", ns=ns)
        return DefinitionWrite(ns, "handler", name, 1, row, at, expected, counts=True)

    assert await changes(store, "a", 0) == []
    outcomes = await store.commit(
        [
            Group(1, definitions=[handler(1, "h", 100), handler(2, "i", 100)]),
            Group(2, definitions=[handler(3, "h", 200, expected=77)]),  # lost: nothing of it is remembered
            Group(3, definitions=[handler(4, "h", 300, expected=1)]),
            Group(4, definitions=[handler(5, "h", 100, ns="b"), write(definition(6, "p", 1, 100), 100)]),
            Group(5, definitions=[DefinitionWrite("a", "handler", "i", 1, None, 400, 2, counts=True), handler(7, "i2", 400)]),
        ]
    )
    assert [outcome.ok for outcome in outcomes] == [True, False, True, True, True]
    whole = [(1, 0, 1), (2, 0, 2), (3, 1, 4), (4, 2, 0), (5, 0, 7)]
    assert await changes(store, "a", 0) == whole
    assert await store.handler_counter("a") == 5
    assert await changes(store, "a", 3) == whole[3:]
    assert await changes(store, "a", 1, limit=2) == whole[1:3]
    assert await changes(store, "a", 5) == await changes(store, "c", 0) == []
    assert await changes(store, "b", 0) == [(1, 0, 5)]
    first, *_, last = await store.handler_changes("a", 0, 99)
    assert first.row is not None
    assert last.row is not None
    assert (first.row.until, last.row.until) == (300, 0)  # as they are now
    assert last.row == definition(7, "i2", 1, 400, kind="handler", ns="a")
    await put(store, Group(6, definitions=[DefinitionWrite("a", "handler", "none", 1, None, 500, counts=True)]))
    assert await changes(store, "a", 5) == [(6, 0, 0)]


# ---- events that stay


def kept(id: int, run: int = 1, name: str = "e", ident: str = "", **fields: Any) -> KeptRow:
    return KeptRow(id, fields.pop("ns", "a"), run, name, ident, {"id": id}, -1, -1, id, 0, "s", **fields)


async def test_an_event_that_stays_is_there_once_by_its_ident_and_tells_who_took_it(store: Store) -> None:
    rows = [kept(1, ident="i"), kept(2), kept(3), kept(4, name="f", ident="i"), kept(5, run=2, ident="i", taken=7, n=3)]
    await put(store, Group(1, [start(1), start(2)], kept=rows))
    head = await store.head(1)
    assert head is not None
    keys = [KeptKey("e", "i"), KeptKey("f", "i"), KeptKey("e", "j"), KeptKey("e", "")]
    assert await store.read(head, keys) == [1, 4, 0, 0]
    assert await lost(store, Group(2, kept=[kept(9, ident="i")])) == "event of run 1"
    await put(store, Group(3, kept_taken=[(1, 6, 50)]))
    assert await store.kept(1) == kept(1, ident="i", taken=50, n=6)
    assert await store.read(head, keys[:1]) == [1]
    assert [row.id for row in await store.kept_of(1, 0, 9)] == [1, 2, 3, 4]
    assert [row.id for row in await store.kept_of(1, 2, 1)] == [3]
    assert [row.id for row in await store.kept_named("a", "e", None, 0, 9)] == [1, 2, 3, 5]
    assert [row.id for row in await store.kept_named("a", "e", True, 0, 9)] == [1, 5]
    assert [row.id for row in await store.kept_named("a", "e", False, 2, 9)] == [3]
    assert await store.kept_named("b", "e", None, 0, 9) == []


async def test_an_event_that_stays_goes_by_itself_and_with_its_run(store: Store) -> None:
    await put(store, Group(1, [start(1), start(2)], kept=[kept(1, ident="i"), kept(2, ident="j"), kept(3, run=2)]))
    await put(store, Group(2, kept_gone=[1]))
    await put(store, Group(3, kept=[kept(4, ident="i")]))
    await put(store, Group(4, remove_runs=[1]))
    assert [await store.kept(number) is not None for number in (1, 2, 3, 4)] == [False, False, True, False]
