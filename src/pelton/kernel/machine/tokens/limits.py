"""Limits of the time that a step may take: what they are, is decided once, when the step opens."""

from __future__ import annotations

from typing import Any

from pelton.kernel.machine.draft import Draft, StepFailure
from pelton.kernel.machine.scene import Scene, evaluate
from pelton.kernel.machine.tokens.times import next_epoch, set_time, start_timer, time_of
from pelton.kernel.model.process import Limit, Node
from pelton.kernel.model.state import DueTime, Failure, OpenStep

LATEST = 1 << 53  # milliseconds; beyond it numbers are no longer exact
ARMS = ("queue", "limit", "total")  # limits that have timers


def limit_of(node: Node, arm: str) -> Limit | None:
    limits = node.limits
    return {"queue": limits.queue, "idle": limits.idle, "limit": limits.attempt, "total": limits.total}[arm]


def duration(limit: Limit, node: Node, scene: Scene) -> int | None:
    """The milliseconds that a limit allows; None: no limit. Raises StepFailure."""
    if isinstance(limit.after, int):
        return limit.after
    value = evaluate(limit.after, scene)
    return None if value is None else max(milliseconds(value, node, "a number of milliseconds"), 1)


def milliseconds(value: Any, node: Node, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        text = f"a time limit of {node.name!r} is {value!r}; it must be {what}, not below 0"
        raise StepFailure(Failure("expression", "technical", text[:1000], None, False))
    return int(min(value, LATEST))


def decide(row: OpenStep, arm: str, limit: Limit | None, node: Node, scene: Scene, since: int) -> None:
    """Evaluates a limit and keeps it in the row; its timer is started when the row is open (`start`)."""
    if limit is None:
        return
    if limit.at is not None:
        value = evaluate(limit.at, scene)
        if value is None:
            return
        at = milliseconds(value, node, "an instant in epoch milliseconds")
        due = DueTime(max(at, 1), next_epoch(row, arm), max(at - since, 0), True)
    else:
        after = duration(limit, node, scene)
        if after is None:
            return
        due = DueTime(since + after, next_epoch(row, arm), after)
    row.times = {**(row.times or {}), arm: due}


def decide_standing(draft: Draft, node: Node, row: OpenStep, since: int = 0) -> None:
    """The limits of a step that stands and is no work. `since`: what the one over all attempts counts from, 0 = the first one.
    Raises StepFailure, before anything of the step has been done."""
    limits = node.limits
    if limits.attempt is None and limits.total is None:
        return
    scene = Scene(draft, row, row.input, row.thread)
    decide(row, "limit", limits.attempt, node, scene, draft.now)
    decide(row, "total", limits.total, node, scene, since or row.first)


def start(draft: Draft, row: OpenStep) -> None:
    """Starts the timers of a step that is open by now."""
    if row.times and draft.open_rows.get(row.n) is row:
        for arm in ARMS:
            if time_of(row, arm).at:
                start_timer(draft, row, arm)


def restart(draft: Draft, node: Node, row: OpenStep, arm: str, since: int) -> None:
    """Another attempt in the same step: the limit counts anew, as it was decided. A date stays, and comes at once where it
    has been."""
    known = (row.times or {}).get(arm)
    if known is not None:
        at = (known.at or draft.now) if known.fixed else since + known.after
        set_time(draft, row, arm, at, after=known.after, fixed=known.fixed)
        return
    limit = limit_of(node, arm)
    if limit is not None and limit.at is None and isinstance(limit.after, int):  # a row that kept no times
        set_time(draft, row, arm, since + limit.after, after=limit.after)


def total_left(draft: Draft, node: Node, row: OpenStep) -> bool:
    """Whether the limit over all attempts allows another one."""
    limit = node.limits.total
    if limit is None:
        return True
    known = (row.times or {}).get("total")
    if known is not None:
        return known.at > draft.now
    return limit.at is not None or not isinstance(limit.after, int) or draft.now - row.first < limit.after


def first_of(row: OpenStep) -> int:
    """When the first attempt opened, as the next one counts it: a halt that stopped the clock of the total limit moves it."""
    total = time_of(row, "total")
    return total.at - total.after if total.at and total.after and not total.fixed else row.first
