"""What the machine does with every signal in every status of a run, against the tables that say what is legal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import pytest
from tests.kernel.graphs import Graph, after, card, on_event, on_merge, on_trigger
from tests.kernel.memory import Rows
from tests.kernel.world import NS, World

from pelton.errors import Code
from pelton.kernel.machine.advance import HANDLERS
from pelton.kernel.machine.legality import (
    RUN_CHANGES,
    SIGNALS,
    THREAD_CHANGES,
    IllegalChange,
    change_run,
    change_thread,
    code_for,
    reason,
)
from pelton.kernel.model.process import Limit, Process
from pelton.kernel.model.signals import (
    Amend,
    AnySignal,
    ChildEnded,
    ChildReopened,
    ChildReplied,
    Continue,
    Count,
    EventArrived,
    FollowProcess,
    Merge,
    Offered,
    Pause,
    PutCheckpoint,
    Report,
    Rescue,
    Resume,
    Retire,
    Rewind,
    RunNow,
    SetVars,
    Signal,
    Skip,
    Start,
    Terminate,
    TimerFired,
    Trigger,
    Upgrade,
)
from pelton.kernel.model.state import OpenStep, Run, RunStatus, Step, StepStatus, Thread, ThreadStatus
from pelton.kernel.model.transition import Refused, Transition

RUNNING, PAUSED, COMPLETED = RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.COMPLETED
FAILED, TIMED_OUT, TERMINATED = RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.TERMINATED
DEADLINE = 60_000

# Legal, and refused in the run below for what the signal finds there.
FINDS_NOTHING: dict[tuple[type[Signal], RunStatus], Code] = {
    (Trigger, PAUSED): Code.GUARD,  # the waits of a paused run take nothing
    (Resume, RUNNING): Code.NOT_PAUSED,
    **{(PutCheckpoint, status): Code.STEP_ENDED for status in (RUNNING, PAUSED)},  # nobody has the work
    (ChildReopened, COMPLETED): Code.NOT_ENDED,  # the call ended well, and its token has gone on
    **{(Rescue, status): Code.NOTHING_TO_RETRY for status in RunStatus if status not in (RunStatus.FAILED, RunStatus.TIMED_OUT)},
}


def process() -> Process:
    """Three branches: a wait with all kinds of arms, a worker's step, a child run."""
    graph = Graph("p", records=card(), deadline=Limit(DEADLINE, "fail run"))
    graph.fork("f", "w", "a", "c").wait("w", after(50_000, "later"), on_event("e"), on_trigger("t"), on_merge(), to="later")
    return graph.work("a").call("c", "child").work("later").build()


def run_in(world: World, status: RunStatus) -> int:
    if status is RunStatus.EXPECTED:
        rows = world.runs[7] = Rows(7)
        rows.head = Run(7, NS, world.find("p"), int(status))
        return 7
    run = world.start("p")
    if status is not RUNNING:
        to_status(world, run, status)
    assert world.status(run) is status
    return run


def to_status(world: World, run: int, status: RunStatus) -> None:
    if status is PAUSED:
        world.do(run, Pause())
    elif status is RUNNING:
        world.do(run, Resume() if world.status(run) is PAUSED else Rewind(to="start"))
    elif status is COMPLETED:
        world.post(run, "e")
        world.report(world.children(run)[0], "x")
        for slot in ("a", "later"):
            world.report(run, slot)
    elif status is FAILED:
        world.report(run, "a", status=StepStatus.FAILED)
    elif status is TIMED_OUT:
        world.tick(DEADLINE)
    else:
        world.do(run, Terminate())


