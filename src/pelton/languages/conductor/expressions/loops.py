"""DO_WHILE tasks that iterate over a list: where the list is stored, and what the output says about the current item.

The list is part of the task's input, under the member that `list_member` names, so it lives as long as the task.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import UNSET

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.state import OpenStep, Step
from pelton.languages.conductor.model import WorkflowTask

ITEMS = "_items"  # input member of a list given as the task's `items`, or under this very name
EACH = "items"  # as the Python client names it, beside a condition that never holds
OWN_MEMBERS = frozenset({"iteration", "loopIndex", "loopItem"})

_BLANKS = re.compile(r"\s+")


def list_member(task: WorkflowTask) -> str:
    """The input member that holds the list; "" for a loop that has none, and for other tasks."""
    if task.type != "DO_WHILE":
        return ""
    if task.items is not UNSET and task.items is not None:
        return ITEMS
    if task.input_parameters.get(ITEMS) is not None:
        return ITEMS
    return EACH if for_each(task) else ""


def for_each(task: WorkflowTask) -> bool:
    """Whether a member `items` is what the loop goes through: beside a condition that no count fulfils, as the Python client says
    "for each", or beside none."""
    if task.input_parameters.get(EACH) is None:
        return False
    never = f"$.{task.task_reference_name}.iteration<0"
    condition = _BLANKS.sub("", task.loop_condition or "").rstrip(";")
    return condition in ("", never, f"if({never}){{true;}}else{{false;}}")


def item_of(step: OpenStep | Step, member: str) -> JSON:
    """The item of the loop's current (or last) iteration."""
    items = step.input.get(member) if isinstance(step.input, dict) else None
    return items[step.k - 1] if isinstance(items, list) and 0 < step.k <= len(items) else None


def own_output(step: OpenStep | Step, member: str) -> dict[str, Any]:
    """A loop's own output: without the outputs of its iterations."""
    if not member or not step.k:
        return {"iteration": step.k}
    return {"iteration": step.k, "loopIndex": step.k - 1, "loopItem": item_of(step, member)}
