"""What every store must do with runs, steps, work and names. Held to by each store of `conftest.store_factory`."""

from __future__ import annotations

import pytest
from tests.store.conftest import Factory
from tests.store.rows import BIG, ENDED, HUGE, done, go, held, lost, put, run, start, work

from pelton.kernel.model.reads import (
    EndedKey,
    FragmentKey,
    FragmentsKey,
    Held,
    HeldKey,
    IterationKey,
    IterationsKey,
    LastPlaceKey,
    NewestKey,
    OpenKey,
    PlaceBelowKey,
    PlaceKey,
    RunKey,
    SlotKey,
    StepKey,
    ThreadKey,
    ThreadsKey,
    VarKey,
    VarsKey,
)
from pelton.kernel.model.state import FRAGMENTED, OpenStep, Run, RunStatus, Step, Thread
from pelton.kernel.model.transition import UNSET
from pelton.store.group import Group, LeaseWrite, RunWrite
from pelton.store.port import Store
from pelton.store.rows import LogRow, RunKeyRow, TimerRow
from pelton.testing.clock import VirtualClock


async def test_a_new_run_is_there_with_all_its_rows_after_reopening(store_factory: Factory) -> None:
    store = await store_factory()
    step, token = done(1, 0, slot="$start", output={"a": 1}), work(1, 1, input={"b": 2.5}, waits=[1])
    await put(
        store,
        Group(1, [start(1, ended=[step], opened=[token], variables=[(0, "v", 2**70)], fragments=[(1, "f", {"z": None}, 0)])]),
    )
    secret = store.secret
    await store.close()
    store = await store_factory()
    assert store.secret == secret
    assert len(secret) == 32
    head = await store.head(1)
    assert head == run(1)
    assert await store.read(head, [StepKey(0), StepKey(1), OpenKey(), VarKey(0, "v"), FragmentKey(1), FragmentKey(2)]) == [
        step, token, [token], [2**70], ("f", {"z": None}, 0), None,
    ]  # fmt: skip


async def test_what_a_fork_made_is_read_by_its_step_and_replaced_with_it(store: Store) -> None:
    """One that was written without a parent belongs to a run whose rows do not say what they are part of."""
    made = [(1, "f", ["a"], 0), (4, "g", ["b"], 1), (7, "f", ["c"], -1)]
    await put(store, Group(1, [start(1, fragments=made)]))
    head = await store.head(1)
    assert head is not None
    keys = [FragmentKey(1), FragmentKey(4), FragmentKey(7), FragmentsKey()]
    assert await store.read(head, keys) == [("f", ["a"], 0), ("g", ["b"], 1), None, [(7, "f", ["c"])]]
    await put(store, Group(2, [go(1, 1, fragments=[(1, "f", ["d"], 0)])]))
    assert await store.read(head, [FragmentKey(1)]) == [("f", ["d"], 0)]


async def test_what_a_fork_made_goes_with_its_step(store: Store) -> None:
    steps = [done(1, n, slot="f", scope=scope, it=it) for n, scope, it in ((3, 2, 1), (5, 2, 2), (7, 2, 3), (8, 0, 0))]
    made = [(step.n, "f", ["a"], 0) for step in steps]
    await put(store, Group(1, [start(1, flags=FRAGMENTED, next_n=10, ended=steps, fragments=made)]))
    head = await store.head(1)
    assert head is not None
    keys = [FragmentKey(step.n) for step in steps]
    await put(store, Group(2, [go(1, 1, flags=FRAGMENTED, next_n=10, purges=[(2, 10, 2, 3)])]))
    assert [answer is not None for answer in await store.read(head, keys)] == [False, False, True, True]
    await put(store, Group(3, [go(1, 2, flags=FRAGMENTED, next_n=10, purges=[(8, 10, 0, 0)])]))
    assert [answer is not None for answer in await store.read(head, keys)] == [False, False, True, False]


async def test_a_moved_revision_loses_its_group_and_no_other(store: Store) -> None:
    await put(store, Group(1, [start(1)]), Group(2, [start(2)]))
    outcomes = await store.commit(
        [
            Group(7, [go(1, 5, variables=[(0, "v", 1)]), go(2, 1)]),
            Group(8, [start(3)], timers=[TimerRow(3, 1, "limit", 0, 10)]),
            Group(9, [go(2, 1)]),
        ]
    )
    assert [(outcome.number, outcome.ok, outcome.lost) for outcome in outcomes] == [
        (7, False, "run 1"),
        (8, True, ""),
        (9, True, ""),
    ]
    assert await store.read(run(1), [VarKey(0, "v")]) == [None]
    head = await store.head(2)
    assert head is not None
    assert head.rev == 2


