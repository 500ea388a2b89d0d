"""Matching events against handlers: the kernel's matching, with the runtime's context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import to_builtins

from pelton.kernel.expressions.base import JSON, Evaluation, Outcome
from pelton.kernel.machine.scene import mix
from pelton.kernel.matching import handlers as kernel
from pelton.kernel.matching.handlers import Handler, HandlerIndex, View
from pelton.runtime.api import HandlerDecision
from pelton.store.rows import EventRow

Views = Mapping[str, Callable[[EventRow], JSON]]
"""By language: the payload that its handlers see, if that is not the event's body."""


class EventContext(NamedTuple):
    """The context of filter scripts."""

    now: int
    event: int  # its key
    evaluated: Callable[[Evaluation], Outcome | None]

    @property
    def seed(self) -> int:
        return mix(self.event, 0, 0)


class Fired(NamedTuple):
    handler: Handler
    view: View | None  # None: the event's body
    actions: tuple[Any, ...]


def consider(
    index: HandlerIndex, event: EventRow, context: EventContext, views: Views
) -> tuple[list[HandlerDecision], list[Fired]]:
    """The decisions of the handlers that the index selects, and those that fired. Raises Unanswered."""
    view = seen_by(event, views) if views else None
    decisions: list[HandlerDecision] = []
    fired: list[Fired] = []
    for decision in kernel.match(index, event.type, event.body, context, view):
        decisions.append(kept(decision))
        if decision.verdict == "fired":
            handler = decision.handler
            fired.append(Fired(handler, view, handler.actions))
    return decisions, fired


def explain(handler: Handler, event: EventRow, context: EventContext, views: Views) -> HandlerDecision:
    """One handler's decision on a stored event. Raises Unanswered."""
    return kept(kernel.explain(handler, event.type, seen_by(event, views)(handler.language), context))


def seen_by(event: EventRow, views: Views) -> View:
    """What the handlers of a language see as the payload; made once, when it is first asked for."""
    known: dict[str, JSON] = {}

    def view(language: str) -> JSON:
        make = views.get(language)
        if make is None:
            return event.body
        if language not in known:
            known[language] = make(event)
        return known[language]

    return view


def kept(decision: kernel.Decision) -> HandlerDecision:
    trace = to_builtins(decision.trace) if decision.trace else ()
    return HandlerDecision(decision.handler.name, decision.handler.id, decision.verdict, decision.detail, list(trace))
