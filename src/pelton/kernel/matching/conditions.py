"""Conditions written in JavaScript, recognised and compiled to closures where they are simple.

Recognised: `$` and its members (`$.a.b`, `$['a b']`, `$.list[0]`, `$.a?.b`), literals, `== === != !== < <= > >= && || !`,
parentheses, one semicolon at the end. Their results are exactly those of the engine, failures included, at a
twentieth of its cost; their equality tests can be indexed; and they can say which part decided. Everything else, and
every value about which the recogniser is unsure, is left to the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pelton.kernel.expressions.base import JSON, Invalid
from pelton.kernel.expressions.cache import remembered
from pelton.kernel.expressions.javascript.equality import (
    UNDEFINED,
    Unsure,
    index_key,
    less,
    loosely_equal,
    member,
    strictly_equal,
    to_boolean,
)
from pelton.kernel.expressions.javascript.lexer import Lexeme, tokens
from pelton.kernel.expressions.javascript.script import check, truthy
from pelton.kernel.matching.filters import Equality, Filter, ScriptFilter, Trace, Traced, Verdict, is_indexable

MAX_SOURCE = 10_000  # characters of a condition that is recognised
MAX_DEPTH = 50

# What every object has by its prototype.
_INHERITED = frozenset(
    [
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
        "__proto__",
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
    ]
)
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None, "undefined": UNDEFINED}

Evaluate = Callable[[Any], Any]


class _Node(NamedTuple):
    """`evaluate` gives the value as JavaScript has it. `explain` does too, and appends what decided it: a compound's parts,
    a leaf itself. `path` is of a plain member access, `literal` of a constant (in a tuple)."""

    evaluate: Evaluate
    explain: Callable[[Any, list[Trace]], Any]
    equalities: tuple[Equality, ...] = ()
    path: tuple[str | int, ...] | None = None
    literal: tuple[Any] | None = None


class _NotSimple(Exception):
    pass


class Condition(Traced):
    """A recognised condition. It holds its source and what an index asks for; see `remembered` for the rest."""

    __slots__ = ("_limit_ms", "_source", "equalities")

    def __init__(self, source: str, limit_ms: int) -> None:
        """Raises _NotSimple, and Invalid for what is not made of the language's tokens."""
        self._source = source
        self._limit_ms = limit_ms
        self.equalities = tuple(equality for equality in _parsed(source).equalities if is_indexable(equality))

    def _script(self) -> ScriptFilter:
        return ScriptFilter(self._source, limit_ms=self._limit_ms)

    def passes(self, payload: JSON, context: Any = None) -> bool:
        try:
            value = _parsed(self._source).evaluate(payload)
        except Unsure:
            return self._script().passes(payload, context)
        return value is True or (value is not False and value is not UNDEFINED and truthy(value))

    def traced(self, payload: JSON, context: Any, trace: list[Trace]) -> bool:
        start = len(trace)
        try:
            value = _parsed(self._source).explain(payload, trace)
        except Unsure:
            del trace[start:]
            return self._script().traced(payload, context, trace)
        return value is not UNDEFINED and truthy(value)


def compile_condition(source: str, *, limit_ms: int = 4000) -> Filter:
    """The filter that a JavaScript condition is. Raises Invalid when it is no JavaScript."""
    try:
        return Condition(source, limit_ms)
    except (_NotSimple, Invalid):
        script = ScriptFilter(source, limit_ms=limit_ms)
        check(source)
        return script


@remembered
def _parsed(source: str) -> _Node:
    return _Parser(source).condition()