async def test_a_new_run_that_exists_is_lost_and_a_missing_run_too(store: Store) -> None:
    await put(store, Group(1, [start(1)]))
    assert await lost(store, Group(2, [start(1)])) == "run 1"
    assert await lost(store, Group(3, [go(5, 1)])) == "run 5"


async def test_groups_of_one_batch_may_follow_one_another_on_a_run(store: Store) -> None:
    outcomes = await store.commit([Group(1, [start(1)]), Group(2, [go(1, 1)]), Group(3, [go(1, 1)]), Group(4, [go(1, 2)])])
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True]


async def test_what_was_read_must_still_hold(store: Store) -> None:
    await put(store, Group(1, [start(1)]), Group(2, [start(2)]))
    await put(store, Group(3, [go(1, 1)], reads=[(2, 1), (99, -1)]))
    assert await lost(store, Group(4, [go(1, 2)], reads=[(2, 5)])) == "run 2"
    assert await lost(store, Group(4, [go(1, 2)], reads=[(2, -1)])) == "run 2"
    # each reads what the other writes: one of them must lose
    outcomes = await store.commit([Group(5, [go(1, 2)], reads=[(2, 1)]), Group(6, [go(2, 1)], reads=[(1, 2)])])
    assert [outcome.ok for outcome in outcomes] == [True, False]


async def test_poison_loses_its_own_group(store: Store) -> None:
    outcomes = await store.commit(
        [Group(1, [start(1, variables=[(0, "v", object())])]), Group(2, [start(2)]), Group(3, [start(2**64)])]
    )
    assert [outcome.ok for outcome in outcomes] == [False, True, False]
    assert outcomes[0].lost.startswith("invalid")
    assert await store.head(1) is None


@pytest.mark.parametrize("value", [BIG, HUGE, {"a": [HUGE]}])
async def test_large_parts_come_back_and_go_away(store: Store, value: object) -> None:
    token = work(1, 1, input=value, output=value, waits=value)
    await put(store, Group(1, [start(1, opened=[token])]))
    assert await store.read(run(1), [StepKey(1)]) == [token]
    narrow = work(1, 1, input="not written", left=7)
    await put(store, Group(2, [go(1, 1, changed=[(narrow, False, True)])]))
    token.left = 7
    assert await store.read(run(1), [StepKey(1)]) == [token]
    wide = work(1, 1, input=value, output="small", left=7)
    await put(store, Group(3, [go(1, 2, changed=[(wide, True, True)])]))
    assert await store.read(run(1), [StepKey(1)]) == [wide]
    step = done(1, 1, input=value, output=value)
    await put(store, Group(4, [go(1, 3, closed=[1], ended=[step])]))
    assert await store.read(run(1), [StepKey(1), OpenKey(), EndedKey(0, 10, 5)]) == [step, [], [step]]
    again = work(1, 1, input=value)
    await put(store, Group(5, [go(1, 4, era=1, reopened=[1], opened=[again])]))
    assert await store.read(run(1), [StepKey(1), EndedKey(0, 10, 5)]) == [again, []]
    await put(store, Group(6, [go(1, 5, closed=[1], ended=[done(1, 1, input=BIG)])]))
    await put(store, Group(7, remove_runs=[1]))
    assert await store.read(run(1), [StepKey(1), OpenKey()]) == [None, []]


async def test_newest_of_a_slot_open_or_ended_whatever_the_scope(store: Store) -> None:
    ended = [done(1, n, slot="s", scope=2, it=n) for n in range(3, 9)]
    await put(store, Group(1, [start(1, ended=[*ended, done(1, 20, slot="other")])]))
    assert await store.read(run(1), [NewestKey("s"), NewestKey("other"), NewestKey("none")]) == [
        ended[-1],
        done(1, 20, slot="other"),
        None,
    ]
    token = work(1, 9, slot="s")
    parked = work(1, -1, queue="", slot="s")
    await put(store, Group(2, [go(1, 1, opened=[token, parked])]))
    assert await store.read(run(1), [NewestKey("s"), OpenKey()]) == [token, [parked, token]]
    assert await store.read(run(1), [StepKey(9), NewestKey("s"), NewestKey("other"), NewestKey("none")]) == [
        token,
        token,
        done(1, 20, slot="other"),
        None,
    ]


