"""The process of a task for a person, and the call of it. One wait: what people do with the task is one trigger, whose changes
the record's rules check (`record`); what has been decided there says by which arm the wait leaves, if it does.

The process is built in: every namespace has it, under the name `PERSON`. Its nodes keep their names, since open tasks follow it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pelton.errors import Code, PeltonError
from pelton.kernel.expressions.base import JSON, BoundValue, Constant, Expression
from pelton.kernel.machine.scene import Scene
from pelton.kernel.matching.handlers import Handler
from pelton.kernel.model.process import Assign, AtTime, Call, End, OnTrigger, Process, Wait
from pelton.kernel.model.state import RunStatus
from pelton.runtime.people.record import RECORDS, overdue, reminded
from pelton.store.rows import DefinitionRow, EventRow

PERSON = "@person"
ACT = "act"  # the trigger
BODY = b"1"  # of the definition: says which of the processes in this module it is
TERMINATED, TIMED_OUT = Constant(int(RunStatus.TERMINATED)), Constant(int(RunStatus.TIMED_OUT))


def person_process() -> Process:
    nodes = (
        Wait(
            name="open",
            skippable=False,
            arms=(
                OnTrigger(trigger=ACT, guard=is_in("answered"), to="answered"),
                OnTrigger(trigger=ACT, guard=is_in("canceled"), to="canceled"),
                OnTrigger(trigger=ACT, stays=True),
                AtTime(at=BoundValue(due_to_fail), fixed=True, to="expired"),
                AtTime(at=BoundValue(due_otherwise), fixed=True, stays=True, body="late"),
                AtTime(at=BoundValue(first_reminder), every=BoundValue(next_reminder), fixed=True, stays=True, body="remind"),
            ),
        ),
        Assign(name="late", trace=False, record=BoundValue(lambda scene: overdue(scene.record))),
        Assign(name="remind", trace=False, record=BoundValue(lambda scene: reminded(scene.record))),
        End(name="answered", trace=False, run=True, output=BoundValue(lambda scene: scene.record["answer"])),
        End(
            name="canceled",
            trace=False,
            run=True,
            status=TERMINATED,
            output=Constant(None),
            reason=BoundValue(lambda scene: scene.record["reason"]),
        ),
        End(
            name="expired",
            trace=False,
            run=True,
            status=TIMED_OUT,
            output=Constant(None),
            reason=Constant("nobody has answered by the task's due time"),
        ),
    )
    return Process(
        name=PERSON,
        version=1,
        entry="open",
        nodes={node.name: node for node in nodes},
        records=RECORDS,
        output=BoundValue(lambda scene: (scene.record or {}).get("answer")),
    ).finish()


def is_in(state: str) -> Expression:
    return BoundValue(lambda scene: scene.record["state"] == state)


def due_to_fail(scene: Scene) -> int | None:
    return scene.record["due"] or None if scene.record["when_due"] == "fail" else None


def due_otherwise(scene: Scene) -> int | None:
    return scene.record["due"] or None if scene.record["when_due"] != "fail" and not scene.record["late"] else None


def first_reminder(scene: Scene) -> int | None:
    reminders = scene.record["reminders"]
    return scene.now + reminders["after"] if reminders and scene.record["reminded"] < reminders["most"] else None


def next_reminder(scene: Scene) -> int:
    reminders = scene.record["reminders"]
    return reminders["every"] if scene.record["reminded"] + 1 < reminders["most"] else 0  # this one is not counted yet


def person_call(name: str, task: Expression, **more: Any) -> Call:
    """A node that asks a person. `task` yields the members of `record.PersonTask`; the step's output is the answer. A task that
    is canceled fails the step with kind "cancelled", one that expires with kind "timed out". `more`: other members of Call."""

    def asked(scene: Scene) -> dict[str, Any]:
        return {"process": scene.process.name, "slot": name, **task.evaluate(scene)}

    return Call(name=name, target=Constant({"name": PERSON}), child_input=BoundValue(asked, task.reads), **more)


class PersonLanguage:
    """The compiler of the built-in process, as the runtime sees it."""

    name = PERSON

    def bind(self, row: DefinitionRow, refer: Callable[[str, str, int], DefinitionRow | None]) -> bytes:
        return row.body

    def compile(self, name: str, version: int, body: bytes, definition: int) -> Process:
        process = person_process()
        process.version, process.definition, process.language = version, definition, PERSON
        return process

    def payload(self, event: EventRow) -> JSON:
        return event.body

    def handler(self, row: DefinitionRow) -> Handler:
        raise PeltonError(Code.INVALID, f"{PERSON} has no handlers", "language")
