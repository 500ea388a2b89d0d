"""Filters: conditions over an event's payload that say not only no, but why not.

Every filter has a quick way, `passes`, and an explaining way, `test`, with the same result. A `Trace` names the
sub-expression that decided, the value it saw and its result: of an *and* the first part that does not hold, of an
*or* that does not hold all parts, of what holds the parts that make it so.

`equalities` are tests `path == value` that must hold whenever the filter passes, and `prefixes` are tests of how a text
begins. A handler index finds candidates by them, so they may only be left out, never be wrong.

The classes here know no language: a language's grammar compiles to them. Conditions written in JavaScript are recognised
in `conditions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pelton.kernel.expressions.base import JSON, BoundValue, Expression, ExpressionError, Looks
from pelton.kernel.expressions.javascript.equality import NULL_KEY, Key
from pelton.kernel.expressions.javascript.script import Script, truthy

MAX_TRACE = 50  # entries of one verdict

Path = tuple[str | int, ...]


class Equality(NamedTuple):
    """The value at `path` has the index key `key`, or one of `others`.

    With `fold` letter case does not count, neither in the names of members nor in texts: path and keys are case-folded
    already, and the value may be that of any member whose name folds to the step."""

    path: Path
    key: Key
    fold: bool = False
    others: tuple[Key, ...] = ()


class Prefix(NamedTuple):
    """The value at `path` is a text that begins with `text`, which is not empty. `fold` as in `Equality`."""

    path: Path
    text: str
    fold: bool = False


class Trace(NamedTuple):
    """`position`: where `text` begins in the filter's source, -1 when unknown."""

    text: str
    value: JSON
    result: bool
    position: int = -1


class Verdict(NamedTuple):
    """`failed` is the error text of a filter that could not be evaluated; it has not passed then."""

    passed: bool
    failed: str | None = None
    trace: tuple[Trace, ...] = ()


class Filter(Protocol):
    @property
    def equalities(self) -> tuple[Equality, ...]: ...
    @property
    def prefixes(self) -> tuple[Prefix, ...]: ...
    def passes(self, payload: JSON, context: Any = None) -> bool:
        """Raises ExpressionError when it cannot be evaluated, Unanswered when a script of it must be run elsewhere."""
        ...

    def test(self, payload: JSON, context: Any = None) -> Verdict:
        """The same with its reasons; a failure is a verdict. Raises Unanswered."""
        ...


class Traced:
    """The verdict of a filter that traces itself, and that of most filters no index knows anything."""

    __slots__ = ()

    equalities: tuple[Equality, ...] = ()
    prefixes: tuple[Prefix, ...] = ()

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        """Like `passes`, and appends what decided."""
        raise AssertionError("every filter has its own")

    def test(self, payload: JSON, context: Any = None) -> Verdict:
        trace: list[Trace] = []
        try:
            passed = self.traced(payload, context, trace)
        except ExpressionError as error:
            return Verdict(False, error.message, tuple(trace[-MAX_TRACE:]))
        return Verdict(passed, None, tuple(trace[:MAX_TRACE]))


class TracedFilter(Filter, Protocol):
    """A filter that the combinators can be made of."""

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool: ...


class And(Traced):
    __slots__ = ("_parts", "equalities", "prefixes")

    def __init__(self, parts: Sequence[TracedFilter]) -> None:
        self._parts = tuple(parts)
        self.equalities = tuple(equality for part in parts for equality in part.equalities)
        self.prefixes = tuple(prefix for part in parts for prefix in part.prefixes)

    def passes(self, payload: JSON, context: Any = None) -> bool:
        for part in self._parts:  # noqa: SIM110 - half the time of a generator
            if not part.passes(payload, context):
                return False
        return True

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        start = len(trace)
        for part in self._parts:
            here = len(trace)
            if not part.traced(payload, context, trace):
                del trace[start:here]  # only the part that does not hold decided
                return False
        return True


class Or(Traced):
    __slots__ = ("_parts", "equalities", "prefixes")

    def __init__(self, parts: Sequence[TracedFilter]) -> None:
        self._parts = tuple(parts)
        self.equalities = parts[0].equalities if len(parts) == 1 else ()
        self.prefixes = parts[0].prefixes if len(parts) == 1 else ()

    def passes(self, payload: JSON, context: Any = None) -> bool:
        for part in self._parts:  # noqa: SIM110 - half the time of a generator
            if part.passes(payload, context):
                return True
        return False

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        start = len(trace)
        for part in self._parts:
            here = len(trace)
            if part.traced(payload, context, trace):
                del trace[start:here]
                return True
        return False


class Not(Traced):
    __slots__ = ("_part",)

    def __init__(self, part: TracedFilter) -> None:
        self._part = part

    def passes(self, payload: JSON, context: Any = None) -> bool:
        return not self._part.passes(payload, context)

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        return not self._part.traced(payload, context, trace)