async def test_slots_by_scope_and_iteration(store: Store) -> None:
    ended = [done(1, 10, slot="s", scope=1, it=1), done(1, 12, slot="s", scope=2, it=1), done(1, 11, slot="s", scope=1, it=2)]
    outside = done(1, 3, slot="o")
    await put(store, Group(1, [start(1, ended=[*ended, outside], opened=[work(1, 13, slot="s", scope=2, it=2)])]))
    keys = [
        SlotKey("s", 1, 1),
        SlotKey("s", 1, 2),
        SlotKey("s", 2, 2),
        SlotKey("s", 3, 1),
        SlotKey("o", 0, 0),
        SlotKey("s", 0, 0),
    ]
    token = work(1, 13, slot="s", scope=2, it=2)
    assert await store.read(run(1), keys) == [ended[0], ended[2], token, None, outside, None]
    below = [
        PlaceBelowKey("s", 2, 2, 13),
        PlaceBelowKey("s", 2, 2, 14),
        PlaceBelowKey("s", 1, 2, 12),
        PlaceBelowKey("s", 1, 2, 11),
    ]
    assert await store.read(run(1), below) == [None, token, ended[2], None]
    assert await store.read(run(1), [PlaceBelowKey("o", 0, 0, 4), PlaceBelowKey("o", 0, 0, 3)]) == [outside, None]
    iterations = [IterationKey("s", 1), IterationKey("s", 2), IterationKey("s", 9), IterationKey("o", 0)]
    assert await store.read(run(1), iterations) == [ended[1], token, None, outside]


async def test_a_range_of_iterations_of_one_scope(store: Store) -> None:
    ended = [done(1, 10 * it + place, slot=slot, scope=1, it=it) for it in (1, 2, 3) for place, slot in enumerate("ab")]
    retried = done(1, 28, slot="a", scope=1, it=2)
    others = [done(1, 5, slot="a", scope=2, it=2), done(1, 6, slot="c", scope=1, it=2), done(1, 7, slot="a")]
    opened = [work(1, 40, slot="a", scope=1, it=4), work(1, 45, slot="b", scope=3, it=4), work(1, -1, slot="b", scope=1, it=4)]
    reopened = work(1, 31, slot="b", scope=1, it=3)
    rows = [step for step in ended if step.n != reopened.n]
    await put(store, Group(1, [start(1, ended=[*rows, retried, *others], opened=[*opened, reopened])]))

    async def read(
        low: int, high: int, size: int = 1 << 20, slots: tuple[str, ...] = ("a", "b"), head: Run | None = None
    ) -> tuple[int, list[int]]:
        (found,) = await store.read(head or run(1), [IterationsKey(slots, 1, low, high, size)])
        return found.first, sorted(step.n for step in found.steps)

    assert await read(1, 5) == (1, [10, 11, 21, 28, 30, 31, 40])
    assert await read(2, 3) == (2, [21, 28])
    assert await read(2, 4, slots=("b",)) == (2, [21, 31])
    assert await read(5, 9) == (5, [])
    assert await read(1, 5, head=run(1, voids=((25, 31),))) == (1, [10, 11, 20, 21, 31, 40])
    first, found = await read(1, 4, size=0)
    assert (first, found) == (3, [30, 31])  # one iteration, however large


async def test_a_range_of_iterations_stops_before_it_is_too_large(store: Store) -> None:
    ended = [done(1, it, slot="a", scope=99, it=it, output=HUGE if it == 2 else BIG) for it in range(1, 11)]
    await put(store, Group(1, [start(1, ended=ended)]))
    (found,) = await store.read(run(1), [IterationsKey(("a",), 99, 1, 11, 4 * len(BIG))])
    assert found.first in (7, 8)
    assert [step.output for step in found.steps] == [BIG] * (11 - found.first)
    assert 2 * len(BIG) < found.size <= 4 * len(BIG)
    (found,) = await store.read(run(1), [IterationsKey(("a",), 99, 1, 4, len(HUGE))])
    assert found.first == 3


