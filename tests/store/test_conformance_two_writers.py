"""What every store must do for servers that share it: what one of them decided on holds when it is written, or nothing is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.store.conftest import Factory
from tests.store.rows import definition, go, lost, put, start, work

from pelton.kernel.model.reads import StepKey
from pelton.kernel.model.state import OpenStep, Record
from pelton.store.group import ClaimWrite, DefinitionWrite, Group, HandedOut, LeaseWrite, Lookup, NodeMark, NodeWrite
from pelton.store.port import Store
from pelton.store.rows import ClaimRow, NodeRow, PendingSignalRow


def signal(number: int, run: int = 1) -> PendingSignalRow:
    return PendingSignalRow(number, run, b"", 0)


def lease(n: int, polls: int, expected: int, **more: Any) -> LeaseWrite:
    return LeaseWrite(1, n, more.pop("lease", 500), more.pop("worker", "w"), polls, 10, 0, expected, more.pop("unleased", True))


async def row(store: Store, n: int) -> OpenStep:
    head = await store.head(1)
    assert head is not None
    (found,) = await store.read(head, [StepKey(n)])
    assert isinstance(found, OpenStep)
    return found


async def test_a_durable_signal_is_done_by_one_writer(store: Store) -> None:
    await put(store, Group(1, [start(1)], pending_signals=[signal(5), signal(6)]))
    outcomes = await store.commit([Group(2, [go(1, 1)], pending_done=[5]), Group(3, [go(1, 2)], pending_done=[5])])
    assert [(outcome.ok, outcome.lost) for outcome in outcomes] == [(True, ""), (False, "signal 5")]
    assert await lost(store, Group(4, pending_done=[6, 7])) == "signal 7"
    assert [each.id for each in await store.pending_signals(9)] == [6]


async def test_the_next_part_of_a_job_is_made_by_one_writer(store: Store) -> None:
    """A cursor moves to another row."""
    await put(store, Group(1, pending_signals=[signal(5, 0)]))
    moved = [
        Group(2, pending_done=[5], pending_signals=[signal(8, 0)]),
        Group(3, pending_done=[5], pending_signals=[signal(9, 0)]),
    ]
    assert [outcome.ok for outcome in await store.commit(moved)] == [True, False]
    assert [each.id for each in await store.pending_signals(9)] == [8]


async def test_work_is_taken_by_one_writer_and_each_is_told_which(store: Store) -> None:
    await put(store, Group(1, [start(1, opened=[work(1, n) for n in (1, 2, 3)])]))
    (one,) = await put(store, Group(2, leases=[lease(1, 1, 0), lease(2, 1, 0)]))
    (other,) = await put(store, Group(3, leases=[lease(2, 1, 0, worker="v"), lease(3, 1, 0, worker="v"), lease(9, 1, 0)]))
    assert (one.untaken, other.untaken) == ([], [0, 2])
    assert [(await row(store, n)).worker for n in (1, 2, 3)] == ["w", "w", "v"]
    both = await store.commit([Group(4, leases=[lease(1, 1, 1, lease=0, unleased=False)]), Group(5, leases=[lease(1, 2, 1)])])
    assert [each.untaken for each in both] == [[], []]
    assert (await row(store, 1)).polls == 2


async def test_a_lease_without_a_condition_is_always_written(store: Store) -> None:
    await put(store, Group(1, [start(1, opened=[work(1, 1)])]))
    (outcome,) = await put(store, Group(2, leases=[lease(1, 7, -1, unleased=False), lease(9, 1, -1, unleased=False)]))
    assert outcome.untaken == []
    assert (await row(store, 1)).polls == 7


@pytest.mark.parametrize("wide", [True, False])
async def test_a_change_leaves_the_lease_that_it_does_not_know_of(store: Store, wide: bool) -> None:
    await put(store, Group(1, [start(1, opened=[work(1, 1)])]))
    await put(store, Group(2, leases=[lease(1, 1, 0)]))
    await put(store, Group(3, [go(1, 1, changed=[(work(1, 1, reason="so far", output={"a": 1}), wide, False)])]))
    found = await row(store, 1)
    assert (found.lease, found.worker, found.polls, found.started, found.reason) == (500, "w", 1, 10, "so far")
    assert found.output == ({"a": 1} if wide else None)
    assert [each.n for each in await store.leased(1000, 9)] == [1]


async def test_what_rests_on_a_lease_is_lost_when_that_has_changed(store: Store) -> None:
    await put(store, Group(1, [start(1, opened=[work(1, 1)])]))
    await put(store, Group(2, leases=[lease(1, 1, 0)]))
    assert await lost(store, Group(3, [go(1, 1, closed=[1])], handed=[HandedOut(1, 1, 0, 0)])) == "work 1 1"
    await put(store, Group(4, [go(1, 1, closed=[1])], handed=[HandedOut(1, 1, 1, 500)]))
    assert await lost(store, Group(5, handed=[HandedOut(1, 1, 1, 500)])) == "work 1 1"


async def test_a_look_alone_is_a_group(store: Store) -> None:
    await put(store, Group(1, [start(1)]))
    await put(store, Group(2, reads=[(1, 1), (2, -1)]))
    assert await lost(store, Group(3, reads=[(1, 0)])) == "run 1"


async def test_every_definition_but_handlers_and_bound_ones_moves_the_counter(store: Store) -> None:
    def write(number: int, **more: Any) -> DefinitionWrite:
        row = definition(number, f"d{number}", 1, 10)
        return DefinitionWrite("a", row.kind, row.name, 1, row, 10, **more)

    assert await store.definition_counter("a") == 0
    await put(store, Group(1, definitions=[write(1, moves=True)], defined=[("a", 0)]))
    await put(store, Group(2, definitions=[write(2)]))
    assert await store.definition_counter("a") == 1
    assert await lost(store, Group(3, [start(1)], defined=[("a", 0)])) == "definitions a"
    await put(store, Group(4, [start(1)], defined=[("a", 1), ("b", 0)]))


async def test_what_was_found_is_there_still(store: Store) -> None:
    record = Record(1, 100, 1, True, {"x": 1})
    await put(store, Group(1, [start(1, record=record)]))
    await put(store, Group(2, records=[(1, 100), (2, 0)]))
    await put(store, Group(3, [go(1, 1, record=Record(1, 200, 2, True, {}), past=[(record, 200)])]))
    assert await lost(store, Group(4, records=[(1, 100)])) == "record of run 1"
    await put(store, Group(5, [go(1, 2, unrecorded=True, past=[(Record(1, 200, 2, True, {}), 300)])], records=[(1, 200)]))
    assert await lost(store, Group(6, records=[(1, 200)])) == "record of run 1"


async def test_nothing_more_has_come_that_would_have_been_found(store: Store) -> None:
    place = Lookup("a", "tag", "x")
    await put(store, Group(1, moved=[place]))
    assert await store.lookup(place) == 0
    await put(store, Group(2, looked=[place, place]))
    await put(store, Group(3, looked=[place]))
    assert await store.lookup(place) == 1
    await put(store, Group(4, lookups=[(place, 1)], moved=[Lookup("a", "tag", "y"), Lookup("b", "tag", "x")]))
    outcomes = await store.commit([Group(5, moved=[place]), Group(6, lookups=[(place, 1)])])
    assert [(outcome.ok, outcome.lost) for outcome in outcomes] == [(True, ""), (False, "lookup tag x of a")]
    assert await store.lookup(place) == 2


async def test_a_server_that_was_declared_dead_writes_nothing(store: Store) -> None:
    await put(store, Group(1, nodes=[NodeWrite(3, 0, 1, 10, 20)]))
    assert await lost(store, Group(2, nodes=[NodeWrite(3, 0, 1, 10, 20)])) == "node 3"
    mark = NodeMark(3, 1, 7, 11, 21)
    await put(store, Group(3, [start(1)], fence=[(3, 1)], outcomes=[(3, 7)]), Group(4, marks=[mark]))
    assert await store.nodes() == [NodeRow(3, 1, 11, 21, 7)]
    await put(store, Group(5, nodes=[NodeWrite(3, 1, 2, 12, 22)]))
    outcomes = await store.commit([Group(6, [start(2)], fence=[(3, 1)]), Group(7, marks=[mark._replace(batch=8)])])
    assert [outcome.lost for outcome in outcomes] == ["node 3", "node 3"]
    assert await store.head(2) is None


async def test_the_outcome_of_a_batch_can_be_read(store_factory: Factory) -> None:
    store = await store_factory()
    await put(store, Group(1, nodes=[NodeWrite(3, 0, 1, 10, 20)]))
    groups = [Group(n, [go(1, n)] if n == 2 else [start(n)], fence=[(3, 1)], outcomes=[(3, 7)]) for n in (1, 2, 3)]
    outcomes = await store.commit([*groups, Group(4, marks=[NodeMark(3, 1, 7, 11, 21)])])
    assert [outcome.ok for outcome in outcomes] == [True, False, True, True]
    await store.close()
    store = await store_factory()
    assert await store.outcome(3, 1, 7) == {1, 3}
    assert [await store.outcome(*each) for each in ((3, 1, 8), (3, 2, 7), (4, 1, 7))] == [None] * 3
    await put(store, Group(9, marks=[NodeMark(3, 1, 7 + 64, 11, 21)]))
    assert await store.outcome(3, 1, 7) == set()


async def test_a_claim_is_had_by_one_server_as_long_as_it_lives(store: Store) -> None:
    await put(store, Group(1, nodes=[NodeWrite(1, 0, 1, 0, 0), NodeWrite(2, 0, 1, 0, 0)]))
    one, other = ClaimWrite("lane", "x", 1, 1, 5), ClaimWrite("lane", "x", 2, 1, 6)
    (first,) = await put(store, Group(2, claims=[one, one._replace(name="y"), one]))
    (second,) = await put(store, Group(3, claims=[other._replace(name="z"), other]))
    assert (first.refused, second.refused) == ([], [1])
    assert await store.claims("lane", 2) == [ClaimRow("lane", "x", 1, 1, 5), ClaimRow("lane", "y", 1, 1, 5)]
    assert await store.claims("lane", 2, "y") == [ClaimRow("lane", "z", 2, 1, 6)]
    await put(store, Group(4, unclaimed=[other, one._replace(name="y")]))
    assert [claim.name for claim in await store.claims("lane", 9)] == ["x", "z"]
    await put(store, Group(5, nodes=[NodeWrite(1, 1, 2, 0, 0)]))
    assert [claim.name for claim in await store.claims("lane", 9)] == ["z"]
    (third,) = await put(store, Group(6, claims=[other]))
    assert third.refused == []
