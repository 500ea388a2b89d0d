"""Whatever comes, goes and is read, in however little memory: what the mirror says it knows, it knows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.world import work

from pelton.kernel.model.state import OpenStep
from pelton.runtime.work.ready_window import Rank, ReadyWindow, rank

STEP = st.one_of(
    st.tuples(st.just("offer"), st.integers(0, 2), st.integers(-5, 30)),
    st.tuples(st.just("force"), st.integers(0, 2), st.integers(-5, 30)),
    st.tuples(st.just("load"), st.integers(1, 4), st.just(0)),
    st.tuples(st.just("take"), st.just(0), st.just(0)),
    st.tuples(st.just("time"), st.integers(1, 10), st.just(0)),
    st.tuples(st.just("shrink"), st.just(0), st.just(0)),
    st.tuples(st.just("end"), st.integers(0, 50), st.just(0)),
)


def load(window: ReadyWindow, store: dict[int, OpenStep], limit: int, now: int) -> None:
    mark: Rank | None = window.mark
    page = sorted((row for row in store.values() if mark is None or rank(row) > mark), key=rank)[:limit]
    for row in page:
        if (row.run, row.n) not in window and row.due < window.blind:
            window.add(row, now)
    window.advance(rank(page[-1]) if len(page) == limit else None)


@given(most=st.integers(2, 6), steps=st.lists(STEP, max_size=80))
def test_everything_up_to_the_mark_is_there_and_goes_in_order(most: int, steps: list[tuple[str, int, int]]) -> None:
    window, store, now = ReadyWindow(most), dict[int, OpenStep](), 1_000
    for number, (what, a, b) in enumerate(steps, start=1):
        if what in {"offer", "force"}:
            row = store[number] = work(number, priority=a, due=now + b)
            if what == "force" or window.covers(row):  # more than it must have, while the queue is being read
                window.add(row, now)
        elif what == "load" and not (window.loaded and window.complete):
            load(window, store, a, now)
        elif what == "take":
            known = [row for row in store.values() if (row.run, 1) in window and row.due <= now]
            taken = window.take(now)
            assert taken is (min(known, key=rank) if known else None)
            if taken is not None:
                del store[taken.run]
        elif what == "time":
            now += a
            if now >= window.blind:
                window.forget()
        elif what == "shrink":
            window.shrink(now)
            assert len(window) <= most
        elif what == "end" and store:
            gone = sorted(store)[a % len(store)]
            del store[gone]
            window.discard((gone, 1))
        for row in store.values():
            within = window.complete or (window.mark is not None and rank(row) <= window.mark)
            if window.loaded and within and row.due < window.blind:
                assert (row.run, 1) in window
                assert window.next_due() <= row.due or row.due <= now
        assert all(run in store for run, _ in [*window.ready, *window.later])