async def test_void_numbers_are_skipped_everywhere(store: Store) -> None:
    ended = [done(1, n, slot="s", scope=1, it=1) for n in range(10)]
    await put(store, Group(1, [start(1, ended=ended)]))
    head = run(1, voids=((7, 10), (3, 5), (4, 6)))
    assert await store.read(head, [NewestKey("s"), SlotKey("s", 1, 1), IterationKey("s", 1), StepKey(8), StepKey(2)]) == [
        ended[6], ended[6], ended[6], None, ended[2],
    ]  # fmt: skip
    assert await store.read(head, [PlaceBelowKey("s", 1, 1, 6), PlaceBelowKey("s", 1, 1, 9)]) == [ended[2], ended[6]]
    assert await store.read(head, [EndedKey(0, 10, 3), EndedKey(4, 9, 9)]) == [[ended[6], ended[2], ended[1]], [ended[6]]]
    assert await store.steps(head, -1, 3) == ended[:3]
    assert await store.steps(head, 1, 9) == [ended[2], ended[6]]
    assert await store.read(run(1, voids=((0, 10),)), [NewestKey("s")]) == [None]


async def test_steps_page_by_number_open_and_ended_together(store: Store) -> None:
    await put(store, Group(1, [start(1, ended=[done(1, n) for n in (0, 2, 4)], opened=[work(1, n) for n in (-1, 1, 3)])]))
    assert [step.n for step in await store.steps(run(1), -1, 3)] == [0, 1, 2]
    assert [step.n for step in await store.steps(run(1), 2, 3)] == [3, 4]


async def test_variables_and_threads(store: Store) -> None:
    thread = Thread(1, 2, reasons=((1, 0), (2, 5)), output={"a": 1})
    await put(store, Group(1, [start(1, variables=[(0, "a", 1), (0, "b", None), (1, "a", "x")], threads=[thread, Thread(1, 0)])]))
    assert await store.read(run(1), [VarKey(0, "a"), VarKey(0, "b"), VarKey(0, "c"), VarsKey(0), VarsKey(3)]) == [
        [1], [None], None, {"a": 1, "b": None}, {},
    ]  # fmt: skip
    assert await store.read(run(1), [ThreadKey(2), ThreadKey(1), ThreadsKey()]) == [thread, None, [Thread(1, 0), thread]]
    await put(store, Group(2, [go(1, 1, variables=[(0, "a", UNSET), (0, "b", 3)], threads=[Thread(1, 2, body="z")])]))
    assert await store.read(run(1), [VarsKey(0), ThreadKey(2)]) == [{"b": 3}, Thread(1, 2, body="z")]


async def test_a_question_about_another_run_is_refused(store: Store) -> None:
    with pytest.raises(TypeError, match="RunKey"):
        await store.read(run(1), [RunKey(2)])


async def test_held_for_a_run_and_for_a_key(store: Store) -> None:
    await put(
        store, Group(1, held=[held(3), held(1, posted=9), held(2), held(4, run=7, key=""), held(5, run=7, key="", name="n2")])
    )
    answers = await store.read(run(7), [HeldKey("name", "k"), HeldKey("name", ""), HeldKey("", "")])
    assert [[row.id for row in answer] for answer in answers] == [[2, 3, 1], [4], [4, 5]]
    assert answers[1] == [Held(4, "name", "", {"id": 4}, -1, -1, 4, None)]


async def test_purges(store: Store) -> None:
    ended = [done(1, n, scope=1 if n % 2 else 0, it=n if n % 2 else 0, input=HUGE) for n in range(10)]
    await put(store, Group(1, [start(1, ended=ended)]))
    await put(store, Group(2, [go(1, 1, purges=[(0, 9, 1, 5)])]))
    assert [step.n for step in await store.steps(run(1), -1, 99)] == [0, 2, 4, 5, 6, 7, 8, 9]
    await put(store, Group(3, [go(1, 2, purges=[(2, 6, 0, 0)])]))
    assert [step.n for step in await store.steps(run(1), -1, 99)] == [0, 6, 7, 8, 9]


async def test_lists_of_runs(store: Store) -> None:
    for key in range(1, 9):
        await put(store, Group(key, [start(key, process=f"p{key % 3}", created=key * 10, ns="a" if key < 8 else "b")]))
    await put(store, Group(10, [go(6, 1, status=ENDED), go(5, 1, status=RunStatus.PAUSED)]))

    async def keys(**what: object) -> list[int]:
        return [head.key for head in await store.runs("a", **what)]  # type: ignore[arg-type]

    assert await keys() == [7, 6, 5, 4, 3, 2, 1]
    assert await keys(process="p0") == [6, 3]
    assert await keys(live=True) == [7, 5, 4, 3, 2, 1]
    assert await keys(live=False) == [6]
    assert await keys(process="p0", live=True) == [3]
    assert await keys(before=6, limit=2) == [5, 4]
    assert await keys(since=30, until=60) == [5, 4, 3]
    assert await keys(process="p9") == []
    await put(store, Group(11, [go(6, 2, era=1)]))
    assert await keys(live=False) == []


