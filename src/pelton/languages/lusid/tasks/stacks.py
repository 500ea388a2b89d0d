"""Stacks: open tasks of one definition that have the same stacking key.

A task created while another with the same key is open joins its stack: the earlier one is the lead, the later one a member. The
first task with a key only carries it. A stack closes when its lead ends; later tasks stack with the earliest
one that is still open. The outcome of the lead triggers nothing in its members.

None of this is stored: it is derived from the tasks, so it is known for any instant. Cost: the number of tasks with the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Stacked(NamedTuple):
    """A task of the key. `came`: when it was made; `ended`: when it ended, 0 = it is open. Both in microseconds."""

    run: int
    came: int
    ended: int


class Stack(NamedTuple):
    """A stack as one task sees it. `closed` 0 = open; `joined`: when the task joined it."""

    lead: int
    opened: int
    closed: int
    joined: int
    size: int

    def is_lead(self, run: int) -> bool:
        return run == self.lead


def stack_of(run: int, tasks: Sequence[Stacked]) -> Stack | None:
    """The latest stack that the task is in. `tasks`: all of the key, in the order in which they were made."""
    stacks: list[list[Stacked]] = []
    for index, task in enumerate(tasks):
        if stacks and open_at(stacks[-1][0], task.came):
            stacks[-1].append(task)
            continue
        lead = next((each for each in tasks[:index] if open_at(each, task.came)), None)
        if lead is not None:
            stacks.append([lead, task])
    mine = next((stack for stack in reversed(stacks) if any(each.run == run for each in stack)), None)
    if mine is None:
        return None
    lead, first = mine[0], mine[1]
    joined = first.came if run == lead.run else next(each.came for each in mine if each.run == run)
    return Stack(lead.run, first.came, lead.ended, joined, len(mine))


def open_at(task: Stacked, instant: int) -> bool:
    return not task.ended or task.ended > instant