def signals(world: World, run: int) -> dict[type[Signal], Signal]:
    """One of each, which does something wherever anything of its kind can."""
    wait, call, work = (world.newest(run, slot) for slot in ("w", "c", "a"))
    n, epoch = (wait.n, wait.k) if wait is not None else (2, 0)
    caller, child = (call.n, call.child) if isinstance(call, OpenStep | Step) else (3, 1)
    found = [
        Start(key=run, ns=NS, definition=world.find("p")),
        Report(slot="a"),
        PutCheckpoint(n=work.n if work is not None else 3, attempt=0),
        EventArrived(id=1, name="e"),
        Offered(n=n, name="line", key="k", strict=True),
        Trigger(name="t"),
        Merge(changes={"v": 1}),
        TimerFired(n=n, arm="0", epoch=epoch, strict=True),
        ChildEnded(n=caller, child=child, era=0, status=int(COMPLETED), strict=True),
        ChildReplied(n=caller, child=child, strict=True),
        ChildReopened(n=caller, child=child, era=1, strict=True),
        Continue(strict=True),
        Count(changes={"x": 1}),
        Pause(),
        Resume(),
        FollowProcess(strict=True),
        Terminate(),
        Rewind(to="start"),
        Rescue(thread=0),
        Skip(slot="later"),
        SetVars(changes={"v": 1}),
        Upgrade(definition=world.find("p")),
        RunNow(),
        Amend(changes={"v": 1}),
        Retire(),
    ]
    return {type(signal): signal for signal in found}


def new_world() -> World:
    return World(process(), Graph("child").work("x").build())


def test_every_signal_is_in_the_table_and_has_a_handler() -> None:
    assert set(SIGNALS) == set(get_args(AnySignal))
    assert set(HANDLERS) == set(SIGNALS) - {Start}
    world = new_world()
    assert set(signals(world, world.start("p"))) == set(SIGNALS)


@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("kind", SIGNALS, ids=lambda kind: kind.__name__)
def test_the_machine_does_what_the_table_says(kind: type[Signal], status: RunStatus) -> None:
    world = new_world()
    run = run_in(world, status)
    answer, _ = world.decide(run, signals(world, run)[kind])
    code = code_for(SIGNALS[kind], status)
    if code is not None:
        assert answer == Refused(code, reason(code, status))
    elif (kind, status) in FINDS_NOTHING:
        assert isinstance(answer, Refused)
        assert answer.code is FINDS_NOTHING[kind, status]
    else:
        assert isinstance(answer, Transition), answer


@pytest.mark.parametrize(
    ("before", "becomes"), [(before, becomes) for before, changes in RUN_CHANGES.items() for becomes in changes], ids=str
)
def test_every_change_of_a_run_in_the_table_happens(before: RunStatus, becomes: RunStatus) -> None:
    world = new_world()
    if (before, becomes) == (PAUSED, COMPLETED):  # the tokens of a paused run park: only a language's own verdict ends it so
        world = World(Graph("p", failed_status=lambda failure, status: COMPLETED).work("a").build())
        run = run_in(world, PAUSED)
        world.report(run, "a", status=StepStatus.FAILED)
    elif before is RunStatus.EXPECTED:
        run = run_in(world, before)
        answer, _ = world.decide(run, signals(world, run)[Start])
        assert isinstance(answer, Transition)
        assert answer.run.status == becomes
        return
    else:
        run = run_in(world, before)
        to_status(world, run, becomes)
    assert world.status(run) is becomes


def refused_change(change: Callable[[], None]) -> bool:
    try:
        change()
    except IllegalChange:
        return True
    return False


def test_no_other_change_is_made() -> None:
    for was in RunStatus:
        for becomes in RunStatus:
            head = Run(1, NS, 1, int(was))
            refused = refused_change(partial(change_run, head, becomes))
            assert refused is (becomes not in RUN_CHANGES[was])
            assert head.status == (was if refused else becomes)
    for old in ThreadStatus:
        for new in ThreadStatus:
            thread = Thread(1, 1, int(old))
            refused = refused_change(partial(change_thread, thread, new))
            assert refused is (new not in THREAD_CHANGES[old])
            assert thread.status == (old if refused else new)
