"""Sinks of EVENT tasks: `type:address`, and how those of the internal type are rewritten under the workflow's name."""

from __future__ import annotations

from pelton.kernel.expressions.base import ExpressionError

INTERNAL = "conductor"


def rewrite(sink: str, workflow: str, reference: str) -> str:
    """The address that a sink refers to. Raises ExpressionError for an invalid one."""
    if sink == INTERNAL:
        return f"{INTERNAL}:{workflow}:{reference}"
    if sink.startswith(f"{INTERNAL}:"):
        rest = sink.replace(f"{INTERNAL}:", "")
        return f"{INTERNAL}:{workflow}:{rest}" if rest else f"{INTERNAL}:{workflow}:{reference}"
    if sink.startswith(INTERNAL):
        raise ExpressionError(f"Invalid / Unsupported sink specified: {sink}")
    return sink
