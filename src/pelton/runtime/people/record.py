"""A task's record, and the rules by which it changes. Pure: every change is checked inside the transition that makes it, so of
two people who answer at once one is told.

A change is an object: `do` (claim, release, hand over, save, note, answer, cancel, remind, late), `user` and `groups` (who does
it; user "" is the service itself, which may do everything), and what belongs to it. A refusal has a trace that names field,
value and problem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert, json, to_builtins

from pelton.errors import Code
from pelton.kernel.machine.draft import Moment
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.process import Records
from pelton.kernel.model.state import RunStatus
from pelton.runtime.people.forms import MOST_BYTES, FormProblem, check_answer, check_form, refuse

MOST_NOTES = 200
MOST_NAMES = 100
MOST_REMINDERS = 100
YEARS = 20 * 31_536_000_000  # milliseconds
STATE, USER, GROUP, PROCESS, CALLER = "state", "user", "group", "process", "caller"  # attributes that tasks are found by

Name = Annotated[str, Meta(min_length=1, max_length=512)]
Names = Annotated[list[Name], Meta(max_length=MOST_NAMES)]
Span = Annotated[int, Meta(ge=0, le=YEARS)]


class Reminders(Struct, frozen=True, forbid_unknown_fields=True):
    """The first after `after` milliseconds, another each `every` (0 = no other), `most` in all."""

    after: Annotated[int, Meta(ge=1, le=YEARS)]
    every: Annotated[int, Meta(ge=0, le=YEARS)] = 0
    most: Annotated[int, Meta(ge=1, le=MOST_REMINDERS)] = MOST_REMINDERS


class PersonTask(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is asked of a person: the input of the process.

    `form`: JSON Schema of the answer (see `forms`), None = anything. `data`: what they need to see. `users`, `groups`: who may
    answer; with neither, anybody. `due`: epoch milliseconds; `due_after`: milliseconds from the opening; 0 = never. `when_due`:
    "fail" ends the task as timed out, "reassign" gives it to `then_users` and `then_groups`, "announce" only says so.
    `process`, `slot`: the process that asks, and its node.
    """

    title: Annotated[str, Meta(max_length=512)] = ""
    form: Any = None
    data: Any = None
    users: Names = []
    groups: Names = []
    due: Annotated[int, Meta(ge=0, le=1 << 52)] = 0
    due_after: Span = 0
    when_due: Literal["fail", "reassign", "announce"] = "fail"
    then_users: Names = []
    then_groups: Names = []
    reminders: Reminders | None = None
    priority: Annotated[int, Meta(ge=0, le=99)] = 0
    process: Annotated[str, Meta(max_length=512)] = ""
    slot: Annotated[str, Meta(max_length=512)] = ""


OPEN = frozenset({"open", "claimed"})


def begin(scene: Scene) -> dict[str, Any]:
    """The first value. Raises Refusal for a task that cannot be asked."""
    try:
        task = convert(scene.input if scene.input is not None else {}, PersonTask)
    except ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        field = "task" + place.rstrip("`")
        raise refuse([FormProblem(field, "", text)]) from None
    if task.form is not None:
        check_form(task.form)
    if len(json.encode(task.data)) > MOST_BYTES:
        raise refuse([FormProblem("task.data", "", f"is larger than {MOST_BYTES} bytes")], Code.TOO_LARGE)
    if task.when_due == "reassign" and not (task.then_users or task.then_groups):
        raise refuse(
            [FormProblem("task.then_users", "", 'must name somebody, or then_groups must, where when_due is "reassign"')]
        )
    moment, run = scene.moment, scene.run
    return {
        "state": "open",
        "title": task.title,
        "form": task.form,
        "data": task.data,
        "users": list(task.users),
        "groups": list(task.groups),
        "claimed_by": "",
        "opened": moment.now,
        "due": task.due or (moment.now + task.due_after if task.due_after else 0),
        "when_due": task.when_due,
        "then_users": list(task.then_users),
        "then_groups": list(task.then_groups),
        "reminders": to_builtins(task.reminders),
        "reminded": 0,
        "late": False,
        "priority": task.priority,
        "process": task.process,
        "slot": task.slot,
        "run": run.parent,
        "n": run.parent_n,
        "saved": None,
        "answer": None,
        "answered_by": "",
        "reason": "",
        "notes": [],
        "did": "open",
        "by": moment.actor,
    }


# ---- who may


def may_answer(task: Mapping[str, Any], user: str, groups: list[str]) -> bool:
    if not user or not (task["users"] or task["groups"]):
        return True
    return user in task["users"] or not set(groups).isdisjoint(task["groups"])


