"""Guards: filters over the task as it would be after the change, with its children, and with the user who makes it.

A guard that asks for its children's states alone is answered from the counts that the run keeps; only one that looks further
reads them, at most 2,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pelton.kernel.context import Scene
from pelton.kernel.expressions.base import Read
from pelton.languages.lusid.filters import Condition, parse_filter
from pelton.languages.lusid.task import PARENT, SEPARATOR
from pelton.languages.lusid.times import print_moment
from pelton.languages.lusid.words import CURRENT_USER, RIGHT_NAMES

MAX_GUARD = 1024
NOT_YET = ""  # as children are counted that have been asked for and have not begun


def parse_guard(text: str) -> Condition:
    """Raises Invalid."""
    return parse_filter(text, limit=MAX_GUARD, right_names=RIGHT_NAMES)


class Guard:
    """A guard as an expression: true or false. `message`: what its author wants said when it does not hold."""

    __slots__ = ("_condition", "message", "text")
    reads: frozenset[Read] = frozenset()

    def __init__(self, text: str, condition: Condition, message: str = "") -> None:
        self.text = text
        self._condition = condition
        self.message = message

    def evaluate(self, scene: Scene) -> bool:
        return self._condition.passes(task_view(scene, self._condition), {CURRENT_USER: scene.moment.actor})

    def why(self, scene: Scene) -> dict[str, Any]:
        """For a refusal: the author's message, and which part was false with the value that it saw."""
        verdict = self._condition.test(task_view(scene, self._condition), {CURRENT_USER: scene.moment.actor})
        found: dict[str, Any] = {"trace": [[entry.text, entry.value, entry.result] for entry in verdict.trace[:5]]}
        if self.message:
            found["message"] = self.message
        return found


def task_view(scene: Scene, condition: Condition) -> dict[str, Any]:
    """The task at hand as guards and conditions see it."""
    view = view_of(scene.record)
    if condition.reads_children:
        if condition.children_by_state_only:
            view["childTasks"] = [_kind(kind) for kind in scene.counts()]
        else:
            children = [view_of(each.body) for each in scene.found(PARENT, str(scene.run.key))]
            view["childTasks"] = [*children, *(_kind(kind) for kind in scene.counts() if kind == NOT_YET)]
    return view


def view_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """A task's document as filters see it: what needs no other task."""
    by, creator = document.get("by", ""), document.get("creator", "")
    return {
        "state": document["state"],
        "taskDefinitionId": identity(document["definition"]),
        "fields": document["fields"],
        "correlationIds": document["correlationIds"],
        "stackingKey": document.get("stackingKey"),
        "version": {"userIdCreated": creator, "userIdModified": by, "asAtCreated": print_moment(document["created"])},
        "asAtLastTransition": print_moment(document["moved"]),
        "UserCreated": creator,
        "UserUpdated": by or creator,
    }


def identity(name: str) -> dict[str, str]:
    scope, _, code = name.partition("/")
    return {"scope": scope, "code": code}


def _kind(kind: str) -> dict[str, Any]:
    name, _, state = kind.rpartition(SEPARATOR)
    return {"state": state, "taskDefinitionId": identity(name)}