async def test_a_namespace_of_very_many_processes_is_listed_all_the_same(store: Store) -> None:
    await put(store, *(Group(key, [start(key, process=f"p{key}")]) for key in range(1, 151)))
    await put(store, Group(1, [start(200, ns="b")]), Group(2, [go(150, 1, status=ENDED)]))
    assert [head.key for head in await store.runs("a", limit=3)] == [150, 149, 148]
    assert [head.key for head in await store.runs("a", limit=3, live=True)] == [149, 148, 147]


async def test_a_stub_is_not_listed_until_it_is_a_run(store: Store) -> None:
    await put(store, Group(1, [start(1, process="", status=RunStatus.EXPECTED)]))
    assert await store.head(1) == run(1, status=RunStatus.EXPECTED)
    assert await store.runs("a") == []
    assert await lost(store, Group(2, [start(1)])) == "run 1"
    await put(store, Group(3, [go(1, 1, process="p", created=5)]))
    assert [head.key for head in await store.runs("a", process="p", live=True, since=5)] == [1]


def name(key: int, text: str = "t", *, unique: bool = True, process: str = "p", kind: str = "ref") -> RunKeyRow:
    return RunKeyRow("a", kind, process, text, key, unique)


async def test_unique_names_are_free_again_when_their_run_frees_them(store: Store) -> None:
    await put(store, Group(1, [start(1)], run_keys=[name(1)]))
    assert await lost(store, Group(2, [start(2)], run_keys=[name(2)])) == "key ref t of a"
    assert await store.head(2) is None
    await put(store, Group(3, [start(3)], run_keys=[name(3, process="p2")]))
    outcomes = await store.commit([Group(4, [start(4)], run_keys=[name(4, "u")]), Group(5, [start(5)], run_keys=[name(5, "u")])])
    assert [outcome.ok for outcome in outcomes] == [True, False]
    await put(store, Group(6, [go(1, 1, status=ENDED)], free_run_keys=[1]))
    await put(store, Group(7, [start(2)], run_keys=[name(2)]))
    assert await store.run_keys("a", "ref", "p", "t", False) == [2, 1]
    assert await store.run_keys("a", "ref", "", "t", True) == [3, 2]
    assert await lost(store, Group(8, [go(1, 2, era=1)], run_keys=[name(1)])) == "key ref t of a"
    await put(store, Group(9, [go(2, 1)], free_run_keys=[2]))
    await put(store, Group(9, [go(1, 2, era=1)], run_keys=[name(1)]))
    assert await store.run_keys("a", "ref", "p", "t", True) == [1]


async def test_a_run_that_goes_on_has_its_names_again_unless_another_live_run_has_a_unique_one(store: Store) -> None:
    names = [name(1), name(1, "second"), name(1, "shared", unique=False)]
    await put(store, Group(1, [start(1)], run_keys=names))
    await put(store, Group(2, [go(1, 1, status=ENDED)], free_run_keys=[1]))
    for text in ("t", "second", "shared"):
        assert await store.run_keys("a", "ref", "p", text, True) == []
    await put(store, Group(3, [go(1, 2, era=1)], claim_run_keys=[1]))
    for text in ("t", "second", "shared"):
        assert await store.run_keys("a", "ref", "p", text, True) == [1]
    assert await lost(store, Group(4, [start(2)], run_keys=[name(2, "second")])) == "key ref second of a"
    await put(store, Group(5, [go(1, 3, status=ENDED, era=1)], free_run_keys=[1]))
    await put(store, Group(6, [start(2)], run_keys=[name(2, "second"), name(2, "shared", unique=False)]))
    assert await lost(store, Group(7, [go(1, 4, era=2)], claim_run_keys=[1])) == "keys of run 1"
    assert await store.run_keys("a", "ref", "p", "t", True) == []
    assert (await store.head(1)).rev == 4  # type: ignore[union-attr]
    await put(store, Group(8, [go(2, 1, status=ENDED)], free_run_keys=[2]))
    await put(store, Group(9, [go(1, 4, era=2)], claim_run_keys=[1]))
    assert await store.run_keys("a", "ref", "p", "second", True) == [1]