class _Parser:
    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE:
            raise _NotSimple
        self.source = source
        self.tokens = tokens(source)
        self.at = 0
        self.depth = 0

    def condition(self) -> _Node:
        node = self._or()
        self._take(";")
        if self.tokens[self.at].kind != "end":
            raise _NotSimple
        return node

    def _is(self, *texts: str) -> str | None:
        token = self.tokens[self.at]
        return token.text if token.kind == "punctuator" and token.text in texts else None

    def _take(self, *texts: str) -> str | None:
        text = self._is(*texts)
        self.at += text is not None
        return text

    def _from(self, start: int) -> tuple[str, int]:
        """The source from token `start` up to the one before the current, and its position."""
        last = self.tokens[self.at - 1]
        begin = self.tokens[start].position
        return self.source[begin : last.position + len(last.text)], begin

    def _or(self) -> _Node:
        parts = [self._and()]
        while self._take("||"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else _any(parts)

    def _and(self) -> _Node:
        parts = [self._equality()]
        while self._take("&&"):
            parts.append(self._equality())
        return parts[0] if len(parts) == 1 else _all(parts)

    def _equality(self) -> _Node:
        start = self.at
        left = self._relation()
        while operation := self._take("==", "===", "!=", "!=="):
            right = self._relation()
            left = _compare(operation, left, right, *self._from(start))
        return left

    def _relation(self) -> _Node:
        start = self.at
        left = self._unary()
        while operation := self._take("<", "<=", ">", ">="):
            right = self._unary()
            left = _compare(operation, left, right, *self._from(start))
        return left

    def _unary(self) -> _Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _NotSimple
        try:
            if self._take("!"):
                return _not(self._unary())
            if self._take("-"):
                return self._negative()
            return self._primary()
        finally:
            self.depth -= 1

    def _negative(self) -> _Node:
        token = self.tokens[self.at]
        if token.kind != "number" or self.tokens[self.at + 1].text in (".", "[", "?.", "**"):
            raise _NotSimple
        self.at += 1
        return _constant(-token.value)

    def _primary(self) -> _Node:
        start = self.at
        token = self.tokens[self.at]
        if self._take("("):
            node = self._or()
            if not self._take(")") or self._is(".", "[", "?.", "("):
                raise _NotSimple
            return node
        self.at += 1
        if token.kind in ("string", "number") and token.value is not None:
            node = _constant(token.value)
        elif token.kind == "name" and token.text in _CONSTANTS:
            node = _constant(_CONSTANTS[token.text])
        elif token.kind == "name" and token.text == "$":
            return self._members(start)
        else:
            raise _NotSimple
        if self._is(".", "[", "?.", "("):
            raise _NotSimple
        return node

    def _members(self, start: int) -> _Node:
        steps: list[tuple[str | int, bool, int]] = []
        while operation := self._take(".", "?.", "["):
            optional = operation == "?."
            if operation == "[" or (optional and self._take("[")):
                name = self._bracketed()
            else:
                token = self.tokens[self.at]
                if token.kind != "name" or not token.text.isascii():
                    raise _NotSimple
                name = token.text
                self.at += 1
            if name in _INHERITED:
                raise _NotSimple
            line = self.source.count("\n", 0, self.tokens[self.at - 1].position) + 1
            steps.append((name, optional, line))
        if self._is("(", "++", "--") or self.tokens[self.at].kind == "template":
            raise _NotSimple
        return _access(steps, *self._from(start))

    def _bracketed(self) -> str | int:
        token: Lexeme = self.tokens[self.at]
        if token.kind not in ("number", "string"):
            raise _NotSimple
        self.at += 1
        if not self._take("]"):
            raise _NotSimple
        if token.kind == "number" and isinstance(token.value, int) and token.value < 2**31:
            return token.value
        if token.kind == "string" and isinstance(token.value, str) and not token.value.isdigit():
            return token.value
        raise _NotSimple


def _leaf(evaluate: Evaluate, text: str, position: int) -> Callable[[Any, list[Trace]], Any]:
    def explain(payload: Any, trace: list[Trace]) -> Any:
        value = evaluate(payload)
        trace.append(Trace(text, _shown(value), to_boolean(value), position))
        return value

    return explain


def _shown(value: Any) -> JSON:
    return None if value is UNDEFINED else value


def _constant(value: Any) -> _Node:
    return _Node(lambda payload: value, lambda payload, trace: value, (), None, (value,))


def _access(steps: list[tuple[str | int, bool, int]], text: str, position: int) -> _Node:
    path = tuple(name for name, _, _ in steps)
    if any(optional for _, optional, _ in steps):
        evaluate = _optional_access(steps)
    elif not steps:
        evaluate = _root
    elif len(steps) == 1:
        evaluate = _one_step(*steps[0])
    else:
        evaluate = _all_steps(steps)
    return _Node(evaluate, _leaf(evaluate, text, position), (), path)


def _root(payload: Any) -> Any:
    return payload


def _one_step(name: str | int, optional: bool, line: int) -> Evaluate:
    def one(payload: Any) -> Any:
        return payload.get(name, UNDEFINED) if type(payload) is dict and type(name) is str else member(payload, name, line)

    return one


def _all_steps(steps: list[tuple[str | int, bool, int]]) -> Evaluate:
    def all_steps(value: Any) -> Any:
        for name, _, line in steps:
            value = value.get(name, UNDEFINED) if type(value) is dict and type(name) is str else member(value, name, line)
        return value

    return all_steps


def _optional_access(steps: list[tuple[str | int, bool, int]]) -> Evaluate:
    def optional_access(value: Any) -> Any:
        for name, optional, line in steps:
            if optional and (value is None or value is UNDEFINED):
                return UNDEFINED
            value = member(value, name, line)
        return value

    return optional_access


def _compare(operation: str, left: _Node, right: _Node, text: str, position: int) -> _Node:
    compare = _OPERATIONS[operation]
    first, second = left.evaluate, right.evaluate

    def evaluate(payload: Any) -> bool:
        return compare(first(payload), second(payload))

    def explain(payload: Any, trace: list[Trace]) -> bool:
        values = first(payload), second(payload)
        result = compare(*values)
        seen = [_shown(value) for value, node in zip(values, (left, right), strict=True) if node.literal is None]
        trace.append(Trace(text, seen[0] if len(seen) == 1 else seen, result, position))
        return result

    equalities: tuple[Equality, ...] = ()
    if operation in ("==", "==="):
        for path, literal in ((left.path, right.literal), (right.path, left.literal)):
            if path is not None and literal is not None:
                equalities = (Equality(path, index_key(literal[0])),)
    return _Node(evaluate, explain, equalities)


def _below(left: Any, right: Any) -> bool:
    return less(left, right) is True


def _above(left: Any, right: Any) -> bool:
    return less(right, left) is True


def _at_most(left: Any, right: Any) -> bool:
    return less(right, left) is False


def _at_least(left: Any, right: Any) -> bool:
    return less(left, right) is False


_OPERATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": loosely_equal,
    "===": strictly_equal,
    "!=": lambda left, right: not loosely_equal(left, right),
    "!==": lambda left, right: not strictly_equal(left, right),
    "<": _below,
    "<=": _at_most,
    ">": _above,
    ">=": _at_least,
}


