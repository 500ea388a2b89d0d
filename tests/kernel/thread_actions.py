"""What may happen to a run with threads, beside what `random_graphs.act` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from tests.kernel.random_graphs import act, card_process, child, reportable, send
from tests.kernel.random_threads import compile_story
from tests.kernel.world import World

from pelton.kernel.machine import arrivals, draft
from pelton.kernel.model.signals import (
    ChildEnded,
    ChildReplied,
    Continue,
    FollowProcess,
    Pause,
    Report,
    Resume,
    Rewind,
    SetVars,
    Signal,
    TimerFired,
    Upgrade,
)
from pelton.kernel.model.state import END, START, Failure, Halt, State, ThreadStatus
from pelton.kernel.model.transition import Note, Refused, Transition

KINDS = 69
action = st.tuples(st.integers(0, KINDS), st.integers(0, 1_000))
histories = st.one_of(st.lists(action, max_size=30), st.lists(action, min_size=20, max_size=45))


@contextmanager
def fuel(amount: int) -> Iterator[None]:
    """How many activations one transition may take."""
    with patch.object(draft, "FUEL", amount), patch.object(arrivals, "FUEL", amount):
        yield


def story_world(blocks: Any, way: Any, both: bool) -> tuple[World, int]:
    """A world with a run of the process, and a second version of it to move to."""
    process, second = compile_story(blocks, way), compile_story(blocks, way)
    world = World(process, child(), card_process(), both=both)
    second.version = 2
    world.define(second)
    world.most_rounds = 200
    return world, world.start(process, {"x": 1})


def live(world: World, run: int) -> list[int]:
    """Numbers of threads that have not ended; the root is one, though it may have no row."""
    return sorted({0, *(no for no, thread in world.rows(run).threads.items() if thread.status < ThreadStatus.COMPLETED)})


def act_on_threads(world: World, top: int, kind: int, pick: int) -> None:  # noqa: C901 - a table
    runs = sorted(world.runs)
    run = runs[pick % len(runs)]
    if kind in {30, 31, 32}:
        rewind(world, run, pick)
        return
    if kind < 48:
        act(world, top, kind, pick)
        return
    if kind > 64:
        act_on_process(world, run, kind, pick)
        return
    if world.status(run).ended:
        run = top
    if world.status(run).ended:
        return
    threads = live(world, run)
    no = threads[pick // 7 % len(threads)]
    waits = [row for row in world.rows(run).open.values() if row.state == State.WAIT]
    rows = reportable(world)
    row = rows[pick % len(rows)] if rows else None
    if kind in {48, 49}:
        send(world, run, Pause(thread=no))
    elif kind in {50, 51}:
        paused = [
            each
            for each in threads
            if each in world.rows(run).threads and (Halt.OPERATOR, 0) in world.rows(run).threads[each].reasons
        ]
        if paused:
            send(world, run, Resume(thread=paused[pick % len(paused)]))
    elif kind == 52:
        world.refuse(run, (Pause, Resume)[pick % 2](thread=world.head(run).threads + pick % 90))
    elif kind == 53:
        world.post(run, "e", pick, thread=no)
    elif kind == 54 and waits:
        wait = waits[pick % len(waits)]
        world.post(run, "e", pick, thread=wait.thread, position=wait.n + pick % 2)
    elif kind in {55, 56}:
        world.post(run, ("ring", "alarm")[pick % 2], pick, thread=no if kind == 55 else -1)
    elif kind in {57, 58}:
        next_timer_twice(world, pick)
    elif kind == 59:
        old_signal_again(world, pick)
    elif kind == 60:
        send(world, run, Upgrade(definition=world.find("p", 1 + pick % 2), strict=False) if pick % 5 else Upgrade(definition=99))
    elif kind == 61:
        send(world, run, SetVars(changes={"n": pick % 6}, thread=no))
    elif kind in {62, 63} and row is not None:
        failure = Failure(
            "poor", ("business", "technical", "timed out")[pick % 3], "none left", {"missing": pick}, bool(pick % 4)
        )
        send(world, row.run, Report(n=row.n, status=4, failure=failure))
    elif kind == 64:
        for each in rows[: 1 + pick % 4]:
            send(world, each.run, Report(n=each.n, strict=False))


def act_on_process(world: World, run: int, kind: int, pick: int) -> None:
    """A process is paused or resumed, and its runs get to know it one by one, whenever they do."""
    name = world.definitions[world.head(run).definition].name
    if kind == 65:
        world.pause_process(name, refuses=pick % 4 == 0, tell=pick % 2 == 0)
    elif kind == 66:
        world.resume_process(name, tell=pick % 2 == 0)
    elif kind == 67:
        send(world, run, FollowProcess())
        stands = (Halt.PROCESS, 0) in reasons_of(world, run)
        assert world.status(run).ended or stands == (name in world.paused)
    elif kind == 68:
        send(world, run, FollowProcess())
        changes_nothing(world, run, FollowProcess())
    elif name not in world.paused or not world.paused[name].refuses:
        world.start(name, {"x": pick % 3})


def reasons_of(world: World, run: int) -> tuple[tuple[int, int], ...]:
    root = world.rows(run).threads.get(0)
    return root.reasons if root is not None else ()


def rewind(world: World, run: int, pick: int) -> None:
    steps = [n for n, step in sorted(world.rows(run).ended.items()) if step.slot not in {START, END} and world.rows(run).row(n)]
    if pick % 3 == 0 and steps:
        send(world, run, Rewind(to="step", n=steps[pick % len(steps)]))
    elif pick % 3 == 1:
        send(world, run, Rewind(to="failed", children=bool(pick % 2)))
    else:
        send(world, run, Rewind(to="start"))


# ---- signals that come twice


def next_timer_twice(world: World, pick: int) -> None:
    due = world.due()
    if not due:
        return
    when, run, _, signal = due[pick % min(len(due), 3)]
    world.now = max(world.now, when)
    timer = world.rows(run).timers.get((signal.n, signal.arm))
    answer = world.send(run, signal)
    if timer is not None and world.rows(run).timers.get((signal.n, signal.arm)) == timer:
        del world.rows(run).timers[signal.n, signal.arm]
    if had_effect(answer):
        changes_nothing(world, run, signal)
    world.settle()


def old_signal_again(world: World, pick: int) -> None:
    """What came from a timer or a child comes once more, however late."""
    found = [
        (run, signal)
        for run, era, signal in world.told
        if isinstance(signal, TimerFired | ChildEnded | ChildReplied) and era == world.head(run).era
    ]
    if found:
        changes_nothing(world, *found[pick % len(found)])
        world.settle()


def had_effect(answer: Transition | Refused) -> bool:
    return isinstance(answer, Transition) and not any(isinstance(effect, Note) for effect in answer.effects)


def changes_nothing(world: World, run: int, signal: Signal) -> None:
    assert not isinstance(signal, Continue)
    answer = world.send(run, signal)
    if isinstance(answer, Transition):
        parts = (answer.opened, answer.changed, answer.closed, answer.ended, answer.reopened, answer.threads, answer.variables)
        assert not any(bool(part) for part in parts), f"{signal!r} came twice and counted twice"
