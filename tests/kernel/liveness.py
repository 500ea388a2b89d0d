"""Drives runs on until they end: a run that nothing can move any more is a failure.

Pauses of processes and of operators are lifted; then all work is done well, waits are given what they wait for, time passes, and
children end, for as long as that leads anywhere. Every run must end of it: what is drawn in the random tests waits for nothing
else.
"""

from __future__ import annotations

from typing import Any

from tests.kernel.world import World

from pelton.kernel.model.process import OnCondition, OnEvent, OnMerge, OnTrigger, Outside, Wait
from pelton.kernel.model.signals import Merge, Report, Resume, SetVars, Trigger
from pelton.kernel.model.state import Bit, Halt, OpenStep, RunStatus, State, ThreadStatus

OPERATOR = (int(Halt.OPERATOR), 0)
PATIENCE = 6  # rounds in which nothing moves
MOST_ROUNDS = 1_000


def drive_to_the_end(world: World) -> None:
    """Raises AssertionError with a picture of what stands still."""
    for rows in world.runs.values():
        rows.timers.pop((0, "run"), None)  # that it ends by its deadline proves nothing
    idle = 0
    for _ in range(MOST_ROUNDS):
        if all(world.status(run).ended for run in world.runs):
            return
        before = progress(world)
        lift_pauses(world)
        serve(world, last=idle > 2)
        world.tick(1_000)
        idle = 0 if progress(world) != before else idle + 1
        assert idle < PATIENCE, f"nothing moves any more:\n{picture(world)}"
    raise AssertionError(f"no end after {MOST_ROUNDS} rounds:\n{picture(world)}")


def progress(world: World) -> list[Any]:
    heads = [rows.run for _, rows in sorted(world.runs.items())]
    return [(head.status, head.era, head.next_n, head.open, head.parks, head.threads) for head in heads]


def lift_pauses(world: World) -> None:
    for name in sorted({process.name for process in world.definitions.values()}):
        world.resume_process(name)
    for run in sorted(world.runs):
        for no in sorted(world.rows(run).threads):
            thread = world.rows(run).threads[no]
            if not world.status(run).ended and thread.status < ThreadStatus.COMPLETED and OPERATOR in thread.reasons:
                world.send(run, Resume(thread=no))
                world.settle()


def serve(world: World, last: bool) -> None:
    """Everything that is open is given what it waits for, once. `last`: by the way that every wait of the random tests has."""
    for run in sorted(world.runs):
        for n in sorted(world.rows(run).open):
            row = world.rows(run).open.get(n)
            if world.status(run).ended or row is None:
                continue
            if row.state in {State.WORK, State.EMIT}:
                world.send(run, Report(n=n, output="done", strict=False))
            elif row.state == State.WAIT and not row.bits & Bit.AWAITS_THREADS and not is_halted(world, row):
                give(world, row, last)
            world.settle()


def is_halted(world: World, row: OpenStep) -> bool:
    thread = world.rows(row.run).threads.get(row.thread)
    return thread is not None and bool(thread.reasons)


def give(world: World, row: OpenStep, last: bool) -> None:
    node = world.definitions[world.head(row.run).definition].nodes.get(row.slot)
    if not isinstance(node, Wait):
        return
    for index, arm in enumerate(node.arms):
        if row.n not in world.rows(row.run).open:
            return
        match arm:
            case Outside(stays=False):
                world.send(row.run, Report(n=row.n, output="done", strict=False))
            case OnEvent(stays=False, event=name, key=None):
                world.post(row.run, name, "given", thread=row.thread)
                assert is_taken_elsewhere(world, row, name), f"{row} still waits for {name!r}\n{picture(world)}"
            case OnEvent(stays=False, event=name):
                world.announce(name, str((row.waits or {}).get(str(index), "")), "given")
            case OnTrigger(stays=False, trigger=name):
                world.send(row.run, SetVars(changes={"n": 3}, thread=row.thread))
                world.send(row.run, Trigger(name=name, strict=False))
            case OnCondition(stays=False):
                world.send(row.run, SetVars(changes={"n": 4}, thread=row.thread))
            case OnMerge(stays=False) if last:
                world.send(row.run, SetVars(changes={"n": 2}, thread=row.thread))
                world.send(row.run, Merge())
        world.settle()
        if world.status(row.run).ended:
            return


def is_taken_elsewhere(world: World, row: OpenStep, name: str) -> bool:
    """Whether an event for a wait was taken by it, or perhaps by another wait of its thread, or by an arm that stays."""
    rows = world.rows(row.run)
    if row.n not in rows.open:
        return True
    takers = [
        (other.n, arm.stays)
        for other in rows.open.values()
        if other.state == State.WAIT and other.thread == row.thread
        for arm in getattr(world.definitions[rows.run.definition].nodes.get(other.slot), "arms", ())
        if isinstance(arm, OnEvent) and arm.event == name
    ]
    return takers != [(row.n, False)]


def picture(world: World) -> str:
    """What is open, and why it stands."""
    lines = []
    for run, rows in sorted(world.runs.items()):
        if world.status(run).ended:
            continue
        lines.append(f"run {run} {RunStatus(rows.run.status).name}")
        for no, thread in sorted(rows.threads.items()):
            if thread.status < ThreadStatus.COMPLETED:
                reasons = ", ".join(f"{Halt(kind).name} {by}" for kind, by in thread.reasons)
                lines.append(
                    f"  thread {no} of {thread.parent} {thread.handles} {ThreadStatus(thread.status).name} [{reasons}] "
                    f"open {thread.open}, children {thread.children}, owner {thread.owner}"
                )
        for n, row in sorted(rows.open.items()):
            lines.append(
                f"  {n} {row.slot} {State(row.state).name} in thread {row.thread}, scope {row.scope}, it {row.it}, "
                f"left {row.left}, child {row.child}, {row.waits}"
            )
    return "\n".join(lines)