class Test(Traced):
    """A leaf: a check of one value. `get` finds the value in the payload; `text` is what the trace shows."""

    __slots__ = ("_check", "_get", "_position", "_text", "equalities", "prefixes")

    def __init__(
        self,
        text: str,
        get: Callable[[JSON], JSON],
        check: Callable[[JSON], bool],
        *,
        equality: Equality | None = None,
        prefix: Prefix | None = None,
        position: int = -1,
    ) -> None:
        self._text = text
        self._get = get
        self._check = check
        self._position = position
        self.equalities = () if equality is None or not is_indexable(equality) else (equality,)
        self.prefixes = () if prefix is None or not prefix.text else (prefix,)

    def passes(self, payload: JSON, context: Any = None) -> bool:
        return self._check(self._get(payload))

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        value = self._get(payload)
        result = self._check(value)
        trace.append(Trace(self._text, value, result, self._position))
        return result


class ParameterTest(Test):
    """The payload's member of a fixed name, as a condition (see `javascript.truthy`)."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(name, lambda payload: payload.get(name) if isinstance(payload, dict) else None, truthy, position=0)


class ScriptFilter(Traced):
    """A script over the payload. Nothing is known of it but its answer."""

    __slots__ = ("_script", "_source")

    def __init__(self, source: str, *, limit_ms: int = 4000) -> None:
        """Raises Invalid when it is too long."""
        self._source = source
        self._script: Expression = Script(source, BoundValue(_payload), limit_ms=limit_ms)

    def passes(self, payload: JSON, context: Any = None) -> bool:
        return truthy(self._script.evaluate(_View(payload, context)))

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        value = self._script.evaluate(_View(payload, context))
        trace.append(Trace(self._source, value, truthy(value), 0))
        return truthy(value)


class _View:
    """A context in which the payload is what a script reads; all else is the given context's. Without one, time and chance
    stand at zero and no answer is known."""

    __slots__ = ("evaluated", "now", "payload", "seed")

    def __init__(self, payload: JSON, context: Any) -> None:
        self.payload = payload
        self.now = 0 if context is None else context.now
        self.seed = 0 if context is None else context.seed
        self.evaluated = _unknown if context is None else context.evaluated


def _unknown(question: Any) -> None:
    return None


def _payload(view: Any) -> JSON:
    return view.payload


def is_indexable(equality: Equality) -> bool:
    """Whether an index can find handlers by the test. A test for null holds where the path does not exist at all, so it
    would have to be looked up in every payload; a member of a text may be one of the language's own functions."""
    kind, value = equality.key
    return equality.key != NULL_KEY and not (kind == "text" and "function" in value) and "length" not in equality.path


def folded_reader(path: Sequence[str], looks: Looks | None = None) -> Callable[[JSON], JSON]:
    """A function that finds the value at a path of members in a payload: at each step the member of just that name, else the
    first whose name differs from it in letter case only; of a list the item of that number. None where there is none. Names
    that are compared are counted in `looks`."""
    steps = tuple((step, step.casefold()) for step in path)
    if len(steps) == 1:
        [(only, only_folded)] = steps
        return lambda payload: _folded_member(payload, only, only_folded, looks)

    def read(payload: JSON) -> JSON:
        for step, folded in steps:
            payload = _folded_member(payload, step, folded, looks)
            if payload is None:
                return None
        return payload

    return read


def _folded_member(value: JSON, name: str, folded: str, looks: Looks | None) -> JSON:
    if not isinstance(value, (dict, Mapping)):
        if isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 10:
            at = int(name)
            return value[at] if at < len(value) else None
        return None
    if name in value:
        return value[name]
    if looks is not None:
        looks.spend(1 + len(value) // 4)
    for key in value:
        if key.casefold() == folded:
            return value[key]
    return None


def wildcard(pattern: str, *, fold: bool = False, single: bool = True) -> Callable[[str], bool]:
    """A matcher of whole texts: `*` is any run of characters, `?` any one character (if `single`). `fold` ignores case.

    Linear in the text for each part between stars; there is nothing to backtrack over."""
    if fold:
        pattern = pattern.casefold()
    parts = re.sub(r"\*+", "*", pattern).split("*")
    quoted = [
        re.compile("".join("." if char == "?" and single else re.escape(char) for char in part), re.DOTALL) for part in parts
    ]
    if len(parts) == 1:
        whole = quoted[0]
        return lambda text: whole.fullmatch(text.casefold() if fold else text) is not None
    last_length = len(parts[-1])

    def matches(text: str) -> bool:
        if fold:
            text = text.casefold()
        first = quoted[0].match(text)
        if first is None:
            return False
        at = first.end()
        for part in quoted[1:-1]:
            found = part.search(text, at)
            if found is None:
                return False
            at = found.end()
        return len(text) - last_length >= at and quoted[-1].match(text, len(text) - last_length) is not None

    return matches
