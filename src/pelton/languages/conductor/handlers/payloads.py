"""An event's body in the form that handlers' conditions and templates see."""

from __future__ import annotations

from typing import Any

import msgspec

from pelton.kernel.expressions.base import JSON, Bound
from pelton.runtime.rows import EventRow
from pelton.transport.event_header import event_header

HEADER = "header"  # what handlers know an event's header by
MOST_EXPANDED = 1_000  # strings of one payload that are parsed
MOST_DEPTH = 100


def expand(payload: JSON) -> JSON:
    """The payload in which every string that is the text of an object or a list is that object or list, also in objects that are
    inside lists; strings that stand in a list directly stay. The payload itself is not changed, and is the answer when there is
    nothing to expand."""
    return _Expander().value(payload, 0)


class _Expander:
    def __init__(self) -> None:
        self.left = MOST_EXPANDED

    def value(self, value: JSON, depth: int) -> JSON:
        if isinstance(value, str):
            return self.text(value, depth)
        if isinstance(value, list) and depth <= MOST_DEPTH:
            return self.items(value, depth)
        if not isinstance(value, dict) or depth > MOST_DEPTH:
            return value
        changed: dict[str, JSON] = {}
        for name, item in value.items():
            if isinstance(item, str):
                if "{" not in item and "[" not in item:  # nearly all
                    continue
            elif not isinstance(item, (dict, list)):
                continue
            found = self.value(item, depth + 1)
            if found is not item:
                changed[name] = found
        return {**value, **changed} if changed else value

    def items(self, value: list[JSON], depth: int) -> JSON:
        found = [self.value(item, depth + 1) if isinstance(item, (dict, list)) else item for item in value]
        return found if any(new is not old for new, old in zip(found, value, strict=True)) else value

    def text(self, value: str, depth: int) -> JSON:
        trimmed = value.strip()
        if trimmed[:1] not in ("{", "[") or trimmed[-1:] not in ("}", "]") or self.left <= 0 or depth > MOST_DEPTH:
            return value
        self.left -= 1
        try:
            found = msgspec.json.decode(trimmed)
        except (msgspec.DecodeError, RecursionError):
            return value
        return self.value(found, depth + 1)


def seen(event: EventRow) -> JSON:
    """What conditions see of an event: its body, expanded, with its header beside the members. A member of that name hides it."""
    body = expand(event.body)
    if body is None:
        return {HEADER: event_header(event)}
    return {**body, HEADER: event_header(event)} if isinstance(body, dict) and HEADER not in body else body


class Rooted:
    """A context for templates whose root is a payload."""

    __slots__ = ("_context", "evaluated", "event", "now", "payload")

    def __init__(self, payload: JSON, context: Any) -> None:
        self.payload = payload
        self.event: EventRow = context.event
        self.now = context.now
        self.evaluated = context.evaluated
        self._context = context

    @property
    def seed(self) -> int:
        found: int = self._context.seed
        return found


def references(name: str, members: tuple[str | int, ...]) -> Bound:
    """The resolver of handlers: a name is a member of the payload."""
    if name == "":
        return Bound(lambda context: context.payload, 0, frozenset())
    if name == HEADER:
        return Bound(_header, 0, frozenset())
    return Bound(lambda context: context.payload.get(name) if isinstance(context.payload, dict) else None, 0, frozenset())


def _header(context: Any) -> JSON:
    payload = context.payload
    return payload[HEADER] if isinstance(payload, dict) and HEADER in payload else event_header(context.event)
