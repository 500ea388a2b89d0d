"""Where workers' tasks are offered: under a name, or in a domain that the run was given for that name."""

from __future__ import annotations

from typing import Any

from pelton.kernel.expressions.base import ExpressionError, Read, in_words
from pelton.kernel.model.reads import ServedKey
from pelton.languages.conductor import status_names

NO_DOMAIN = "NO_DOMAIN"
ACTIVE = 10_000  # milliseconds after a poll during which a domain counts as having workers
MOST_DOMAINS = 50  # of one task; further ones are not looked at
NOTHING: frozenset[Read] = frozenset()


def queue_for(name: str, context: Any) -> str:
    """Of several domains the first that has workers at the moment, else the last; NO_DOMAIN means none."""
    routes = context.meta.routes
    if not routes:
        return name
    given = routes.get(name, routes.get("*", "")).split(",", MOST_DOMAINS)[:MOST_DOMAINS]
    domains = list(dict.fromkeys(part.strip() for part in given if part.strip()))
    queues = [name if domain == NO_DOMAIN else f"{domain}:{name}" for domain in domains] or [name]
    if len(queues) == 1:
        return queues[0]
    found: str = context.draft.reads.answer(ServedKey(tuple(queues), ACTIVE))
    return found


class Queue:
    """Of a task whose name the definition has."""

    __slots__ = ("_name",)
    reads = NOTHING

    def __init__(self, name: str) -> None:
        self._name = name

    def evaluate(self, context: Any) -> str:
        return queue_for(self._name, context)


class DynamicQueue:
    """Of a task whose name is in its input."""

    __slots__ = ("_param",)
    reads = NOTHING

    def __init__(self, param: str) -> None:
        self._param = param

    def evaluate(self, context: Any) -> str:
        name = status_names.dynamic_name(context.step, self._param)
        if not name:
            found = context.step.input.get(self._param) if isinstance(context.step.input, dict) else None
            raise ExpressionError(
                f"Cannot map a dynamic task based on the parameter and input. Parameter= {self._param}, input= {in_words(found)}"
            )
        return queue_for(name, context)
