"""Guards: filters over the task as it would be after the change, with its children and the user who makes the change.

A guard that needs only its children's states is answered from the counts that the run keeps; only one that needs more
reads the children, at most 2,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pelton.kernel.expressions.base import Read
from pelton.kernel.machine.records import COMING
from pelton.kernel.machine.scene import Scene
from pelton.kernel.model.reads import Codec
from pelton.kernel.model.state import Record
from pelton.languages.lusid.definitions.record import PARENT, SEPARATOR
from pelton.languages.lusid.filters import ANYTHING, VALUE, CompiledFilter, Items, Members, parse_filter, values
from pelton.languages.lusid.member_names import CURRENT_USER, RIGHT_NAMES
from pelton.languages.lusid.times import print_moment

MAX_GUARD = 1024


def parse_guard(text: str) -> CompiledFilter:
    """Raises Invalid."""
    return parse_filter(text, limit=MAX_GUARD, right_names=RIGHT_NAMES)


# What filters see of a task, as `view_of` gives it; what guards see besides.
_ID = Members(values("id"))
TASK = Members(
    {
        **values(
            "id", "state", "stackingKey", "terminalState", "completionStatus", "nextTaskInitialTrigger", "asAtLastTransition",
            "actionLogIdCreated", "actionLogIdModified", "actionLogIdSubmitted", "UserCreated", "UserUpdated",
        ),
        "fields": ANYTHING,
        "correlationIds": Items(VALUE),
        "taskDefinitionId": Members(values("scope", "code")),
        "taskDefinitionVersion": Members(values("asAtModified")),
        "version": Members(
            values(
                "asAtCreated", "userIdCreated", "requestIdCreated", "asAtModified", "userIdModified", "requestIdModified",
                "asAtVersionNumber",
            )
        ),
        "parentTask": _ID,
        "previousTask": _ID,
        "ultimateParentTask": _ID,
    }
)  # fmt: skip
GUARDED = Members({**TASK.of, CURRENT_USER: VALUE, "childTasks": Items(TASK)})


class Guard:
    """A guard as an expression: true or false. `message`: the author's text for when it does not hold."""

    __slots__ = ("_condition", "message", "text")
    reads: frozenset[Read] = frozenset()

    def __init__(self, text: str, condition: CompiledFilter, message: str = "") -> None:
        self.text = text
        self._condition = condition
        self.message = message

    def evaluate(self, scene: Scene) -> bool:
        user = scene.moment.actor
        return self._condition.passes(task_view(scene, self._condition, user), {CURRENT_USER: user})

    def why(self, scene: Scene) -> dict[str, Any]:
        """For a refusal: the author's message, and which part was false with the value that it saw."""
        user = scene.moment.actor
        verdict = self._condition.test(task_view(scene, self._condition, user), {CURRENT_USER: user})
        found: dict[str, Any] = {"trace": [[entry.text, entry.value, entry.result] for entry in verdict.trace[:5]]}
        if self.message:
            found["message"] = self.message
        return found


def task_view(scene: Scene, condition: CompiledFilter, user: str) -> dict[str, Any]:
    """The task at hand as guards and conditions see it: what its caller gives as it is to be, its version block, and so who
    updated it last, as it was before. `user`: who changes it."""
    document = scene.record
    standing = scene.standing or Record(scene.run.key, scene.moment.stamp, 1, True, document)
    view = view_of(standing, scene.codec, condition.members)
    view.update(visible(document))
    view[CURRENT_USER] = user
    if condition.reads_children:
        if condition.children_by_state_only:
            view["childTasks"] = [_kind(kind) for kind in scene.counts()]
        else:
            children = [view_of(each, scene.codec) for each in scene.found(PARENT, str(scene.run.key))]
            view["childTasks"] = [*children, *(_kind(kind) for kind in scene.counts() if kind == COMING)]
    return view


def visible(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a document has to show as it is."""
    return {
        "state": document["state"],
        "fields": document["fields"],
        "correlationIds": document["correlationIds"],
        "stackingKey": document.get("stackingKey"),
    }


def view_of(record: Record, codec: Codec, wanted: frozenset[str] | None = None) -> dict[str, Any]:
    """A task as filters see it: what needs no other task, and none of its definition's version. Of other tasks there are the ids.
    `wanted`: the members that are read, case-folded; some that are not may be left out. None = all."""
    document: Mapping[str, Any] = record.body
    creator = document["creator"]
    view = {
        **visible(document),
        "id": codec.run_id(record.run),
        "taskDefinitionId": identity(document["definition"]),
        "terminalState": not record.live,
        "completionStatus": completion(record),
        "nextTaskInitialTrigger": document.get("nextTrigger"),
        "actionLogIdCreated": document.get("logCreated"),
        "actionLogIdModified": document.get("logModified"),
        "actionLogIdSubmitted": document.get("logSubmitted"),
        "UserCreated": creator,
        "UserUpdated": document["by"] or creator,
    }
    for name, member in (("parentTask", "parent"), ("previousTask", "previous"), ("ultimateParentTask", "root")):
        if document.get(member):
            view[name] = {"id": codec.run_id(document[member])}
    if wanted is None or "version" in wanted:
        view["version"] = version_of(record)
    if wanted is None or "taskdefinitionversion" in wanted:
        view["taskDefinitionVersion"] = {"asAtModified": print_moment(document["asAt"])}
    if wanted is None or "asatlasttransition" in wanted:
        view["asAtLastTransition"] = print_moment(document["moved"])
    return view


def completion(record: Record) -> str:
    if not record.live:
        return "Completed"
    return "NotStarted" if record.body["state"] == record.body["initial"] else "InProgress"


def version_of(record: Record) -> dict[str, Any]:
    document = record.body
    return {
        "asAtCreated": print_moment(document["created"]),
        "userIdCreated": document["creator"],
        "requestIdCreated": document["createdRequest"],
        "asAtModified": print_moment(record.since),
        "userIdModified": document["by"],
        "requestIdModified": document["request"],
        "asAtVersionNumber": record.number,
    }


def identity(name: str) -> dict[str, str]:
    scope, _, code = name.partition("/")
    return {"scope": scope, "code": code}


def _kind(kind: str) -> dict[str, Any]:
    name, _, state = kind.rpartition(SEPARATOR)
    return {"state": state, "taskDefinitionId": identity(name)}