async def test_of_two_runs_that_claim_a_name_together_one_has_it(store: Store) -> None:
    await put(store, Group(1, [start(1)], run_keys=[name(1)]), Group(2, free_run_keys=[1]))
    await put(store, Group(3, [start(2)], run_keys=[name(2)]), Group(4, free_run_keys=[2]))
    both = Group(5, [go(1, 1, era=1), go(2, 1, era=1)], claim_run_keys=[1, 2])
    assert (await lost(store, both)).startswith("keys of run")
    outcomes = await store.commit(
        [
            Group(6, [go(1, 1, era=1)], claim_run_keys=[1]),
            Group(7, [go(2, 1, era=1)], claim_run_keys=[2]),
            Group(8, [start(3)], run_keys=[name(3)]),
        ]
    )
    assert [(outcome.ok, outcome.lost) for outcome in outcomes] == [
        (True, ""),
        (False, "keys of run 2"),
        (False, "key ref t of a"),
    ]
    handed_on = await store.commit([Group(9, free_run_keys=[1]), Group(10, [go(2, 1, era=1)], claim_run_keys=[2])])
    assert [outcome.ok for outcome in handed_on] == [True, True]
    assert await store.run_keys("a", "ref", "p", "t", True) == [2]


async def test_a_name_goes_from_one_run_to_the_next_within_one_call(store: Store) -> None:
    """Each group has only rows that are written together with those of others, and yet their order counts."""
    given = [
        Group(1, [start(1)], run_keys=[name(1)]),
        Group(2, free_run_keys=[1]),
        Group(3, [start(2)], run_keys=[name(2)]),
    ]
    assert [outcome.ok for outcome in await store.commit(given)] == [True, True, True]
    assert await store.run_keys("a", "ref", "p", "t", True) == [2]


async def test_names_that_need_not_be_unique(store: Store) -> None:
    await put(
        store, Group(1, [start(1)], run_keys=[name(1, unique=False)]), Group(2, [start(2)], run_keys=[name(2, unique=False)])
    )
    assert await store.run_keys("a", "ref", "", "t", True) == [2, 1]
    assert await lost(store, Group(3, [start(3)], run_keys=[name(3)])) == "key ref t of a"


async def test_leases_touch_no_revision_and_nothing_that_is_gone(store: Store) -> None:
    await put(store, Group(1, [start(1, opened=[work(1, 1, input=BIG, limit=50)])]))
    await put(store, Group(2, leases=[LeaseWrite(1, 1, 500, "w", 3, 400, 7), LeaseWrite(1, 9, 5, "w", 1, 1, 1)]))
    token = work(1, 1, input=BIG, limit=50, lease=500, worker="w", polls=3, started=400, due=7)
    assert await store.read(run(1), [OpenKey()]) == [[token]]
    assert await store.ready("q", 9) == []
    assert await store.leased(450, 9) == []
    assert await store.leased(451, 9) == [token]
    assert await store.queue_sizes() == {"q": 1}
    assert await store.queue_sizes(handed_out=False) == {}
    head = await store.head(1)
    assert head is not None
    assert head.rev == 1
    await put(store, Group(3, leases=[LeaseWrite(1, 1, 0, "", 3, 400, 7)]))
    assert len(await store.ready("q", 9)) == 1
    await put(store, Group(4, [go(1, 1, closed=[1])]))
    assert await store.queue_sizes() == {}


async def test_work_is_ready_in_order_and_in_pages(store: Store) -> None:
    order = [(5, 9, 2, 1), (0, 1, 2, 3), (0, 1, 2, 4), (0, 1, 3, 1), (0, 8, 1, 1), (-4, 0, 1, 2)]
    tokens = {
        key: [work(key, n, priority=priority, due=due) for priority, due, run, n in reversed(order) if run == key]
        for key in (1, 2, 3)
    }
    await put(store, *(Group(key, [start(key, opened=[*rows, work(key, 50, queue="")])]) for key, rows in tokens.items()))
    found = [(row.priority, row.due, row.run, row.n) for row in await store.ready("q", 99)]
    assert found == order
    for place, after in enumerate(order):
        page = await store.ready("q", 2, after)
        assert [(row.priority, row.due, row.run, row.n) for row in page] == order[place + 1 : place + 3]
    assert await store.ready("other", 9) == []


