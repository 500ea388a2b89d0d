"""Taking the values of secrets out of what the server's own operations report, since a service may send back what it was sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pelton.kernel.expressions.base import JSON
from pelton.kernel.model.signals import Report

HIDDEN = "***"
SHORTEST = 4  # characters: what is shorter would take apart what has nothing to do with it


def withheld_of(values: Iterable[str]) -> tuple[str, ...]:
    """The values, and the texts in those that are JSON: a definition may use only one member of a secret."""
    found: dict[str, None] = {}
    for value in values:
        found[value] = None
        if value[:1] in ("{", "["):
            try:
                todo = [msgspec.json.decode(value)]
            except (msgspec.DecodeError, RecursionError):
                continue
            while todo:
                each = todo.pop()
                if isinstance(each, str):
                    found[each] = None
                elif isinstance(each, dict | list):
                    todo.extend(each.values() if isinstance(each, dict) else each)
    return tuple(found)


def redacted_report(report: Report, values: Sequence[str]) -> Report:
    hide = [value for value in sorted(values, key=len, reverse=True) if len(value) >= SHORTEST]
    if not hide:
        return report
    failure = report.failure
    if failure is not None:
        failure = msgspec.structs.replace(
            failure, message=redacted(failure.message, hide), content=redacted(failure.content, hide)
        )
    return msgspec.structs.replace(
        report, output=redacted(report.output, hide), reason=redacted(report.reason, hide), failure=failure
    )


def redacted(value: JSON, hide: Sequence[str]) -> JSON:
    if isinstance(value, str):
        for secret in hide:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {redacted(name, hide): redacted(member, hide) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(member, hide) for member in value]
    return value
