"""What every store must tell, in one answer, about runs that are about to be changed."""

from __future__ import annotations

from typing import Any

from tests.store.rows import BIG, HUGE, done, go, put, start, work

from pelton.kernel.model.state import THREADED, Record, Thread
from pelton.store.group import Group
from pelton.store.port import Store
from pelton.store.prefetched import PREFETCH_BYTES, PREFETCH_ROWS, Prefetched


async def ask(store: Store, key: int, n: int = 0) -> Prefetched:
    (found,) = await store.prefetch([(key, n)])
    assert found is not None
    return found


def numbers(rows: Any) -> list[int] | None:
    return None if rows is None else sorted(row.n for row in rows)


async def test_of_a_small_run_there_is_everything(store: Store) -> None:
    record = Record(1, 5, 1, True, {"a": 1})
    write = start(1, opened=[work(1, 3, input={"x": BIG}), work(1, 4)], open=2, next_n=5, record=record, flags=THREADED)
    write.ended = [done(1, 0, output={"in": 1}), done(1, 1, output=HUGE), done(1, 2)]
    write.threads = [Thread(1, 0), Thread(1, 1)]
    write.variables = [(0, "v", 7), (1, "w", [1, 2])]
    await put(store, Group(1, [write]))
    found = await ask(store, 1, 3)
    assert (found.run.key, found.run.rev) == (1, 1)
    assert numbers(found.open) == [3, 4]
    assert numbers(found.ended) == [0, 1, 2]
    assert found.step is not None
    assert (found.step.n, found.step.input) == (3, {"x": BIG})
    assert found.ended is not None
    assert found.ended[1].output == HUGE
    assert [thread.no for thread in found.threads or ()] == [0, 1]
    assert sorted(found.variables or ()) == [(0, "v", 7), (1, "w", [1, 2])]
    assert found.record == record


async def test_each_run_is_answered_in_its_place_and_one_that_is_not_there_by_nothing(store: Store) -> None:
    await put(store, Group(1, [start(2), start(1)]))
    found = await store.prefetch([(1, 0), (9, 3), (2, 5)])
    assert [None if each is None else each.run.key for each in found] == [1, None, 2]
    assert [each.step for each in found if each is not None] == [None, None]
    last = found[2]
    assert last is not None
    assert (last.open, last.ended, last.threads, last.variables, last.record) == ([], [], [], [], None)


async def test_the_step_that_is_asked_for_is_there_though_the_others_are_too_many(store: Store) -> None:
    many = PREFETCH_ROWS + 1
    write = start(1, opened=[work(1, n) for n in range(1, many + 1)], open=many, next_n=1000, flags=THREADED)
    write.run.threads = many
    write.ended = [done(1, 900, output="o")]
    write.threads = [Thread(1, no) for no in range(many)]
    write.variables = [(0, f"v{n}", n) for n in range(many)]
    await put(store, Group(1, [write]))
    for n in (7, 900):
        found = await ask(store, 1, n)
        assert (found.open, found.ended, found.threads, found.variables) == (None, None, None, None)
        assert found.step is not None
        assert found.step.n == n
    assert (await ask(store, 1, 901)).step is None


async def test_no_more_bytes_are_read_than_may_be(store: Store) -> None:
    huge = "z" * PREFETCH_BYTES
    for key, write in enumerate((start(1, opened=[work(1, 1, input=huge)], open=1, next_n=2), start(2), start(3)), 1):
        write.ended = [done(key, 0, output=huge if key == 2 else 1)]
        write.variables = [(0, "v", huge if key == 3 else 1)]
        await put(store, Group(1, [write]))
    one, two, three = [await ask(store, key) for key in (1, 2, 3)]
    assert one.size <= PREFETCH_BYTES < one.size + len(huge)
    assert (one.open, one.ended, one.variables) == (None, None, [(0, "v", 1)])
    assert (two.open, two.ended, two.variables) == ([], None, [(0, "v", 1)])
    assert (three.open, numbers(three.ended), three.variables) == ([], [0], None)


async def test_what_a_rewind_has_taken_back_is_not_told(store: Store) -> None:
    write = start(1, opened=[work(1, 4)], open=1, next_n=5)
    write.ended = [done(1, n) for n in range(4)]
    await put(store, Group(1, [write]))
    await put(store, Group(2, [go(1, 1, open=1, next_n=5, voids=((1, 3),))]))
    assert (await ask(store, 1, 2)).step is None
    found = await ask(store, 1, 3)
    assert found.step is not None
    assert numbers(found.ended) in (None, [0, 3])