async def test_timers_are_replaced_and_cleared(store: Store) -> None:
    first = [
        TimerRow(1, 1, "limit", 0, 30),
        TimerRow(1, 1, "idle", 0, 10),
        TimerRow(1, 2, "0", 0, 20),
        TimerRow(1, 0, "run", 0, 20),
    ]
    await put(store, Group(1, timers=first))
    assert await store.timers(30, 9) == [first[1], first[3], first[2]]
    again = TimerRow(1, 1, "limit", 1, 5)
    await put(store, Group(2, timers=[again], clear_timers=[(1, 2, "")]))
    assert await store.timers(99, 1) == [again]
    await put(store, Group(3, clear_timers=[(1, 1, "idle"), (1, 0, "run")]))
    assert await store.timers(99, 9) == [again]
    await put(store, Group(4, timers=[again], clear_timers=[(1, 1, "")]))
    assert await store.timers(99, 9) == [again]


async def test_logs(store: Store) -> None:
    lines = [LogRow(1, 1, at, f"line {at}") for at in (1, 2, 3)]
    await put(store, Group(1, logs=[*lines, LogRow(1, 2, 1, "other")]))
    assert await store.logs(1, 1, 2) == lines[:2]


async def test_removed_runs_leave_nothing(store: Store) -> None:
    write = start(
        1, opened=[work(1, 1, input=BIG)], ended=[done(1, 0, output=HUGE)], variables=[(0, "v", 1)], threads=[Thread(1, 1)]
    )
    await put(
        store,
        Group(
            1, [write], timers=[TimerRow(1, 1, "a", 0, 1)], held=[held(1, run=1)], run_keys=[name(1)], logs=[LogRow(1, 1, 1, "t")]
        ),
        Group(2, [start(2)]),
    )
    await put(store, Group(3, remove_runs=[1]))
    assert await store.head(1) is None
    assert await store.read(run(1), [OpenKey(), StepKey(0), VarsKey(0), ThreadsKey(), HeldKey("", "")]) == [[], None, {}, [], []]
    assert (await store.timers(99, 9), await store.logs(1, 1, 9), await store.run_keys("a", "ref", "", "t", False)) == (
        [],
        [],
        [],
    )
    assert [head.key for head in await store.runs("a")] == [2]


async def test_rows_are_counted_and_a_signal_touches_few(store: Store) -> None:
    await put(store, Group(1, [start(1, ended=[done(1, n, slot="s", scope=1, it=n) for n in range(1, 501)])]))
    before = store.counts.rows_read, store.counts.rows_written, store.counts.commits
    await store.read(run(1), [StepKey(500), NewestKey("s"), NewestKey("t")])
    await store.read(run(1), [SlotKey("s", 1, 250), IterationKey("s", 3)])
    await put(store, Group(2, [go(1, 1, ended=[done(1, 501)])]))
    assert store.counts.rows_read - before[0] <= 6
    assert (store.counts.rows_written - before[1], store.counts.commits - before[2]) == (2, 1)
    read = store.counts.rows_read
    await store.read(run(1), [IterationsKey(("s",), 1, 240, 245, 1 << 20)])
    assert store.counts.rows_read - read == 5


async def test_the_clock_never_goes_back_not_even_by_a_restart(store_factory: Factory, time: VirtualClock) -> None:
    store = await store_factory()
    first = store.now()
    time.time += 5000
    later = store.now()
    assert later == first + 5000
    time.time -= 60_000
    assert store.now() == later
    await put(store, Group(1, [start(1)]))
    await store.close()
    store = await store_factory()
    assert store.now() == later


async def test_an_empty_commit_is_nothing(store: Store) -> None:
    assert await store.commit([]) == []
    assert [outcome.ok for outcome in await store.commit([Group(4)])] == [True]


def test_the_expected_revision_is_part_of_every_write() -> None:
    assert RunWrite.__struct_fields__[:2] == ("run", "expected")