def _not(inner: _Node) -> _Node:
    evaluate, explain = inner.evaluate, inner.explain
    return _Node(
        lambda payload: not to_boolean(evaluate(payload)),
        lambda payload, trace: not to_boolean(explain(payload, trace)),
    )


def _all(parts: list[_Node]) -> _Node:
    first, last = [part.evaluate for part in parts[:-1]], parts[-1].evaluate

    def evaluate(payload: Any) -> Any:
        for part in first:
            value = part(payload)
            if not (value is True or to_boolean(value)):
                return value
        return last(payload)

    def explain(payload: Any, trace: list[Trace]) -> Any:
        start, value = len(trace), None
        for part in parts:
            here = len(trace)
            value = part.explain(payload, trace)
            if not to_boolean(value):
                del trace[start:here]
                return value
        return value

    return _Node(evaluate, explain, tuple(equality for part in parts for equality in part.equalities))


def _any(parts: list[_Node]) -> _Node:
    first, last = [part.evaluate for part in parts[:-1]], parts[-1].evaluate

    def evaluate(payload: Any) -> Any:
        for part in first:
            value = part(payload)
            if to_boolean(value):
                return value
        return last(payload)

    def explain(payload: Any, trace: list[Trace]) -> Any:
        start, value = len(trace), None
        for part in parts:
            here = len(trace)
            value = part.explain(payload, trace)
            if to_boolean(value):
                del trace[start:here]
                return value
        return value

    return _Node(evaluate, explain)


__all__ = ["Condition", "Verdict", "compile_condition"]
