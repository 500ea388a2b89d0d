"""Walking a definition's tasks: they nest in branches, cases and loop bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pelton.languages.conductor.model import WorkflowDef, WorkflowTask

# The lists of tasks inside a task, each in the order in which its tasks run.
Lists = list[tuple[str, list[WorkflowTask]]]


class TaskPosition(NamedTuple):
    """A task, its path (`tasks[1].forkTasks[0][2]`) and its depth."""

    path: str
    task: WorkflowTask
    depth: int


def inner_lists(task: WorkflowTask) -> Lists:
    found: Lists = [(f"forkTasks[{index}]", branch) for index, branch in enumerate(task.fork_tasks)]
    found += [(f"decisionCases.{name}", case) for name, case in task.decision_cases.items()]
    found.append(("defaultCase", task.default_case))
    found.append(("loopOver", task.loop_over))
    return [each for each in found if each[1]]


def walk(tasks: list[WorkflowTask], path: str = "tasks", depth: int = 0) -> Iterator[TaskPosition]:
    """Every task, outer before inner, in the order of the document. Recursion is as deep as the document is nested."""
    for index, task in enumerate(tasks):
        here = f"{path}[{index}]"
        yield TaskPosition(here, task, depth)
        for name, inner in inner_lists(task):
            yield from walk(inner, f"{here}.{name}", depth + 1)


def all_tasks(definition: WorkflowDef) -> list[WorkflowTask]:
    return [place.task for place in walk(definition.tasks)]
