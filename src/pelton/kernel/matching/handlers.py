"""Which handlers an event concerns, and why the others stay quiet.

A `HandlerIndex` holds the handlers of a namespace by event type, and those of a type by the most selective test in their
filters that an index can use (see `index.py`): a handler for `$.customer == 17 && $.total > 100` lies under (customer, 17)
and is not looked at for any other customer. Handlers without such a test are looked at for every event of their type.

`match` gives a decision for every handler that the index selects. A handler that it rules out could not have fired; what
exactly it would have decided, `explain` finds out on demand.

Invariants: whatever fires when asked directly (`explain`) is selected by the index; `match` does not depend on the order in
which handlers were added; a filter that fails makes its own decision "failed" and no other.

Cost: adding, removing: the indexable tests of one handler. Matching: the payload's members that some handler tests, plus the
handlers selected. Handlers that are ruled out cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from pelton.kernel.expressions.base import JSON, Evaluation, ExpressionError, Unanswered
from pelton.kernel.matching.filters import Filter, Trace, wildcard
from pelton.kernel.matching.index import Anchor, Selection

MAX_DETAIL = 300  # characters

Verdict = Literal["fired", "false", "inactive", "failed", "type differs"]
View = Callable[[str], JSON]


class Handler(Struct, kw_only=True, frozen=True):
    """What reacts to events. `types` are event types, exactly or with `*` for any run of characters. `actions` are for the
    runtime, `language` says whose they are."""

    id: int
    ns: str
    name: str
    version: int = 1
    types: tuple[str, ...]
    filter: Any = None  # Filter | None; a protocol is not a type that a struct can check
    actions: tuple[Any, ...] = ()
    active: bool = True
    language: str = ""


class Decision(NamedTuple):
    """The outcome of one handler for one event. `trace` says which sub-expressions decided and which values they saw;
    `detail` is that in one line, or the error."""

    handler: Handler
    verdict: Verdict
    trace: tuple[Trace, ...] = ()
    detail: str = ""


class HandlerIndex:
    """The handlers of one namespace as of one value of their counter. Handlers are distinguished by `id`."""

    __slots__ = ("_exact", "_handlers", "_patterns", "_places", "_prefixes", "counter")

    def __init__(self, handlers: Iterable[Handler] = (), counter: int = 0) -> None:
        self.counter = counter
        self._handlers: dict[int, Handler] = {}
        self._places: dict[int, list[tuple[_Bucket, Anchor | None]]] = {}
        self._exact: dict[str, dict[str, _Bucket]] = {}
        # Patterns by what they begin with, so that an event looks at those only whose beginning it has.
        self._patterns: dict[str, dict[str, _Pattern]] = {}
        self._prefixes: dict[int, int] = {}  # length of a beginning -> how many patterns have one
        for handler in handlers:
            self.add(handler)

    def __len__(self) -> int:
        return len(self._handlers)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def __contains__(self, handler: Handler) -> bool:
        return handler.id in self._handlers

    def add(self, handler: Handler) -> None:
        """Adds a handler, or puts it in the place of the one that had its id."""
        self.remove(handler)
        self._handlers[handler.id] = handler
        places = self._places[handler.id] = []
        for kind in dict.fromkeys(handler.types):
            bucket = self._buckets(kind).setdefault(handler.language, Selection())
            places.append((bucket, bucket.add(handler.id, handler, _tests(handler))))

    def remove(self, handler: Handler) -> None:
        """Removes the handler of this id, if there is one."""
        known = self._handlers.pop(handler.id, None)
        if known is None:
            return
        for bucket, test in self._places.pop(known.id):
            bucket.remove(known.id, test)
        for kind in dict.fromkeys(known.types):
            self._prune(kind, known.language)

    def _buckets(self, kind: str) -> dict[str, _Bucket]:
        if "*" not in kind:
            return self._exact.setdefault(kind, {})
        prefix = kind[: kind.index("*")]
        patterns = self._patterns.setdefault(prefix, {})
        if kind not in patterns:
            patterns[kind] = _Pattern(wildcard(kind, single=False), {})
            self._prefixes[len(prefix)] = self._prefixes.get(len(prefix), 0) + 1
        return patterns[kind].buckets

    def _prune(self, kind: str, language: str) -> None:
        buckets = self._buckets(kind)
        if language in buckets and not buckets[language]:
            del buckets[language]
        if buckets:
            return
        if "*" not in kind:
            del self._exact[kind]
            return
        prefix = kind[: kind.index("*")]
        del self._patterns[prefix][kind]
        if not self._patterns[prefix]:
            del self._patterns[prefix]
        self._prefixes[len(prefix)] -= 1
        if not self._prefixes[len(prefix)]:
            del self._prefixes[len(prefix)]

    def select(self, event_type: str, payload: JSON, view: View | None = None) -> list[Handler]:
        """The handlers that may fire, in the order of their ids. The view is asked for where a payload is looked at."""
        found: dict[int, Handler] = {}
        # Most namespaces have no patterns.
        for buckets in self._of_type(event_type) if self._prefixes else (self._exact.get(event_type, {}),):
            for language, bucket in buckets.items():
                bucket.select(payload if view is None or not bucket.looks else view(language), found)
        return [found[key] for key in sorted(found)] if len(found) > 1 else list(found.values())

    def _of_type(self, event_type: str) -> Iterator[dict[str, _Bucket]]:
        if event_type in self._exact:
            yield self._exact[event_type]
        for length in self._prefixes:
            for pattern in self._patterns.get(event_type[:length], {}).values():
                if pattern.matches(event_type):
                    yield pattern.buckets


_Bucket = Selection[Handler]  # the handlers of one event type and language


class _Pattern(NamedTuple):
    matches: Callable[[str], bool]
    buckets: dict[str, _Bucket]


def _tests(handler: Handler) -> tuple[Anchor, ...]:
    condition: Filter | None = handler.filter
    return (*condition.equalities, *condition.prefixes) if condition is not None else ()


def match(index: HandlerIndex, event_type: str, payload: JSON, context: Any = None, view: View | None = None) -> list[Decision]:
    """The decision of every handler that the index selects, in the order of their ids. `context` is what scripts are given;
    `view` says what the handlers of a language see as the payload, where that is not the payload itself. It is asked
    once a language, and only where a payload is looked at.

    Raises Unanswered with all questions that scripts have, when they have any: answer them and match again."""
    decisions: list[Decision] = []
    questions: list[Evaluation] = []
    if view is not None:
        view = _remembering(view, {})
    for handler in index.select(event_type, payload, view):
        try:
            seen = payload if view is None or handler.filter is None else view(handler.language)
            decisions.append(_decide(handler, seen, context))
        except Unanswered as asked:
            questions.extend(asked.questions)
    if questions:
        raise Unanswered(*dict.fromkeys(questions))
    return decisions


def _remembering(view: View, known: dict[str, JSON]) -> View:
    def remembered(language: str) -> JSON:
        if language not in known:
            known[language] = view(language)
        return known[language]

    return remembered


def explain(handler: Handler, event_type: str, payload: JSON, context: Any = None) -> Decision:
    """What a handler makes of an event, whether the index would select it or not. `payload` is as the handler's language
    sees it. Raises Unanswered."""
    if not any(kind == event_type or ("*" in kind and wildcard(kind, single=False)(event_type)) for kind in handler.types):
        types = " and ".join(repr(kind) for kind in handler.types[:5]) or "nothing"
        return Decision(handler, "type differs", (), _cut(f"the handler is for {types}; the event is {event_type!r}"))
    return _decide(handler, payload, context)


def _decide(handler: Handler, payload: JSON, context: Any) -> Decision:
    if not handler.active:
        return Decision(handler, "inactive", (), "the handler is switched off")
    condition: Filter | None = handler.filter
    if condition is None:
        return Decision(handler, "fired")
    try:
        if condition.passes(payload, context):
            return Decision(handler, "fired")
        verdict = condition.test(payload, context)
    except ExpressionError as error:
        verdict = condition.test(payload, context)
        return Decision(handler, "failed", verdict.trace, _cut(verdict.failed or error.message))
    except RecursionError:
        return Decision(handler, "failed", (), "the payload is nested too deeply for the filter")
    return Decision(handler, "false", verdict.trace, _cut("; ".join(_line(entry) for entry in verdict.trace[:5])))


def _line(entry: Trace) -> str:
    value = msgspec.json.encode(entry.value)[:100].decode(errors="replace")
    return f"{entry.text[:150]} is {'true' if entry.result else 'false'}: it saw {value}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
