"""What every store must do with the attempts of steps and their checkpoints."""

from __future__ import annotations

from typing import Any

from tests.store.conftest import Factory
from tests.store.rows import done, go, put, run, start

from pelton.kernel.model.reads import StepKey
from pelton.kernel.model.state import TRIED, RunStatus, StepAttempt, StepCheckpoint, Tries
from pelton.store.group import Group, RunWrite
from pelton.store.port import Store
from pelton.store.retention import Sweep

NOW = 1 << 40


def attempt(key: int, n: int, number: int, **fields: Any) -> StepAttempt:
    return StepAttempt(key, n, number, 1, 2, 3, 4, 4, True, "w\n1", 5, "f", "business", "m", {"c": 1 << 70}, "log", **fields)


def checkpoint(key: int, n: int, number: int, value: Any = None) -> StepCheckpoint:
    return StepCheckpoint(key, n, number, 0, 9, value, "log")


async def numbers(store: Store, key: int, n: int) -> tuple[list[int], list[int]]:
    attempts, checkpoints = await store.attempts(key, n, -1, 99), await store.checkpoints(key, n, -1, 99)
    return [each.number for each in attempts], [each.number for each in checkpoints]


async def test_attempts_and_checkpoints_are_read_as_they_were_written(store_factory: Factory) -> None:
    store = await store_factory()
    rows = [attempt(1, 2, number) for number in (0, 1, 2)]
    points = [checkpoint(1, 2, number, value) for number, value in enumerate([None, {"a": [1.5, 1 << 80]}, "x" * 300_000])]
    await put(store, Group(1, [start(1)], attempts=rows, checkpoints=points))
    await put(store, Group(2, attempts=[attempt(1, 3, 0), attempt(2, 2, 0)], checkpoints=[checkpoint(2, 2, 0)]))
    await store.close()
    store = await store_factory()
    assert await store.attempts(1, 2, -1, 99) == rows
    assert await store.attempts(1, 2, 0, 1) == rows[1:2]
    assert await store.attempts(1, 9, -1, 99) == []
    assert await store.checkpoints(1, 2, -1, 99) == points
    assert await store.checkpoints(1, 2, 0, 1) == points[1:2]
    assert await store.checkpoint(1, 2, 2) == points[2]
    assert await store.checkpoint(1, 2, 3) is None
    assert await store.checkpoint(3, 2, 0) is None


async def test_one_that_a_rewind_has_left_is_replaced_and_an_old_one_goes(store: Store) -> None:
    await put(
        store, Group(1, [start(1)], attempts=[attempt(1, 2, 0), attempt(1, 2, 1)], checkpoints=[checkpoint(1, 2, 0, "old")])
    )
    new = StepAttempt(1, 2, 1, message="new")
    await put(store, Group(2, attempts=[new], attempts_gone=[(1, 2, 0), (1, 2, 7)], checkpoints=[checkpoint(1, 2, 0, "new")]))
    assert await store.attempts(1, 2, -1, 99) == [new]
    found = await store.checkpoint(1, 2, 0)
    assert found is not None
    assert found.value == "new"


async def test_a_group_that_is_lost_writes_none(store: Store) -> None:
    await put(store, Group(1, [start(1)]))
    (lost,) = await store.commit([Group(2, [go(1, 7)], attempts=[attempt(1, 2, 0)], checkpoints=[checkpoint(1, 2, 0)])])
    assert not lost.ok
    assert await numbers(store, 1, 2) == ([], [])


async def test_they_go_with_the_steps_that_are_purged(store: Store) -> None:
    ended = [done(1, 2, scope=1, it=1), done(1, 3, scope=1, it=2), done(1, 4, scope=9, it=1), done(1, 6)]
    rows: dict[str, list[Any]] = {
        "attempts": [attempt(1, n, 0) for n in (2, 3, 4, 6)],
        "checkpoints": [checkpoint(1, n, 0) for n in (2, 3, 4, 6)],
    }
    await put(store, Group(1, [start(1, ended=ended)], **rows))
    await put(store, Group(2, [go(1, 1, purges=[(1, 5, 1, 2)], flags=TRIED)]))
    assert [await numbers(store, 1, n) for n in (2, 3, 4, 6)] == [([], []), ([0], [0]), ([0], [0]), ([0], [0])]
    await put(store, Group(3, [go(1, 2, purges=[(4, 9, 0, 0)], flags=TRIED)]))
    assert [await numbers(store, 1, n) for n in (3, 4, 6)] == [([0], [0]), ([], []), ([], [])]


async def test_they_go_with_their_run(store: Store) -> None:
    rows: dict[str, list[Any]] = {
        "attempts": [attempt(key, 2, 0) for key in (1, 2, 3)],
        "checkpoints": [checkpoint(key, 2, 0) for key in (1, 2, 3)],
    }
    await put(
        store,
        Group(1, [start(1), RunWrite(run(2, root=2, status=RunStatus.COMPLETED, ended=1), -1, process="p"), start(3)], **rows),
    )
    await put(store, Group(2, remove_runs=[1]))
    await store.sweep(Sweep("runs", NOW, NOW, NOW, -1, 10))
    assert [await numbers(store, key, 2) for key in (1, 2, 3)] == [([], []), ([], []), ([0], [0])]


async def test_what_a_step_remembers_is_read_as_it_was_written(store: Store) -> None:
    tries = Tries(5, 2, 1, 1000, "log", True)
    step = done(1, 1, tries=tries)
    await put(store, Group(1, [start(1, ended=[step])]))
    (found,) = await store.read(run(1), [StepKey(1)])
    assert found == step
    assert found.tries == tries
