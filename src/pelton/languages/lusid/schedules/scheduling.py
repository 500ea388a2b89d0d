"""Carries out schedules: one run for each handler with a schedule, which waits for the next occurrence and publishes an event.

The event is of type `lusid.schedule`, its source "pelton", its body `{"handler": "scope/code", "scheduledTime": DateTime text,
"holidays": the calendar that the schedule looks at}`.
It goes through the outbox like every message, so that it is published once per occurrence, even across restarts.

Invariants:
* At most one live run per handler: the handler's name is the run's unique key.
* Pattern and holidays are variables of the run, and change in one of its transitions (`CHANGED`): an occurrence that is due by
  then is published first, and none twice. Later occurrences are counted from the change.
* Occurrences missed while the server was down are published afterwards, in order, except those older than `MAKE_UP`; the one
  that was being waited for is published in any case.
* A run whose schedule has no occurrence left ends, and none is started for such a schedule.

Cost: one open step and one timer per handler; the steps of the last `KEPT` past occurrences are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import json

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON, BoundValue, Constant, Expression, Read
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Assign, Assignment, AtTime, Body, Choice, Edge, Emit, OnEvent, Process, Scope, Wait
from pelton.kernel.model.signals import EventArrived, Terminate
from pelton.kernel.model.state import RunStatus
from pelton.kernel.schedules.calendars import Calendar
from pelton.languages.fixed_process import FixedProcess
from pelton.languages.lusid.schedules.calendars import CALENDAR, calendar_body, parse_calendar
from pelton.languages.lusid.schedules.schedule import Pattern, holidays, restored
from pelton.languages.lusid.times import print_milliseconds
from pelton.runtime.api import Engine, StartCommand
from pelton.runtime.caller import Caller
from pelton.runtime.names import KEY_KIND

LANGUAGE = "lusid.schedule"
PROCESS = "lusid.schedule"
EVENT = "lusid.schedule"
SINK = f"pelton:{EVENT}"
CHANGED = "lusid.schedule.changed"  # the event by which a run is given another pattern

REVISION = 1  # of the graph below: a run keeps to that which it was started with
MAKE_UP = 86_400_000  # milliseconds
KEPT = 20  # occurrences
MOST = 1_000_000_000  # of one run: one a minute for 1,900 years
TRIES = 4
PAGE = 500

# Variables: the schedule that is followed, the instant up to which it has been, and the occurrence that is waited for.
FOLLOWED, LAST, DUE = "followed", "last", "due"


# ---- the process


def look(get: Callable[[Scene], JSON], *variables: str, slots: tuple[str, ...] = ()) -> Expression:
    reads = [Read("var", name) for name in variables] + [Read("slot", name) for name in slots]
    return BoundValue(get, frozenset(reads))


def following(scene: Scene) -> int | None:
    """The next occurrence that is to be published."""
    followed = scene.var(FOLLOWED)
    calendar = parse_calendar(followed["holidays"])
    return restored(followed["pattern"]).next_after(max(scene.var(LAST), scene.now - MAKE_UP), lambda scope, code: calendar)


def message(scene: Scene) -> JSON:
    followed = scene.var(FOLLOWED)
    return {"handler": followed["handler"], "scheduledTime": print_milliseconds(scene.var(DUE)), "holidays": followed["holidays"]}


def offered(scene: Scene) -> dict[str, Any]:
    """The schedule that came with the change."""
    step = scene.newest("wait")
    found: dict[str, Any] = step.output if step is not None else {}
    return found


def newer(scene: Scene) -> bool:
    """Whether the change is one, and not older than what is followed: changes may overtake one another."""
    now, then = offered(scene), scene.var(FOLLOWED)
    return bool(now["order"] >= then["order"] and not same(now, then))


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[part] == other[part] for part in ("pattern", "holidays"))


def process(version: int = REVISION, definition: int = 0) -> Process:
    sink, body = Constant(SINK), look(message, FOLLOWED, DUE)
    done = Assignment(LAST, look(lambda scene: scene.var(DUE), DUE))
    now = Assignment(LAST, look(lambda scene: max(scene.now, scene.var(LAST)), LAST))
    overdue = look(lambda scene: scene.var(DUE) <= scene.now, DUE)
    is_newer = look(newer, FOLLOWED, slots=("wait",))
    nodes = (
        Scope(
            name="schedule",
            body="plan",
            check_first=True,
            again=look(lambda scene: following(scene) is not None, FOLLOWED, LAST),
            keep_last=Constant(KEPT),
            most=MOST,
        ),
        Assign(name="plan", trace=False, changes=(Assignment(DUE, look(following, FOLLOWED, LAST)),), next=(Edge("wait"),)),
        Wait(
            name="wait",
            arms=(AtTime(at=look(lambda scene: scene.var(DUE), DUE)), OnEvent(event=CHANGED, to="change")),
            next=(Edge("publish"),),
        ),
        Emit(name="publish", sink=sink, body=body, next=(Edge("", assigns=(done,)),)),
        Choice(name="change", trace=False, next=(Edge("overdue", overdue), Edge("follow", is_newer), Edge(""))),
        Emit(name="overdue", sink=sink, body=body, next=(Edge("follow", is_newer, (done,)), Edge("", assigns=(done,)))),
        Assign(name="follow", trace=False, changes=(Assignment(FOLLOWED, look(offered, slots=("wait",))), now)),
    )
    variables = {
        FOLLOWED: look(lambda scene: scene.input["followed"]),
        LAST: look(lambda scene: scene.input["since"]),
    }
    return Process(
        name=PROCESS,
        version=version,
        entry="schedule",
        nodes={node.name: node for node in nodes},
        bodies={"schedule": Body("schedule", variables)},
        language=LANGUAGE,
        definition=definition,
    ).finish()


class Schedules(FixedProcess):
    """The compiler of the one process."""

    def __init__(self) -> None:
        super().__init__(LANGUAGE, process)


# ---- following handlers


async def follow(engine: Engine, caller: Caller, handler: str, pattern: Pattern | None, *, order: int = 0) -> None:
    """Makes the run of a handler follow `pattern`; None ends it (the handler is inactive, gone, or has no schedule any more).

    Harmless when repeated: the same pattern with the same holidays changes nothing. To be called again when a calendar has
    changed. `order`: `since` of the handler's row; of changes that overtake one another the newest holds. Raises ScheduleError
    for a calendar that is not there, and PeltonError.
    """
    if pattern is None:
        run = await live(engine, caller, handler)
        if run:
            await end(engine, caller, run)
        return
    calendar, changed = await holidays_now(engine, caller, pattern)
    followed = {
        "handler": handler,
        "pattern": pattern.stored(),
        "holidays": calendar_body(calendar),
        "order": max(order, changed),
    }
    for _ in range(TRIES):
        run = await live(engine, caller, handler)
        if run:
            done = await change(engine, caller, run, followed)
        else:
            since = engine.now()
            none_left = pattern.next_after(since, lambda scope, code: calendar) is None
            done = none_left or await start_run(engine, caller, followed, since)
        if done:
            return
    raise PeltonError(Code.BUSY, f"the schedule of handler {handler!r} is being changed by others at the same moment; try again")


async def restore(engine: Engine, caller: Caller, patterns: Mapping[str, tuple[Pattern, int]]) -> None:
    """Puts right what a crash between a change of a handler and `follow` left behind. `patterns`: pattern and order of all
    handlers that are active and have one, by name. Raises the first error, when the others have been seen to."""
    before = 0
    while True:
        runs = await engine.runs(caller, process=PROCESS, live=True, before=before, limit=PAGE)
        for run in runs:
            view = await engine.view(caller, run.key)
            if view is not None and view.start.output["followed"]["handler"] not in patterns:
                await end(engine, caller, run.key)
        if len(runs) < PAGE:
            break
        before = runs[-1].key
    failed: Exception | None = None
    for handler, (pattern, order) in patterns.items():
        try:
            await follow(engine, caller, handler, pattern, order=order)
        except PeltonError as error:
            failed = failed or error
    if failed is not None:
        raise failed


async def next_due(engine: Engine, caller: Caller, handler: str) -> int | None:
    """Epoch milliseconds of the occurrence that is waited for, None when there is none."""
    run = await live(engine, caller, handler)
    view = await engine.view(caller, run) if run else None
    due: int | None = view.variables.get(DUE) if view is not None and not view.run.ended else None
    return due


async def live(engine: Engine, caller: Caller, handler: str) -> int:
    """The run that follows the handler's schedule, 0 when there is none."""
    runs = await engine.runs_named(caller, KEY_KIND, PROCESS, handler, live=True)
    return runs[0] if runs else 0


