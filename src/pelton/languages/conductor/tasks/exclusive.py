"""EXCLUSIVE_JOIN: of the ways that a decision may have taken, the one that it has taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pelton.kernel.expressions.base import JSON, ExpressionError, Read
from pelton.kernel.model.state import Step, StepStatus
from pelton.languages.conductor import status_names
from pelton.languages.conductor.expressions.references import References


class FirstEnded:
    """The output of the first of these tasks that has run: of `on`, else of `otherwise`. Raises ExpressionError for one that has
    failed, and where none has run, since none will."""

    __slots__ = ("_bounds", "reads")

    def __init__(self, on: Sequence[str], otherwise: Sequence[str], references: References) -> None:
        names = [name for name in dict.fromkeys((*on, *otherwise)) if name in references.tasks]
        self._bounds = [(name, references(name, ("output",))) for name in names]
        self.reads: frozenset[Read] = frozenset({Read("slot", name) for name in names}).union(
            *(bound.reads for _, bound in self._bounds)
        )

    def evaluate(self, context: Any) -> JSON:
        for name, bound in self._bounds:
            step = context.newest(name)
            if not isinstance(step, Step) or step.status == StepStatus.SKIPPED:
                continue
            if not StepStatus(step.status).successful:
                reason = status_names.reason(context.codec, step)
                raise ExpressionError(f"{name} has failed: {reason}" if reason else f"{name} has failed")
            found = bound.get(context)
            return found if found is not None else {}
        names = ", ".join(name for name, _ in self._bounds) or "joinOn names no task"
        raise ExpressionError(f"no task that the join waits for has run, so that it would wait for ever: {names}")