def check_may(task: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """Who does it, if they may while nobody else has claimed the task. Raises Refusal."""
    user, groups = str(changes.get("user", "")), list(changes.get("groups") or ())
    holder = task["claimed_by"]
    if user and holder and holder != user:
        raise refuse([FormProblem("user", user, f"may not: {holder!r} has claimed the task")], Code.FORBIDDEN)
    if user != holder and not may_answer(task, user, groups):
        allowed = ", ".join([*map(repr, task["users"]), *(f"group {name!r}" for name in task["groups"])])
        raise refuse([FormProblem("user", user, f"may not: the task is for {allowed}")], Code.FORBIDDEN)
    return user


# ---- the changes

Task = dict[str, Any]


def claim(task: Task, changes: Mapping[str, Any], moment: Moment) -> Task:
    user = check_may(task, changes)
    if not user:
        raise refuse([FormProblem("user", "", "is needed: a claim is a person's")])
    return {**task, "claimed_by": user, "state": "claimed"}


def release(task: Task, changes: Mapping[str, Any], moment: Moment) -> Task:
    check_may(task, changes)
    if not task["claimed_by"]:
        raise refuse([FormProblem("state", task["state"], "is not claimed: there is nothing to release")], Code.CONFLICT)
    return {**task, "claimed_by": "", "state": "open"}


def hand_over(task: Task, changes: Mapping[str, Any], moment: Moment) -> Task:
    """To a user, who has it claimed then, or to groups, of which anybody may."""
    check_may(task, changes)
    to, groups = changes.get("to_user") or "", list(changes.get("to_groups") or ())
    if bool(to) == bool(groups):
        raise refuse([FormProblem("to_user", to, "must name a user, or to_groups must name groups; one of the two")])
    given = {"users": [to] if to else [], "groups": groups}
    return {**task, **given, "claimed_by": to, "state": "claimed" if to else "open"}


def save(task: Task, changes: Mapping[str, Any], moment: Moment) -> Task:
    check_may(task, changes)
    check_answer(task["form"], changes.get("answer"), partial=True)
    return {**task, "saved": changes.get("answer")}


def note(task: Task, changes: Mapping[str, Any], moment: Moment) -> Task:
    user, groups = str(changes.get("user", "")), list(changes.get("groups") or ())
    if user != task["claimed_by"]:  # a note is no answer: also while another has claimed it
        check_may({**task, "claimed_by": ""}, {"user": user, "groups": groups})
    if len(task["notes"]) >= MOST_NOTES:
        raise refuse([FormProblem("text", "", f"is one too many: a task has at most {MOST_NOTES} notes")], Code.TOO_LARGE)
    return {**task, "notes": [*task["notes"], {"by": user, "at": moment.now, "text": changes["text"]}]}


def answer(task: Task, changes: Mapping[str, Any], moment: Moment) -> Task:
    user = check_may(task, changes)
    given = changes["answer"] if "answer" in changes else task["saved"]
    check_answer(task["form"], given)
    return {**task, "state": "answered", "answer": given, "answered_by": user, "saved": None}


def cancel(task: Task, changes: Mapping[str, Any], moment: Moment) -> Task:
    user = check_may(task, changes)
    reason = changes.get("reason") or f"canceled by {user or 'the service'}"
    return {**task, "state": "canceled", "reason": reason}


ACTIONS: dict[str, Callable[[Task, Mapping[str, Any], Moment], Task]] = {
    "claim": claim,
    "release": release,
    "hand over": hand_over,
    "save": save,
    "note": note,
    "answer": answer,
    "cancel": cancel,
}


def change(task: Task, changes: Mapping[str, Any], moment: Moment) -> Task:
    """Raises Refusal."""
    action = ACTIONS.get(str(changes.get("do")))
    if action is None:
        raise refuse([FormProblem("do", changes.get("do"), f"must be one of {', '.join(ACTIONS)}")])
    after = action(task, changes, moment)
    return task if after == task else {**after, "did": changes["do"], "by": moment.actor}


def reminded(task: Task) -> Task:
    return {**task, "reminded": task["reminded"] + 1, "did": "remind", "by": ""}


def overdue(task: Task) -> Task:
    """Its time has come, and it goes on."""
    given: Task = {}
    if task["when_due"] == "reassign":
        given = {"users": task["then_users"], "groups": task["then_groups"], "claimed_by": "", "state": "open"}
    return {**task, **given, "late": True, "did": "late", "by": ""}


def follow_status(task: Task, status: int, reason: str, moment: Moment) -> Task:
    """The run has ended, or goes on after its end; the task says the same."""
    ended = status >= RunStatus.COMPLETED
    if ended and task["state"] in OPEN:
        state = "expired" if status == RunStatus.TIMED_OUT else "canceled"
        return {
            **task,
            "state": state,
            "reason": reason,
            "did": "cancel" if state == "canceled" else "expire",
            "by": moment.actor,
        }
    if not ended and task["state"] not in OPEN:
        again = {"state": "claimed" if task["claimed_by"] else "open", "answer": None, "answered_by": "", "reason": ""}
        return {**task, **again, "did": "open", "by": moment.actor}
    return task


# ---- what follows from a value

EVENTS = {
    "open": "task.opened",
    "claim": "task.claimed",
    "release": "task.released",
    "hand over": "task.handed_over",
    "note": "task.noted",
    "answer": "task.answered",
    "cancel": "task.canceled",
    "expire": "task.expired",
    "remind": "task.reminder",
    "late": "task.late",
}


def announced(old: Task | None, new: Task) -> list[tuple[str, Any]]:
    """The events that a new value is announced by."""
    name = EVENTS.get(new["did"])
    if name is None:
        return []
    kept = ("title", "state", "users", "groups", "claimed_by", "priority", "due", "late", "reminded", "process", "slot", "by")
    data = {member: new[member] for member in kept}
    if new["state"] == "answered":
        data["answer"] = new["answer"]
    if new["did"] == "note":
        data["note"] = new["notes"][-1]
    return [(name, data)]


def attributes(task: Task) -> tuple[tuple[str, str], ...]:
    users = dict.fromkeys([*task["users"], *([task["claimed_by"]] if task["claimed_by"] else [])])
    found = [(STATE, task["state"]), *((USER, user) for user in users), *((GROUP, group) for group in task["groups"])]
    if task["process"]:
        found.append((PROCESS, task["process"]))
    if task["run"]:
        found.append((CALLER, str(task["run"])))
    return tuple(found)


RECORDS = Records(
    begin=begin,
    change=change,
    live=lambda task: task["state"] in OPEN,
    attributes=attributes,
    announced=announced,
    follows=follow_status,
)