async def test_runs_are_listed_by_status_wherever_a_status_came_from(store: Store) -> None:
    statuses = dict(enumerate((1, 2, 3, 4, 5, 6, 4, 2, 0), start=1))
    for key, status in statuses.items():
        await put(store, Group(key, [start(key, status=status, created=key)]))
    for status in range(1, 7):
        expected = [key for key, each in sorted(statuses.items(), reverse=True) if each == status]
        for process in ("", "p"):
            assert [head.key for head in await store.runs("a", process=process, status=status)] == expected
    await put(store, Group(20, [go(2, 1, status=1), go(4, 1, status=1, era=1), go(9, 1, status=RunStatus.RUNNING, created=9)]))
    await put(store, Group(21, [go(2, 2, status=2)]))
    assert [head.key for head in await store.runs("a", status=2)] == [8, 2]
    assert [head.key for head in await store.runs("a", status=4, live=False)] == [7]
    assert [head.key for head in await store.runs("a", status=4, live=True)] == []
    assert [head.key for head in await store.runs("a", status=2, before=8, limit=1)] == [2]


# ---- places


async def test_a_step_is_read_by_its_place_open_or_ended_and_of_attempts_the_last(store: Store) -> None:
    ended = [done(1, 1, position=0), done(1, 2, thread=1, position=0), done(1, 4, position=1), done(1, 5)]
    opened = [work(1, 3, thread=1, position=1), work(1, 6, position=1), work(1, 7), work(1, -1, position=3)]
    await put(
        store, Group(1, [start(1, next_n=8, ended=ended, opened=opened)]), Group(2, [start(2, ended=[done(2, 9, position=0)])])
    )
    head = await store.head(1)
    assert head is not None
    places = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 3), (2, 0), (0, -1)]
    found = await store.read(head, [PlaceKey(*place) for place in places])
    assert [None if row is None else row.n for row in found] == [1, 2, 3, 6, None, None, None, None]
    assert found[3] == opened[1]
    assert found[1] == ended[1]
    await put(store, Group(3, [go(1, 1, next_n=8, closed=[6, 3], ended=[done(1, 6, position=1, output=BIG)])]))
    assert [row and row.n for row in await store.read(head, [PlaceKey(0, 1), PlaceKey(1, 1)])] == [6, None]


async def test_the_last_place_of_a_thread_is_that_of_what_no_rewind_took_back(store: Store) -> None:
    ended = [done(1, n, position=n - 1) for n in range(1, 8)] + [done(1, 8, thread=1, position=0), done(1, 9, position=2)]
    opened = [work(1, 10, position=7), work(1, 11, thread=1, position=1), work(1, 12, thread=3, position=0)]
    await put(store, Group(1, [start(1, next_n=13, voids=((4, 8),), ended=ended, opened=opened)]))
    head = await store.head(1)
    assert head is not None
    keys = [(0, 99), (0, 10), (0, 9), (0, 3), (0, 1), (1, 99), (1, 11), (2, 99), (3, 99)]
    assert await store.read(head, [LastPlaceKey(*key) for key in keys]) == [7, 2, 2, 1, -1, 1, 0, -1, 0]
    assert [row and row.n for row in await store.read(head, [PlaceKey(0, 2), PlaceKey(0, 3)])] == [9, None]


async def test_the_last_place_is_found_below_thousands_that_were_taken_back(store: Store) -> None:
    ended = [done(1, 1, position=0), *(done(1, n, position=1 + n % 2) for n in range(2, 2600))]
    await put(store, Group(1, [start(1, next_n=2600, voids=((3, 2600),), ended=ended)]))
    head = await store.head(1)
    assert head is not None
    assert await store.read(head, [LastPlaceKey(0, 2600), PlaceKey(0, 1), PlaceKey(0, 2)]) == [1, ended[1], None]


async def test_what_goes_is_not_found_by_its_place(store: Store) -> None:
    ended = [done(1, n, scope=1, it=n, position=n) for n in range(2, 6)]
    await put(store, Group(1, [start(1, next_n=9, ended=ended, opened=[work(1, 6, position=6)])]))
    await put(store, Group(2, [go(1, 1, next_n=9, purges=[(1, 9, 1, 4)], reopened=[5], opened=[work(1, 5, position=5)])]))
    head = await store.head(1)
    assert head is not None
    found = await store.read(head, [PlaceKey(0, position) for position in range(2, 7)])
    assert [row and (row.n, type(row)) for row in found] == [None, None, (4, Step), (5, OpenStep), (6, OpenStep)]
    await put(store, Group(3, remove_runs=[1]))
    await put(store, Group(4, [start(1)]))
    assert await store.read(head, [PlaceKey(0, 4), PlaceKey(0, 6), LastPlaceKey(0, 99)]) == [None, None, -1]
