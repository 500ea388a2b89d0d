"""The run of a schedule: it waits until the schedule is due, has the workflow started, and waits again.

Invariants:
* At most one live run per schedule: the schedule's name is the run's unique key. A schedule that changes gets another run.
* A time is started once: the workflow's idempotency key is made of the schedule and the time, so that neither a restart nor a
  change of the schedule at that moment starts it twice.
* Times that passed while nobody was there are left out, but for the one that was being waited for; or they are made up for, in
  order, if the schedule says so: those of the last `MAKE_UP`.

Cost: one open step and one timer per schedule; what became of the last `KEPT` times is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from pelton.errors import PeltonError
from pelton.kernel.expressions.base import JSON, BoundValue, Constant, Expression, Read
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Assign, Assignment, AtTime, Body, Edge, Process, Rule, Scope, Wait, Work
from pelton.kernel.model.signals import Report
from pelton.kernel.model.state import StepStatus
from pelton.languages.conductor import decode
from pelton.languages.conductor.model import StartWorkflowRequest
from pelton.languages.conductor.runs import starting
from pelton.languages.conductor.schedules.forms import next_of
from pelton.languages.fixed_process import FixedProcess
from pelton.runtime.api import Engine, Operation, WorkItem
from pelton.runtime.caller import server_in

LANGUAGE = "conductor.schedule"
PROCESS = "conductor.schedule"
OPERATION = "conductor-schedule"
START_STEP = "start"

REVISION = 1  # of the graph below: a run keeps to that which it was started with
MAKE_UP = 7 * 86_400_000  # milliseconds
KEPT = 100
MOST = 1_000_000_000

# Variables: the time up to which the schedule has been followed, and the time that is waited for.
LAST, DUE = "last", "due"


def look(get: Callable[[Scene], JSON], *variables: str) -> Expression:
    return BoundValue(get, frozenset(Read("var", name) for name in variables))


def following(scene: Scene) -> int | None:
    """The next time that it is due."""
    given = scene.input
    since = scene.var(LAST)
    if given["catchup"]:
        since = max(since, scene.now - MAKE_UP)
    elif since != given["since"]:  # what it begins with may lie in the past: a time that another run left behind
        since = max(since, scene.now)
    return next_of([tuple(each) for each in given["crons"]], since, given["start"], given["end"])


def asked(scene: Scene) -> JSON:
    given = scene.input
    return {"schedule": given["name"], "scheduledTime": scene.var(DUE), "request": given["request"]}


def process(version: int = REVISION, definition: int = 0) -> Process:
    done = Assignment(LAST, look(lambda scene: scene.var(DUE), DUE))
    nodes = (
        Scope(
            name="schedule",
            body="plan",
            check_first=True,
            again=look(lambda scene: following(scene) is not None, LAST),
            keep_last=Constant(KEPT),
            most=MOST,
        ),
        Assign(name="plan", trace=False, changes=(Assignment(DUE, look(following, LAST)),), next=(Edge("wait"),)),
        Wait(name="wait", arms=(AtTime(at=look(lambda scene: scene.var(DUE), DUE)),), next=(Edge(START_STEP),)),
        Work(
            name=START_STEP,
            queue=f"@{OPERATION}",
            input=look(asked, DUE),
            on_failure=(Rule("continue"),),
            next=(Edge("", assigns=(done,)),),
        ),
    )
    return Process(
        name=PROCESS,
        version=version,
        entry="schedule",
        nodes={node.name: node for node in nodes},
        bodies={"schedule": Body("schedule", {LAST: look(lambda scene: scene.input["since"])})},
        language=LANGUAGE,
        definition=definition,
    ).finish()


class ScheduleRuns(FixedProcess):
    """The compiler of the one process."""

    def __init__(self) -> None:
        super().__init__(LANGUAGE, process)


def operation(engine: Engine) -> Operation:
    """Starts the workflow of a schedule. That it cannot be started is an outcome, not a failure: the schedule goes on."""

    async def start(item: WorkItem) -> Report:
        values: dict[str, Any] = item.step.input if isinstance(item.step.input, dict) else {}
        name, due = values["schedule"], values["scheduledTime"]
        output: dict[str, Any] = {"executionTime": engine.now()}
        try:
            request = decode.convert(values["request"], StartWorkflowRequest)
            given = {"_startedByScheduler": name, "_scheduledTime": due, "_executedTime": engine.now()}
            request.input = {**request.input, **given}
            if request.idempotency_key is UNSET or not request.idempotency_key:
                request.idempotency_key, request.idempotency_strategy = f"schedule/{name}/{due}", "RETURN_EXISTING"
            run = await starting.start(engine, server_in(item.run.ns), request)
            output.update(state="EXECUTED", workflowId=engine.codec.run_id(run.key))
        except (PeltonError, msgspec.ValidationError) as error:
            if isinstance(error, PeltonError) and error.retryable:
                raise
            output.update(state="FAILED", reason=str(error)[:1000])
        return Report(status=int(StepStatus.COMPLETED), output=output)

    return start
