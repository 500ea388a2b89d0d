"""Paths of members, in the syntax of mappings and sort orders: `body.identifiers[Instrument/default/Figi]`."""

from __future__ import annotations

from pelton.kernel.expressions.base import Invalid

MAX_STEPS = 50
EVENT_ROOTS = frozenset({"header", "body"})


def split_path(path: str) -> list[str]:
    """The steps of a path, at least one. Raises Invalid."""
    steps: list[str] = []
    at = 0
    while at < len(path):
        if path[at] == "[" and steps:
            end = path.find("]", at)
            if end < 0:
                raise Invalid(f"{path[:100]!r} has a bracket that is not closed", at)
            step = path[at + 1 : end].strip()
            quoted = len(step) > 1 and step[0] == step[-1] == "'"
            step, at = (step[1:-1] if quoted else step), end + 1
        else:
            at += 1 if steps and path[at] == "." else 0
            ends = [place for mark in ".[" if (place := path.find(mark, at)) >= 0]
            end = min(ends, default=len(path))
            step, at = path[at:end], end
            if step.split() != [step]:
                raise Invalid(f"{path[:100]!r} has a member without a name, or with blanks in it", at)
        if not step:
            raise Invalid(f"{path[:100]!r} has brackets with nothing between them", at)
        steps.append(step)
        if len(steps) > MAX_STEPS:
            raise Invalid(f"{path[:100]!r} has more than {MAX_STEPS} members", at)
        if at < len(path) and path[at] not in ".[":
            raise Invalid(f"{path[:100]!r} goes on after a bracket without a dot", at)
        if path[at:] == ".":
            raise Invalid(f"{path[:100]!r} ends with a dot", at)
    if not steps:
        raise Invalid("a path must have a member", 0)
    return steps
