"""What every store must do for callers who wait for an answer: the first one counts, and is read once."""

from __future__ import annotations

from tests.store.conftest import Factory
from tests.store.rows import go, lost, put, start

from pelton.store.group import Group, ReplyWrite
from pelton.store.port import Store
from pelton.store.rows import ReplyRow


def request(name: str = "r", expires: int = 100, ns: str = "a") -> ReplyRow:
    return ReplyRow(ns, name, b"", expires)


def reply(body: bytes, name: str = "r", at: int = 10, ns: str = "a") -> ReplyWrite:
    return ReplyWrite(ns, name, body, at)


async def test_the_first_answer_counts_also_within_a_group_and_a_batch(store: Store) -> None:
    await put(store, Group(1, requests=[request(), request("s"), request(ns="b")]))
    await put(store, Group(2, replies=[reply(b"1", "s"), reply(b"2", "s")]), Group(3, replies=[reply(b"3", "s"), reply(b"4")]))
    await put(store, Group(4, replies=[reply(b"5")]))
    assert await store.reply("a", "r") == ReplyRow("a", "r", b"4", 100)
    assert await store.reply("a", "s") == ReplyRow("a", "s", b"1", 100)
    assert await store.reply("b", "r") == ReplyRow("b", "r", b"", 100)


async def test_an_answer_that_nobody_waits_for_is_dropped(store: Store) -> None:
    await put(store, Group(1, replies=[reply(b"1")]))
    assert await store.reply("a", "r") is None
    await put(store, Group(2, requests=[request(expires=10)]), Group(3, replies=[reply(b"1", at=10)]))
    assert await store.reply("a", "r") == ReplyRow("a", "r", b"", 10)


async def test_an_answer_is_there_with_its_group_or_not_at_all(store_factory: Factory) -> None:
    store = await store_factory()
    await put(store, Group(1, [start(1)], requests=[request()]))
    assert await lost(store, Group(2, [go(1, 7)], replies=[reply(b"1")])) == "run 1"
    await put(store, Group(3, [go(1, 1)], replies=[reply(b"2")]))
    await store.close()
    again = await store_factory()
    assert await again.reply("a", "r") == ReplyRow("a", "r", b"2", 100)


async def test_two_callers_cannot_wait_under_one_name_and_one_reads_the_answer(store: Store) -> None:
    await put(store, Group(1, requests=[request()]))
    assert await lost(store, Group(2, requests=[request()])) == "request r of a"
    done = await store.commit([Group(3, replied=[("a", "r")]), Group(4, replied=[("a", "r")])])
    assert [(each.ok, each.lost) for each in done] == [(True, ""), (False, "request r of a")]
    assert await store.reply("a", "r") is None
    await put(store, Group(5, requests=[request()]))


async def test_requests_that_have_expired_go_some_at_a_time(store: Store) -> None:
    await put(store, Group(1, requests=[request(f"{number:02}", number) for number in range(60)]))
    await put(store, Group(2, old_requests=[58], requests=[request("new", 5)]))
    assert [await store.reply("a", name) is None for name in ("00", "49", "50", "59", "new")] == [True, True, False, False, False]
    await put(store, Group(3, old_requests=[58]))
    assert [await store.reply("a", name) is None for name in ("58", "59", "new")] == [True, False, True]
