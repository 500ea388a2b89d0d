"""Makes runs follow schedules: each that is not paused has one."""

from __future__ import annotations

import msgspec

from pelton.errors import Code, PeltonError
from pelton.kernel.model.signals import Terminate
from pelton.languages.conductor import decode
from pelton.languages.conductor.model import LANGUAGE
from pelton.languages.conductor.schedules import process
from pelton.languages.conductor.schedules.forms import WorkflowSchedule
from pelton.languages.conductor.schedules.process import DUE, LAST, PROCESS
from pelton.runtime.api import Engine, RunView, StartCommand
from pelton.runtime.caller import Caller, server_in
from pelton.runtime.names import KEY_KIND
from pelton.runtime.rows import DefinitionRow

KIND = "schedule"
TRIES = 4


def schedule_of(row: DefinitionRow) -> WorkflowSchedule:
    found = decode.decode(row.body, WorkflowSchedule)
    found.updated_time = row.since // 1000
    return found


async def live(engine: Engine, caller: Caller, name: str) -> RunView | None:
    keys = await engine.runs_named(caller, KEY_KIND, PROCESS, name, live=True)
    found = await engine.view(caller, keys[0]) if keys else None
    return found if found is not None and not found.run.ended else None


async def next_due(engine: Engine, caller: Caller, name: str) -> int:
    """What is waited for, 0 when there is nothing."""
    found = await live(engine, caller, name)
    return int(found.variables.get(DUE) or 0) if found is not None else 0


async def follow(engine: Engine, caller: Caller, name: str, schedule: WorkflowSchedule | None, since: int = 0) -> None:
    """Ends the run that followed the schedule as it was, and starts one that follows it as it is; None, or one that is paused:
    none. `since`: times after this instant are due, 0 = from now on; one that the ended run had not come to is due in any case.
    Raises PeltonError."""
    for _ in range(TRIES):
        found = await live(engine, caller, name)
        now = engine.now()
        start = min(since or now, now)
        if found is not None:
            due, last = int(found.variables.get(DUE) or 0), int(found.variables.get(LAST) or now)
            if last < due <= now:  # it is due, and may not have been started yet
                start = min(start, due - 1)
            if schedule is not None and schedule.run_catchup_schedule_instances:
                start = min(start, max(last, now - process.MAKE_UP))
            await _end(engine, caller, found.run.key)
        if schedule is None or schedule.paused or schedule.next_after(start) is None:
            return
        if await _start(engine, caller, schedule, start):
            return
    raise PeltonError(Code.BUSY, f"the schedule {name[:200]!r} is being changed by others at the same moment; try again")


async def _start(engine: Engine, caller: Caller, schedule: WorkflowSchedule, since: int) -> bool:
    """False: another run was started first."""
    bound = await engine.bind_inline(caller, process.LANGUAGE, PROCESS, process.REVISION, msgspec.json.encode(process.REVISION))
    given = {
        "name": schedule.name,
        "crons": schedule.crons(),
        "start": schedule.schedule_start_time,
        "end": schedule.schedule_end_time,
        "catchup": schedule.run_catchup_schedule_instances,
        "request": msgspec.to_builtins(schedule.start_workflow_request),
        "zone": schedule.zone_id,
        "since": since,
    }
    command = StartCommand(
        process=PROCESS, definition=bound.definition, input=given, key=schedule.name, on_same_key="fail if live"
    )
    try:
        await engine.start(caller, command)
    except PeltonError as error:
        if error.code is not Code.CONFLICT:
            raise
        return False
    return True


async def _end(engine: Engine, caller: Caller, run: int) -> None:
    try:
        await engine.signal(caller, run, Terminate(reason="the schedule has changed"))
    except PeltonError as error:
        if error.code not in (Code.ENDED, Code.UNKNOWN_RUN, Code.NOT_FOUND):
            raise


async def restore(engine: Engine) -> None:
    """Puts right what a crash between a change of a schedule and `follow` left behind."""
    for ns in engine.namespaces():
        caller = server_in(ns)
        async for row in engine.each_definition(caller, KIND):
            if row.language != LANGUAGE:
                continue
            try:
                schedule = schedule_of(row)
            except PeltonError:  # it cannot be read, which its list says; the others go on
                continue
            if not schedule.paused and await live(engine, caller, schedule.name) is None:
                await follow(engine, caller, schedule.name, schedule)
