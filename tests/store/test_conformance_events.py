"""Events by their state: what a store lists in a state costs what it shows."""

from __future__ import annotations

from itertools import product

import pytest
from tests.store.conftest import Factory

from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.rows import EVENT_STATES, EventRow


def event(key: int, state: str, type_: str = "t", ns: str = "default") -> EventRow:
    return EventRow(
        key=key, ns=ns, source="/s", event_id=f"e{key}", type=type_, subject="", time=0, received=1, body=key, attributes={},
        hash=b"h", handlers=0, decisions=[], effects=[], state=state,
    )  # fmt: skip


async def keep(store: Store, *events: EventRow) -> None:
    assert (await store.commit([Group(1, events=list(events))]))[0].ok


async def listed(store: Store, ns: str = "default", **given: object) -> list[int]:
    return [row.key for row in await store.events(ns, **given)]  # type: ignore[arg-type]


async def test_events_are_listed_by_state_type_and_both_upwards_and_downwards(store: Store) -> None:
    kinds = list(product(EVENT_STATES, ("t", "u")))
    rows = [event(key, *kinds[key * 7 % len(kinds)], "default" if key % 5 else "other") for key in range(1, 81)]
    await keep(store, *rows)
    mine = [row for row in rows if row.ns == "default"]
    for state, type_ in product(("", *EVENT_STATES), ("", "t", "u")):
        wanted = [row.key for row in mine if state in {"", row.state} and type_ in {"", row.type}]
        given = {"state": state, "type": type_}
        assert await listed(store, **given) == wanted[::-1]
        assert await listed(store, **given, before=40) == [key for key in wanted if key < 40][::-1]
        assert await listed(store, **given, after=40) == [key for key in wanted if key > 40]
        assert await listed(store, **given, after=1, limit=3) == [key for key in wanted if key > 1][:3]
        assert await listed(store, **given, limit=3) == wanted[::-1][:3]


async def test_an_event_whose_state_changes_is_listed_in_its_new_state_only(store: Store) -> None:
    await keep(store, event(1, "held"), event(2, "held"), event(3, "matched"))
    update = Group(1, event_updates=[(1, [], [], "failed"), (2, [], [], "held")])
    assert (await store.commit([update]))[0].ok
    found = {state: await listed(store, state=state) for state in EVENT_STATES}
    assert found == {"matched": [3], "unmatched": [], "held": [2], "failed": [1]}
    assert await listed(store) == [3, 2, 1]


@pytest.mark.parametrize("state", EVENT_STATES)
async def test_a_rare_state_costs_what_it_shows(store_factory: Factory, state: str) -> None:
    store = await store_factory()
    other = "unmatched" if state == "matched" else "matched"
    await keep(store, event(1, state), event(2, state, "u"), *(event(key, other) for key in range(3, 400)))
    before = store.counts.rows_read
    assert await listed(store, state=state, limit=10) == [2, 1]
    assert await listed(store, state=state, type="t", after=0, limit=10) == [1]
    assert store.counts.rows_read - before <= 3


async def test_a_state_of_another_version_hides_nothing(store: Store) -> None:
    await keep(store, event(1, "matched"), event(2, "postponed"), event(3, "matched"))
    assert await listed(store) == [3, 2, 1]
    assert await listed(store, type="t", after=1) == [2, 3]
    assert await listed(store, state="failed") == [2]
    [row] = await store.events("default", state="failed")
    assert row.state == "postponed"