async def start_run(engine: Engine, caller: Caller, followed: dict[str, Any], since: int) -> bool:
    """False: another run started first."""
    bound = await engine.bind_inline(caller, LANGUAGE, PROCESS, REVISION, json.encode(REVISION))
    command = StartCommand(
        process=PROCESS,
        definition=bound.definition,
        input={"followed": followed, "since": since},
        key=followed["handler"],
        on_same_key="fail if live",
    )
    try:
        await engine.start(caller, command)
    except PeltonError as error:
        if error.code is not Code.CONFLICT:
            raise
        return False
    return True


async def change(engine: Engine, caller: Caller, run: int, followed: dict[str, Any]) -> bool:
    """False: the run has ended meanwhile."""
    view = await engine.view(caller, run)
    if view is None or view.run.status >= RunStatus.COMPLETED:
        return False
    known = view.variables.get(FOLLOWED) or followed
    if same(known, followed) and not view.run.held:
        return True
    return await signal_run(engine, caller, run, EventArrived(id=view.run.rev, name=CHANGED, body=followed))


async def end(engine: Engine, caller: Caller, run: int) -> None:
    await signal_run(engine, caller, run, Terminate(reason="the handler has no schedule to follow any more"))


async def signal_run(engine: Engine, caller: Caller, run: int, signal: EventArrived | Terminate) -> bool:
    """False: it has ended already."""
    try:
        await engine.signal(caller, run, signal)
    except PeltonError as error:
        if error.code not in (Code.ENDED, Code.UNKNOWN_RUN):
            raise
        return False
    return True


async def holidays_now(engine: Engine, caller: Caller, pattern: Pattern) -> tuple[Calendar, int]:
    """The days without business by the calendars as they are, and since when (µs). Raises ScheduleError for one that is not
    there."""
    since = 0
    known: dict[tuple[str, str], Calendar] = {}
    for scope, code in pattern.calendars:
        row = await engine.definition(caller, CALENDAR, f"{scope}/{code}")
        if row is not None:
            since = max(since, row.since)
            known[scope, code] = parse_calendar(json.decode(row.body), f"calendar {scope}/{code}")
    return holidays(pattern, lambda scope, code: known.get((scope, code))), since
